"""How many lines a script needs to become a sweep, with this project and with others: python benchmarks/lines.py

Prints the tables of docs/how-to/examples.md. `python benchmarks/lines.py run NAME ...` does the sweep of examples/lstm/
itself with the tools named (hydra, optuna, wandb, guild, ours), whole and killed half-way, and compares the end of each
run with that of the plain script. W&B and Guild want different versions of protobuf: each needs its own environment.
"""

from __future__ import annotations

import ast
import difflib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import common

EXAMPLES = common.ROOT / "examples"
LINES = common.ROOT / "benchmarks/lines"
GRID = "width=8,32 lr=0.003,0.03 seed=0,1"
N_RUNS, N_EPOCHS = 8, 12


# -- counting ------------------------------------------------------------------------------------------------------


def code(path: Path) -> list[str]:
    """Return the lines of a file that say something: no blank ones, no comments, no docstring of the module."""
    text = path.read_text()
    if path.suffix == ".py":
        first = ast.parse(text).body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            text = "\n".join(text.splitlines()[first.end_lineno :])
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def difference(plain: Path, adapted: Path) -> tuple[int, int]:
    """Return how many lines of the adapted script are new or changed, and how many of the plain one are gone."""
    matcher = difflib.SequenceMatcher(None, code(plain), code(adapted), autojunk=False)
    changes = [opcode for opcode in matcher.get_opcodes() if opcode[0] != "equal"]
    return sum(j2 - j1 for *_, j1, j2 in changes), sum(i2 - i1 for _, i1, i2, *_ in changes)


@dataclass(frozen=True)
class Example:
    """One example: what its script does, the plain script, what became of it, and where that is in the folder."""

    folder: str
    doc: str
    plain: str = "plain.py"
    adapted: str = "train.py"

    def row(self) -> list[str]:
        plain, adapted = EXAMPLES / self.folder / self.plain, EXAMPLES / self.folder / self.adapted
        new, gone = (len(code(adapted)), 0) if self.adapted == "run.sh" else difference(plain, adapted)
        link = f"[{self.folder}](../../examples/{self.folder}/{self.adapted})"
        config = len(code(EXAMPLES / self.folder / f"{self.folder}.yaml"))
        return [link, self.doc, str(len(code(plain))), str(new), str(gone), str(config)]


HEADER = ["example", "what it trains", "lines of the plain script", "new or changed", "gone", "lines of config"]
EXAMPLE_LIST = [
    Example("course", "the notebook's `experiment(partition, args)`, an MLP on digits"),
    Example("lstm", "an LSTM that continues sine waves: regression"),
    Example("graphs", "a graph network on made-up molecules: regression"),
    Example("text", "a GRU on sentences of any length, padded in each batch"),
    Example("contrastive", "an encoder without labels: a loss and a metric of one's own"),
    Example("lightning", "a LightningModule with its Trainer"),
    Example("accelerate", "a loop with Hugging Face Accelerate"),
    Example("scikit_learn", "boosted trees, without torch and without epochs"),
    Example("argparse", "a program with options, as a command that continues from its checkpoint"),
    Example("unchanged", "the same program as it is, its output turned into JSON", "../argparse/plain.py", "run.sh"),
    Example("awk", "gradient descent in awk, as a command", "plain.awk", "train.awk"),
]


@dataclass(frozen=True)
class Tool:
    """One tool: the files that it needs for the sweep, and for one that goes on after an interruption."""

    name: str
    title: str
    sweep: str
    resume: str
    sweep_config: str = ""
    resume_config: str = ""

    def cell(self, script: str, config: str) -> str:
        folder = EXAMPLES / "lstm" if self.name == "ours" else LINES
        new, gone = difference(EXAMPLES / "lstm/plain.py", folder / script)
        lines = code(folder / config) if config else []
        if config == "guild.yml":  # it holds both operations
            lines = lines[: len(lines) // 2]
        return f"{new} (−{gone}), {len(lines)}"

    def row(self) -> list[str]:
        return [self.title, self.cell(self.sweep, self.sweep_config), self.cell(self.resume, self.resume_config)]


TOOLS = [
    Tool("hydra", "Hydra", "sweep_hydra.py", "resume_hydra.py", "hydra.yaml", "hydra_resume.yaml"),
    Tool("optuna", "Optuna", "sweep_optuna.py", "resume_optuna.py"),
    Tool("wandb", "W&B", "sweep_wandb.py", "resume_wandb.py"),
    Tool("guild", "Guild", "sweep_guild.py", "resume_guild.py", "guild.yml", "guild.yml"),
    Tool("ours", "this project", "train.py", "train.py", "lstm.yaml", "lstm.yaml"),
]
TOOL_HEADER = ["", "the sweep", "and it goes on after a kill"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def tables() -> Iterator[str]:
    """The tables of docs/how-to/examples.md."""
    yield table(HEADER, [example.row() for example in EXAMPLE_LIST])
    yield table(TOOL_HEADER, [tool.row() for tool in TOOLS])


# -- running -------------------------------------------------------------------------------------------------------

GUILD_GRID = "width=[8,32] lr=[0.003,0.03] seed=[0,1]"
GO_ON = "for run in $(guild select -A -Fo resume --not-completed); do guild run -y --restart $run; done"
OURS = "snakemake --cores 2 --configfile examples/lstm/lstm.yaml --quiet all"
COMMANDS = {
    "hydra": (f"python sweep_hydra.py -m {GRID}", f"python resume_hydra.py -m {GRID}", ""),
    "optuna": ("python sweep_optuna.py", "python resume_optuna.py", ""),
    "wandb": ("python sweep_wandb.py", "python resume_wandb.py", ""),
    "guild": (f"guild run -y lstm {GUILD_GRID}", f"guild run -y resume {GUILD_GRID}", GO_ON),
    "ours": (OURS, OURS, ""),
}
"""The command of the sweep, that of one which can go on, and that which lets it go on where it is another."""


def workplace(name: str) -> Path:
    """Return a new folder with what a tool needs."""
    if name == "ours":
        folder = common.pipeline({"experiments": {"lstm": {}}})
        shutil.copytree(EXAMPLES, folder / "examples")
        return folder
    folder = Path(tempfile.mkdtemp(prefix="lines-"))
    shutil.copytree(LINES, folder, dirs_exist_ok=True)
    (folder / "guild").mkdir()
    return folder


def output(folder: Path) -> str:
    """Return what all runs have printed."""
    logs = [folder / "output.txt", *folder.glob("results/logs/lstm-*.log")]
    return "\n".join(path.read_text() for path in logs)


def ends(folder: Path) -> list[float]:
    """Return the validation error that each run ended with, as printed, sorted. This project counts epochs from 1."""
    last = rf"^epoch (?:{N_EPOCHS - 1}|{N_EPOCHS}/{N_EPOCHS}) .*val_mae ([0-9.]+)"
    return sorted({round(float(found), 4) for found in re.findall(last, output(folder), re.MULTILINE)})


def run(name: str, expected: list[float]) -> list[str]:
    """Do the sweep of a tool, whole and killed half-way; return the table's row."""
    variables = {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    sweep, resume, go_on = (["bash", "-c", command] for command in COMMANDS[name])
    folder = workplace(name)
    seconds = common.wall(sweep, folder, {**variables, "GUILD_HOME": str(folder / "guild")})
    assert ends(folder) == expected, (name, folder, ends(folder), expected)
    trained = len(re.findall(r"^epoch \d+", output(folder), re.MULTILINE))
    killed_in = workplace(name)
    variables["GUILD_HOME"] = str(killed_in / "guild")
    common.wall(resume, killed_in, variables, kill_after=seconds / 2)
    common.wall(go_on if go_on[-1] else resume, killed_in, variables)
    assert ends(killed_in) == expected, (name, killed_in, ends(killed_in), expected)
    again = len(re.findall(r"^epoch \d+", output(killed_in), re.MULTILINE))
    return [name, f"{seconds:.0f} s", str(trained), str(again)]


def main() -> None:
    if sys.argv[1:2] != ["run"]:
        print("\n\n".join(tables()))
        return
    plain = Path(tempfile.mkdtemp(prefix="lines-"))
    loop = "import plain\nfor width in 8, 32:\n for lr in .003, .03:\n  for s in 0, 1: plain.train(lr, width, seed=s)"
    common.wall([sys.executable, "-c", loop], plain, {"PYTHONPATH": str(EXAMPLES / "lstm")})
    expected = ends(plain)
    assert len(expected) == N_RUNS, expected
    rows = [run(name, expected) for name in sys.argv[2:]]
    print(table(["", "whole", "epochs trained", "epochs trained where it was killed half-way"], rows))


if __name__ == "__main__":
    main()
