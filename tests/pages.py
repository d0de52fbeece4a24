"""Pages of docs/ that show commands and what they answer: run the commands, and write down the answers.

    python tests/pages.py [page ...]      # all pages of PAGES, or these: minutes (make docs)

The pages are worked through in order, in one fresh copy of the project, as a reader would:

- a code block below "`name`:" is written to that file, or read from it where the project has it; one below
  "From `config.yaml`:" is a part of it;
- each line `$ command` of a console block is run, and what it prints replaces the lines below it. `^C` as the first of
  these stands for Ctrl-C, pressed when the first record of that start is there;
- a picture that has the name of a figure, `<experiment>-<figure>.png`, is replaced by that figure, and `page.png` by a
  picture of results/report.html where Chromium is installed.

What the runs of config.yaml reached is kept in tests/results/first_sweep.csv, for the test of what they decide.
test_docs.py works through the tutorial in the same way, but without that sweep.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from conftest import ROOT, Project

PAGES = [ROOT / "docs/tutorial/first-sweep.md", *sorted((ROOT / "docs/course").glob("[1l]*.md"))]
BLOCK = re.compile(
    r"(?:(?P<part>From )?`(?P<name>[\w./-]+)`:\n\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
PICTURE = re.compile(r"!\[[^]]*\]\((?P<path>[\w./-]+\.png)\)")
SAID_OTHERWISE = {"make run": "snakemake --cores 4"}
"""What is run instead: the same without the installation."""
LEFT_OUT = re.compile(
    r"results/data/|Using workflow specific profile|Press Ctrl|─+ Workflow Finished|Complete Log:|Elapsed time:| *$"
)
DOTS_PER_INCH = 90


def commands(body: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def say(project: Project, command: str, interrupted: bool = False) -> list[str]:
    """Run a command in the project and return the lines it prints, without what Snakemake itself has to say."""
    environment = {**project.environment(), "COLUMNS": "120", "NO_COLOR": "1"}
    records = set(project.results.glob("*-*.json"))
    process = subprocess.Popen(
        ["bash", "-c", SAID_OTHERWISE.get(command, command)],
        cwd=project.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    if interrupted:
        while process.poll() is None and set(project.results.glob("*-*.json")) == records:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=1800)
    lines = [line.rstrip() for line in text.replace(f"{project.folder}/", "").splitlines()]
    start = next((i for i, line in enumerate(lines) if re.match(r"\d+ runs in \d+ experiment|error: ", line)), 0)
    return [line for line in lines[start:] if not LEFT_OUT.match(line)]


def work_through(text: str, project: Project, heard: Callable[[str, list[str], list[str]], None]) -> str:
    """Do what a page says, and return it with what the commands answer.

    `heard` is called with each command, the lines that the page shows below it, and those that it prints.
    """

    def block(match: re.Match[str]) -> str:
        def with_body(body: str) -> str:
            return text[match.start() : match.start("body")] + body + text[match.end("body") : match.end()]

        if match["name"] and not match["part"]:
            if (ROOT / match["name"]).exists():
                return with_body((ROOT / match["name"]).read_text(encoding="utf-8"))
            project.configure(match["body"], match["name"])
        if match["language"] != "console":
            return match[0]
        answers = []
        for command, shown in commands(match["body"]):
            interrupted = shown[:1] == ["^C"]
            said = ["^C"] * interrupted + say(project, command, interrupted)
            heard(command, shown, said)
            answers += [f"$ {command}", *said]
        return with_body("".join(f"{line}\n" for line in answers))

    return BLOCK.sub(block, text)


def draw(page: Path, text: str, project: Project) -> None:
    """Copy the figures that a page shows beside it, in the size at which they are read."""
    for match in PICTURE.finditer(text):
        path = page.parent / match["path"]
        for figure in sorted(project.results.glob(f"**/figures/{path.name}")):  # another config's after config.yaml's
            path.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(figure) as image:
                size = [round(side * DOTS_PER_INCH / 200) for side in image.size]
                small = image.convert("RGB").resize((size[0], size[1]), Image.Resampling.LANCZOS)
            small.quantize(128).save(path, optimize=True)
        chromium = shutil.which("chromium")
        if path.name == "page.png" and chromium:
            shot = [f"--screenshot={path.resolve()}", "--window-size=1000,700", "--virtual-time-budget=4000"]
            quiet = ["--headless=new", "--no-sandbox", "--hide-scrollbars"]
            address = (project.results / "report.html").as_uri()
            subprocess.run([chromium, *quiet, *shot, address], check=True, capture_output=True)


FIRST_SWEEP = ROOT / "tests/results/first_sweep.csv"
REACHED = ("exp_name", "hash", "status", "learned", "tested_val_acc", "test_acc", "test_loss")


def keep_first_sweep(project: Project) -> None:
    """Keep what each run of config.yaml reached; of those that tuned the value by which they were compared."""
    rows = {}
    for name in ("trials", "summary"):
        with (project.results / f"{name}.csv").open(newline="") as table:
            rows |= {row["hash"]: {"tested_val_acc": row.get("value"), **row} for row in csv.DictReader(table)}
    with FIRST_SWEEP.open("w", newline="") as file:
        kept = csv.DictWriter(file, REACHED, extrasaction="ignore", lineterminator="\n")
        kept.writeheader()
        kept.writerows(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES)
    parser.add_argument("--folder", type=Path, help="work here, and leave it (default: a temporary folder)")
    options = parser.parse_args()

    def heard(command: str, shown: list[str], said: list[str]) -> None:
        print("\n".join([f"$ {command}", *said]), flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "sweeps"
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        project = Project(folder) if is_new else object.__new__(Project)
        project.folder = folder
        for part in ("config.yaml", "examples", "docs/course"):
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / part, folder / part)
        for page in options.pages:
            text = work_through(page.read_text(encoding="utf-8"), project, heard)
            draw(page.resolve(), text, project)
            if "$ make run\n" in text:
                keep_first_sweep(project)
            page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
