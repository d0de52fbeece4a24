"""A slot of a search whose run is killed: by the system for lack of memory, or by who does not say so."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from dlsweep.config.identity import check_setting, setting_hash

PROGRAM = "sh program.sh {lr} {metrics}"
LACKED = "error: killed by signal 9 (SIGKILL); meanwhile the system has killed a process for lack of memory\n"
KILLED = "error: killed by signal 9 (SIGKILL)\n"


@pytest.mark.parametrize(
    ("words", "epochs_before", "attempt", "status"),
    [
        (LACKED, 2, 1, "failed"),
        (LACKED, None, 1, "finished"),  # only once
        (LACKED, 1, 1, "finished"),  # it came further the second time
        (LACKED, 2, 2, "finished"),  # a retry: nobody has seen yet why it failed
        (KILLED, 2, 1, "finished"),
        ("", 2, 1, "finished"),
    ],
    ids=["twice", "once", "further", "retry", "somebody", "no word"],
)
def test_a_run_that_lacked_memory_in_two_starts_is_given_up(
    tmp_path: Path, words: str, epochs_before: int | None, attempt: int, status: str
):
    """It counts as the worst of its search, and the third start does not try it; nobody else's kill does that."""
    (tmp_path / "program.sh").write_text("echo '{\"val_loss\": '$1'}' >> $2")
    setting = check_setting({"command": PROGRAM, "lr": 0.1})
    digest = setting_hash(setting)
    slot = tmp_path / "results" / "search" / "find-01234567" / "0-3.json"
    log = tmp_path / "results" / "logs" / f"find-{digest}.log"
    running = tmp_path / "results" / "running" / f"find-{digest}.json"
    for path in (log, running):
        path.parent.mkdir(parents=True)
    log.write_text(f"error: of an earlier start\n{words}")
    error = LACKED.removeprefix("error: ").strip()
    before = {"error": error, "n_epochs": epochs_before, "lacked_memory": True} if epochs_before is not None else {}
    left = {"status": "running", "epochs": [{"epoch": 1}, {"epoch": 2}], "provenance": {"host": socket.gethostname()}}
    position = [log.stat().st_ino, len("error: of an earlier start\n")]
    running.write_text(json.dumps({**left, "log": position, "before": before}))

    options = ["--exp-name=find", f"--search-slot={slot}", "--search-metric=val_loss", f"--search-attempt={attempt}"]
    script = ROOT / "scripts" / "train.py"
    command = [sys.executable, script, f"--command={PROGRAM}", "--lr=0.1", *options]
    done = subprocess.run(command, cwd=tmp_path)
    assert done.returncode == 0, log.read_text()
    content = json.loads(slot.read_text())
    assert (content["status"], content["hash"]) == (status, digest)
    assert content.get("error") == (error if status == "failed" else None)
    assert (tmp_path / "results" / f"find-{digest}.json").exists() == (status == "finished")
    if status == "failed":  # who deletes the slot's file has it tried again
        slot.unlink()
        assert subprocess.run(command, cwd=tmp_path).returncode == 0
        assert json.loads(slot.read_text())["status"] == "finished"
