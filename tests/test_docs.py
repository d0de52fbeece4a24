"""The documentation points at things that exist, and what it tells to type and to write works."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import ROOT, Project
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.config.sweep import load_sweep
from dlsweep.errors import ConfigError
from lecture import LECTURE, save
from pages import BLOCK, work_through
from translations import blocks, headings, pictures, translations

PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/*.md", "results/*.md")
    for path in sorted(ROOT.glob(pattern))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", without_code(page)):
        if not target.startswith(("http:", "https:", "mailto:")):
            found = page.parent / target if target else page
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


def without_code(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page in links."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index():
    """Or in that of the course."""
    folder = ROOT / "docs"
    linked = {
        (index.parent / target).resolve()
        for index in (folder / "index.md", folder / "course/index.md")
        for target in re.findall(r"\]\(([^)#\s]+)", index.read_text())
    }
    assert {page for page in folder.glob("[!k]*/*.md") if page.resolve() not in linked} <= {folder / "course/index.md"}


def test_the_korean_pages_have_the_blocks_headings_and_pictures_of_the_english_ones():
    found = list(translations())
    assert len(found) >= 14
    for page, original in found:
        assert blocks(page) == blocks(original), f"{page}: python tests/translations.py takes the blocks over"
        assert headings(page) == headings(original), page
        assert pictures(page) == pictures(original), page


# -- commands ------------------------------------------------------------------------------------------------------

PROGRAMS = r"(?:[A-Z_]+=\S* )*(?:snakemake|python|make|pytest|pip|sbatch|tensorboard|printf|aws|git) \S"
NOT_RUN = {
    r"pytest": "is this very suite",
    r"pip install|git clone": "needs the network",
    r"sbatch": "needs a cluster: tests/workflow/test_slurm.py has one",
    r"tests/matrix.py": "takes hours",
    r"aws |--default-storage": "needs a bucket",
    r"python benchmarks/": "takes minutes to hours",
    r"tensorboard --logdir": "is a server",
    r"sweep.py export": "takes long to load: tests/results/test_export.py does it",
    r"sweep.py watch": "waits for a sweep to start: tests/commands/test_live.py does it",
    r"device_slot|--device cuda": "needs GPUs",
    r"predict \w+ photos": "needs photos of yours: tests/tasks/test_trained.py has some",
}
"""Commands that are not run here, and why."""
PLACEHOLDERS = {
    "3f2a": setting_hash(check_setting({"epochs": 1, "train_size": 100, "lr": 0.1})),
    "77b1": setting_hash(check_setting({"epochs": 1, "train_size": 100, "lr": 0.2})),
    "examples/<name>.yaml": "examples/own_data.yaml",
    "<name>.pt": "digits.pt",
    "path/to/pipeline": ".",
    "path/to/sweep": ".",
    "FILE": "config.yaml",
    "[config files]": "",
}
CONFIG = """
defaults: {epochs: 1, train_size: 100}
experiments:
  optimizers: {grid: {lr: [0.1, 0.2]}, figures: []}
  hashed: {epochs: 5, lr: 0.1, train_size: null, figures: []}
"""
MINE = "experiments: {my_experiment: {}}"


def commands(page: Path) -> Iterator[str]:
    """The commands of a page: lines of code blocks, after a prompt where one is shown, and code in a sentence."""
    text = page.read_text()
    for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if language in ("", "sh", "bash", "text"):
                said = re.sub(r"\s+#.*", "", line.strip().removeprefix("$ "))
                if re.match(PROGRAMS, said):
                    yield said
    for span in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        said = " ".join(span.split())
        if re.match(PROGRAMS, said):
            yield said


def runnable(command: str) -> str:
    """The command with its placeholders filled in. Snakemake and make only look, where they would do much."""
    for placeholder, value in PLACEHOLDERS.items():
        command = command.replace(placeholder, value)
    if re.search(r"snakemake (-n|--lint|--report)|results/report.html", command):
        return command
    if "snakemake" in command:
        assert "--cores" in command or "--profile" in command, f"{command}: Snakemake refuses to run without --cores"
    return re.sub(r"\b(snakemake|make) ", r"\1 -n ", command)


def said(command: str) -> str:
    """The command without what changes no plan: how many cores or GPUs there are, and how much is printed of it."""
    return re.sub(r" --(cores|quiet)( \d+)?|^([A-Z_]+=\S* )+", "", command) if "snakemake -n" in command else command


FORKS = """
import json, multiprocessing, os, runpy, sys
import pandas, snakemake.cli, torch

def work(words, log):
    for stream in (1, 2):
        os.dup2(log, stream)
    while "=" in words[0]:
        os.environ.update([words.pop(0).split("=", 1)])
    if words[0] == "snakemake":
        sys.argv = words
        snakemake.cli.main()
    else:
        sys.argv = words[1:]
        runpy.run_path(words[1], run_name="__main__")

told = []
for words in json.load(sys.stdin):
    with open("told.txt", "w") as log:
        process = multiprocessing.get_context("fork").Process(target=work, args=(words, log.fileno()))
        process.start()
        process.join()
    told.append((process.exitcode, open("told.txt").read()))
print(json.dumps(told))
"""
"""Commands, each in a process of its own that has the libraries loaded: loading them takes longer than most do."""


def words_of(command: str) -> list[str]:
    """The words of a command of Snakemake or of a script in Python; none where it needs a shell."""
    words = shlex.split(command)
    first = next((i for i, word in enumerate(words) if "=" not in word), 0)
    alone = not re.search(r"[|<>;&$`]", command)
    return words if alone and (words[first] == "snakemake" or words[first : first + 2][-1].endswith(".py")) else []


def write_own_training(folder: Path) -> None:
    """Write the files that docs/how-to/own-training.md shows: its function and its script."""
    page = (ROOT / "docs/how-to/own-training.md").read_text()
    for language, name in (("python", "my_training.py"), ("sh", "train.sh")):
        found = re.search(rf"`{re.escape(name)}`:\n\n```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        assert found, name
        (folder / name).write_text(found[1])


def test_every_command_works_as_it_is_written(tmp_path: Path):
    """On a finished sweep, whose start is the first of them."""
    project = Project(tmp_path)
    for part in ("Makefile", *(path.name for path in ROOT.glob("requirements*.txt"))):
        shutil.copy(ROOT / part, tmp_path)
    for part in ("examples", "docs"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    project.configure(CONFIG)
    project.configure(MINE, "examples/mine.yaml")
    write_own_training(tmp_path)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data/mine.npz", x_train=np.eye(20, 4, dtype="float32"), y_train=np.arange(20) % 2)
    (tmp_path / "old_results").mkdir()
    save(tmp_path / "old_results", {key: value for key, value in LECTURE.items() if key != "in_dim"})
    (tmp_path / "runs.csv").write_text("lr,width,seed,val_mae,test_mae\n0.1,16,0,0.5,0.6\n")
    for command in ("snakemake --cores 4", "python scripts/sweep.py import runs.csv --experiment mine"):
        first = project.run("bash", "-c", command)
        assert first.returncode == 0, first.stderr

    found = {command: page for page in PAGES for command in commands(page)}
    skipped = {reason for reason in NOT_RUN if any(re.search(reason, command) for command in found)}
    assert skipped == NOT_RUN.keys()  # no reason outlives its command
    left = {command: page for command, page in found.items() if not any(re.search(r, command) for r in NOT_RUN)}
    assert len(left) >= 30
    ready = {command: runnable(command) for command in left}

    once = {said(words): command for command, words in ready.items()}  # many pages tell the same

    forked = {command: words for command in once.values() if (words := words_of(ready[command]))}
    calls = {command: ("bash", "-c", ready[command]) for command in once.values() if command not in forked}
    ended = {command: project.run(*call) for command, call in calls.items()}
    outcomes = {command: (done.returncode, done.stdout + done.stderr) for command, done in ended.items()}
    done = project.run("python", "-c", FORKS, stdin=json.dumps(list(forked.values())))
    assert done.returncode == 0, done.stderr
    outcomes |= zip(forked, json.loads(done.stdout.splitlines()[-1]), strict=True)
    assert len(forked) > len(calls) and outcomes.keys() == set(once.values())
    failed = [
        f"{left[command].name}: {command}\n{told[-600:]}" for command, (status, told) in outcomes.items() if status
    ]
    assert not failed, "\n".join(failed)


def test_the_tutorial_works_as_it_is_written(tmp_path: Path):
    """All but its first command, the sweep of config.yaml, which takes minutes. Numbers may differ between machines."""
    project = Project(tmp_path)
    text = (ROOT / "docs/tutorial/first-sweep.md").read_text()
    text = re.sub(r"```console\n\$ make run\n.*?```", "", text, flags=re.DOTALL)
    done: list[str] = []

    def heard(command: str, shown: list[str], said: list[str]) -> None:
        done.append(command)
        if shown[:1] == ["^C"] or "status" in command:  # as far as the sweep had come
            assert "Traceback" not in "".join(said)
        else:
            assert outline(said) == outline(shown), (
                f"{command}: the page shows other lines; make docs renews it\n{said}"
            )

    work_through(text, project, heard)
    assert len(done) >= 8


def outline(lines: list[str]) -> list[str]:
    """What lines begin with, numbers and progress aside; the whole of a mistake's message."""
    kept = [re.sub(r"\d[\d.]*", "0", line) for line in lines if not re.search(r"runs are done, ", line)]
    return kept if kept and kept[0].startswith("error:") else [line.split()[0] for line in kept if line.strip()]


# -- configs -------------------------------------------------------------------------------------------------------


def configs() -> Iterator[tuple[str, str]]:
    """The YAML blocks that are configs, or their defaults."""
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            if re.search("^experiments:", block, re.MULTILINE):
                yield page.name, block
            elif block.startswith("defaults:"):
                yield page.name, f"{block}experiments: {{a: }}\n"


def test_every_config_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_own_training(tmp_path)
    shutil.copy(ROOT / "docs/course/recurrent.py", tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    found = list(configs())
    assert len(found) >= 20
    for page, text in found:
        path = tmp_path / page.replace(".md", ".yaml")
        path.write_text(text)
        assert list(load_sweep([path]).records()), text


def test_a_part_of_a_config_is_as_the_config_has_it():
    found = [(page, match) for page in PAGES for match in BLOCK.finditer(page.read_text()) if match["part"]]
    assert found
    for page, match in found:
        whole = yaml.safe_load((ROOT / match["name"]).read_text())
        for exp_name, experiment in yaml.safe_load(match["body"])["experiments"].items():
            assert experiment == whole["experiments"][exp_name], f"{page.name}: {exp_name}"


def test_the_mistake_of_the_readme_is_answered_as_it_says(tmp_path: Path):
    page = (ROOT / "README.md").read_text()
    (config,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (answer,) = re.findall(r"^error: config.yaml, (.*)$", page, re.MULTILINE)
    (tmp_path / "config.yaml").write_text(config.replace("n_layer:", "n_layers:"))
    with pytest.raises(ConfigError) as error:
        load_sweep([tmp_path / "config.yaml"])
    assert str(error.value).endswith(answer)


@pytest.mark.parametrize("page", ["README.md", "docs/explanation/design.md"])
def test_the_tree_names_every_room(page: str):
    tree = (ROOT / page).read_text().partition("scripts/dlsweep/\n")[2].partition("```")[0]
    shown = [line.split()[0] for line in tree.splitlines() if line.startswith("  ")]
    library = [path for path in (ROOT / "scripts/dlsweep").iterdir() if not path.name.startswith("__")]
    assert sorted(shown) == sorted(path.name + "/" * path.is_dir() for path in library)
