"""What the terminal shows while a sweep runs and at its end."""

import contextlib
import json
import logging
import os
import pty
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import Project, wait_for
from dlsweep.workflow import internals, ticker, view

BAD = """
import torch


class Net(torch.nn.Linear):
    def __init__(self, in_shape, n_classes):
        super().__init__(64, n_classes)

    def forward(self, x):
        if len(x) > 8:
            raise RuntimeError("too many images")
        return super().forward(x.flatten(1))
"""
SMALL = {"grid": {"lr": [0.01, 0.1]}, "seeds": 3, "question": "Which learning rate?", "figures": []}
DEFAULTS = {"epochs": 1, "train_size": 200, "n_layer": 1, "hid_dim": 8}


def in_a_terminal(project: Project, *command: str) -> str:
    """What a command writes to a terminal, without the codes that move the cursor and colour the text."""
    leader, terminal = pty.openpty()
    environment = {**project.environment(), "TERM": "xterm", "COLUMNS": "140", "LINES": "40"}
    with subprocess.Popen(
        command, cwd=project.folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
    ):
        os.close(terminal)
        read = []
        with contextlib.suppress(OSError):  # the end, as Linux says it
            while data := os.read(leader, 65536):
                read.append(data)
    os.close(leader)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(read).decode(errors="replace")).replace("\r", "")


def test_failing_runs_are_one_table_and_a_sweep_ends_with_its_findings(project: Project):
    (project.folder / "bad.py").write_text(BAD)
    bad = {"model": "bad:Net", "grid": {"lr": [0.1, 0.2, 0.3, 0.4, 0.5]}, "figures": []}
    project.configure({"defaults": DEFAULTS, "experiments": {"small": SMALL, "bad": bad}})
    failed = project.snakemake()
    assert failed.returncode != 0
    assert "Traceback" not in failed.stdout + failed.stderr and "CalledProcessError" not in failed.stderr
    lines = [line for line in failed.stderr.splitlines() if line.startswith("failed: bad, lr=0.")]
    assert len(lines) == 3 and all("RuntimeError: too many images (results/logs/bad-" in line for line in lines)
    assert lines[-1].endswith("further failures are in the table at the end")
    table = failed.stderr[failed.stderr.index("bad lr=") :].splitlines()
    assert re.fullmatch(r"bad lr=0\.\d and 4 more: failed after epoch 0 of 1", table[0])
    assert (
        table[1].strip() == "RuntimeError: too many images" and "5 of 11 runs are not finished (5 failed)" in table[4]
    )
    assert "Traceback" in Path(project.folder, table[2].split()[-1]).read_text()

    project.configure({"defaults": DEFAULTS, "experiments": {"small": {**SMALL, "seeds": 4}}})
    text = in_a_terminal(project, "snakemake", "--cores", "2")
    findings = json.loads((project.results / "logs/findings.json").read_text())
    finding = findings["experiments"]["small"]["finding"]
    assert finding.startswith("Best: lr=0.")
    bars, said, end = text.partition(f"small: {finding}")
    assert said and "8 of 8 runs are done" in bars and "best of small so far: lr=0." in bars
    assert "Done. Tables: results/summary.csv" in end and "report: results/report.html" in end
    assert "Workflow Progress" not in end
    assert f"\nsmall: {finding}" in project.run("python", "scripts/sweep.py", "status").stdout
    assert "Which learning rate?" in (project.results / "leaderboard.md").read_text()


@pytest.mark.parametrize("in_terminal", [False, True])
def test_a_line_every_tenth_of_the_sweep_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_terminal: bool
):
    done = iter([3, 3, 4, 5, 9, 20, 20, 21, 30])
    ended, shown = [], []

    class View:
        def __init__(self, sweep: object, results: Path) -> None:
            self.n_runs, self.n_finished = 30, 0
            self.look()

        def look(self) -> None:
            self.n_finished = next(done, 30)
            ended.append(self.n_finished)

        def headline(self) -> str:
            return f"{self.n_finished} of 30 runs are done"

        def best_so_far(self) -> str:
            return "best of a so far: lr=0.1, val accuracy 0.9"

    def show(text: str) -> bool:
        shown.append(text)
        return in_terminal

    monkeypatch.setattr(view, "View", View)
    monkeypatch.setattr(ticker, "INTERVAL", 0.001)
    monkeypatch.setattr(ticker, "SHARE", 1e9)
    telling = ticker.Ticker(SimpleNamespace(), Path(), show)
    wait_for(lambda: 30 in ended)
    telling.stop()
    lines = capsys.readouterr().out.splitlines()
    assert len(shown) >= 7
    if in_terminal:
        assert not lines
    else:
        counts = [line.partition(" of 30 runs are done; best of a so far: lr=0.1")[0] for line in lines]
        assert counts == ["9", "20", "21"]


def test_what_is_no_failed_run_is_told_as_ever():
    from snakemake.logging import logger
    from snakemake_interface_logger_plugins.common import LogEvent

    before, told = list(logger.filters), []
    try:
        internals.shorten_failures(lambda log: {"a.log": "a failed", "b.log": "", "c.log": None}[log])
        (keep,) = (one for one in logger.filters if one not in before)

        def filtered(msg: str, **fields: object) -> str | None:
            record = logging.makeLogRecord({"msg": msg, **fields})
            told.append(record)
            return record.msg if keep(record) else None

        error = {"event": LogEvent.JOB_ERROR, "rule_name": "train"}
        assert filtered("Error in rule train", log=["a.log"], **error) == "a failed" and told[-1].event is None
        assert filtered("Error in rule train", log=["b.log"], **error) is None
        assert filtered("Error in rule train", log=["c.log"], **error) == "Error in rule train"
        assert told[-1].event == LogEvent.JOB_ERROR
        assert filtered("Error in rule report", log=["a.log"], **{**error, "rule_name": "report"}) is not None
        assert filtered("RuleException:\nCalledProcessError in file report.smk: report.py") is not None
        assert filtered("RuleException:\nCalledProcessError in train.smk: train.py --exp-name=a") is None
    finally:
        logger.filters[:] = before
