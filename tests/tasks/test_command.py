"""A command as the task of a run: any program, whose metrics are lines of JSON."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import LIMIT, ROOT, Project, wait_for
from dlsweep.config import tasks
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.errors import ConfigError
from dlsweep.results.records import record_fault
from dlsweep.results.versions import command_digest, command_files
from dlsweep.tasks import command
from dlsweep.tasks.checkpoint import Interrupted
from dlsweep.tasks.job import Job

TRAIN = ROOT / "scripts" / "train.py"


class Stop:
    """Asks the run to stop once so many epochs have been seen."""

    def __init__(self, after: int | None) -> None:
        self.after, self.reason, self.on_signal, self.epochs = after, "stopped", None, 0
        self.paused = False

    def __call__(self) -> bool:
        return self.after is not None and self.epochs >= self.after


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a command in this process, from what an earlier one left; return the outcome without times."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, stop_after: int | None = None, **values: Any) -> dict[str, Any]:
        setting = check_setting({"command": text, **values})
        stop = Stop(stop_after)

        def count(epochs: list[dict[str, Any]]) -> None:
            stop.epochs += 1

        training = command.load(Job(setting, setting_hash(setting), None, tmp_path / "run.pt", stop, count))
        outcome = training.run()
        outcome["resumed"] = training.timing()["resumed"]
        return {**outcome, "epochs": [{k: v for k, v in e.items() if k != "seconds"} for e in outcome["epochs"]]}

    return run


def test_values_are_quoted_and_everything_is_given(run: Callable[..., dict[str, Any]]):
    text = (
        "printf '%s\\n' {words} {flag} {list} {number} {none} {threads} {device} > given && "
        'for i in 1 2; do echo "{{\\"val_mae\\": $i, \\"seconds\\": 7}}" >> {metrics}; done; '
        'echo \'{{"test_mae": 0.5, "test_note": null}}\' >> {metrics}; echo kept > {results}/file'
    )
    nasty = "a b'c\"; touch hacked $(touch hacked) `touch hacked` {lr} \\ *"
    outcome = run(text, words=nasty, flag=True, list=[1, "b c"], number=1e-5, none=None)
    assert Path("given").read_text().splitlines() == [nasty, "true", '[1, "b c"]', "1e-05", "null", "1", "cpu"]
    assert not Path("hacked").exists()
    assert outcome["epochs"] == [{"epoch": 1, "val_mae": 1}, {"epoch": 2, "val_mae": 2}]
    assert outcome["final"]["test_mae"] == 0.5 and outcome["status"] == "finished"
    assert outcome["task"] == {"kind": "command", "name": text, "defaults": {}}
    assert Path("run.files/file").read_text() == "kept\n"


def test_the_lines_of_an_epoch_belong_together(run: Callable[..., dict[str, Any]]):
    lines = [
        {"epoch": 1, "train_loss": 3},
        {"epoch": 1, "val_loss": 4},
        {"epoch": 3, "val_loss": 2, "test_acc": 0.1},
        {"epoch": 3, "val_loss": 1},
        {"test_acc": 0.2},
    ]
    Path("lines").write_text("\n\n".join(map(json.dumps, lines)))  # without an end of the last line
    outcome = run("cat lines > {metrics}")
    assert outcome["epochs"] == [{"epoch": 1, "train_loss": 3, "val_loss": 4}, {"epoch": 3, "val_loss": 1}]
    assert outcome["final"] == {"test_acc": 0.2}
    assert run("echo '{{\"val_loss\": NaN}}' > {metrics}")["status"] == "diverged"
    assert (
        run("echo '{{\"val_loss\": 1}}' > {metrics}; echo '{{\"test_loss\": Infinity}}' >> {metrics}")["status"]
        == "diverged"
    )
    assert run("echo '{{\"val_acc\": NaN}}' > {metrics}")["status"] == "finished"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true {metrics}", "the command: has measured nothing: it wrote no line"),
        ("echo >{metrics}", "has measured nothing"),
        ("echo '[1]' >{metrics}; sleep 60", "run.metrics.jsonl, line 1: '[1]' is no JSON object such as"),
        ("echo 'val_mae: 3' >{metrics}", "run.metrics.jsonl, line 1: 'val_mae: 3' is no JSON object"),
        ('printf \'{{"a": 1}}\\n{{"a":\' >{metrics}', "run.metrics.jsonl, line 2: "),
        ('echo \'{{"val_mae": "0.3"}}\' >{metrics}', "line 1: val_mae: '0.3' is not a number"),
        ("echo '{{\"val_mae\": [1]}}' >{metrics}", "line 1: val_mae: [1] is not a number"),
        ("echo '{{\"val_mae\": true}}' >{metrics}", "line 1: val_mae: True is not a number"),
        ("echo '{{\"lr\": 1}}' >{metrics}; : {lr}", "line 1: lr is a hyper-parameter; give the metric another name"),
        ("echo '{{\"val mae\": 1}}' >{metrics}", "line 1: 'val mae' is not the name of a metric"),
        ('echo \'{{"epoch": 0, "a": 1}}\' >{metrics}', "line 1: epoch: 0 is not allowed; epochs are whole numbers"),
        ("echo '{{\"a\": 1}}' >{metrics}; : {checkpoint}", 'line 1: has no "epoch"; a command that goes on from its'),
        ("echo oh >&2; echo dear >&2; exit 3 # {metrics}", "the command ended with exit status 3: dear"),
        ("no_such_program {metrics}", "the command ended with exit status 127: "),
        ("kill -9 $$ # {metrics}", "the command was killed by signal 9 (SIGKILL)"),
        ("sh -c 'kill -9 $$'; exit $? # {metrics}", "the command was killed by signal 9 (SIGKILL)"),
        ("echo '{{\"a\": 1}}' >{metrics}; echo 'quote", "the command ended with exit status 2: "),
    ],
)
def test_what_a_program_does_wrong_is_said_in_one_line(run: Callable[..., dict[str, Any]], text: str, message: str):
    start = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        run(text, **({"lr": 1} if "{lr}" in text else {}))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert time.monotonic() - start < 30


GOES_ON = """
import json, pathlib, signal, sys, time

metrics, folder, n, nap = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
def save(number, frame):
    time.sleep(0.3)
    (folder / "asked").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
at = folder / "epoch"
done = int(at.read_text()) if at.exists() else 0
for epoch in range(done + 1, n + 1):
    with open(metrics, "a") as file:
        print(json.dumps({"epoch": epoch, "val_mae": 1 / epoch, "from": done}), file=file)
    if epoch % 2 == 0:
        at.write_text(str(epoch))
    time.sleep(nap)
with open(metrics, "a") as file:
    print(json.dumps({"test_mae": 0.25}), file=file)
"""


def test_a_command_goes_on_from_its_checkpoint(run: Callable[..., dict[str, Any]]):
    """It gets SIGTERM, also what it has started itself, and time to save; lines of epochs that it does again count."""
    Path("mine.py").write_text(GOES_ON)
    text = f"{sys.executable} mine.py {{metrics}} {{checkpoint}} 6 0.15; true"
    with pytest.raises(Interrupted, match=r"what it left in \{checkpoint\} is kept"):
        run(text, stop_after=3)
    assert Path("run.checkpoint/asked").exists()
    with Path("run.metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "val')  # it was killed in a line
    outcome = run(text)
    assert outcome["resumed"] == 1
    assert [epoch["from"] for epoch in outcome["epochs"]] == [0, 0, 2, 2, 2, 2]
    assert outcome["final"] == {"test_mae": 0.25}
    Path("mine.py").write_text(GOES_ON + "print()\n")  # other code begins anew
    outcome = run(text)
    assert outcome["resumed"] == 0 and [epoch["from"] for epoch in outcome["epochs"]] == [0] * 6
    assert Path("run.checkpoint.bad/epoch").exists()


def test_without_a_checkpoint_everything_begins_anew(run: Callable[..., dict[str, Any]]):
    text = 'echo x >> {results}/lines; for i in 1 2 3 4; do echo "{{\\"a\\": $i}}" >> {metrics}; sleep 0.2; done'
    with pytest.raises(Interrupted, match="the next start trains from the beginning"):
        run(text, stop_after=2)
    assert len(run(text)["epochs"]) == 4
    assert Path("run.files/lines").read_text() == "x\n"


def test_the_digest_of_a_command_is_that_of_the_files_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "code/a.py": "import helper, json\n",
        "code/helper.py": "X = 1\n",
        "other.py": "",
        "pkg/__init__.py": "",
        "pkg/run.py": "import other\n",
        "conf.yaml": "a: 1",
        "run.sh": "echo",
    }.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content)
    Path("python").symlink_to(sys.executable)
    text = "./python code/a.py --config=conf.yaml {lr} {metrics}; ./run.sh && python -m pkg.run '{{x}}' > out"
    assert set(command_files(text)) == {"code/a.py", "helper", "conf.yaml", "./run.sh", "pkg", "pkg.run", "other"}
    before = command_digest(text)
    Path("code/helper.py").write_text("X = 1  # said\n\n")
    assert command_digest(text) == before
    for name in ("code/helper.py", "conf.yaml", "other.py"):
        Path(name).write_text("X = 2\n")
        assert command_digest(text) != before
        before = command_digest(text)
    assert command_digest("echo {metrics}") is None


# -- through scripts/train.py and Snakemake --------------------------------------------------------------------------

LINES = """
sleep 600 &
for i in 1 2 3 4 5; do echo "{\\"val_mae\\": $2}" >> $1; sleep $3; done
echo "{\\"test_mae\\": $2}" >> $1
"""


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "lines.sh").write_text(LINES)
    text = "sh lines.sh {metrics} {value} {nap}"
    return subprocess.Popen(
        [sys.executable, str(TRAIN), f"--command={text}", *options],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def programs(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_no_process_of_a_command_outlives_its_run(tmp_path: Path):
    done = start(tmp_path, "--value=3", "--nap=0")
    out, err = done.communicate(timeout=LIMIT)
    assert done.returncode == 0 and err == "" and "finished: test_mae 3" in out
    assert not programs(tmp_path)
    (path,) = (tmp_path / "results").glob("*.json")
    record = json.loads(path.read_text())
    assert (record_fault(record, path) == "" and "torch" not in sys.modules) or record["provenance"]["torch"] is None
    assert len(record["epochs"]) == 5 and not list((tmp_path / "results" / "running").iterdir())

    running = tmp_path / "results" / "running"
    for number, status in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
        again = start(tmp_path, "--value=4", "--nap=600")
        wait_for(lambda: list(running.glob("*.metrics.jsonl")))
        shown = next(running.glob("*.json"))
        wait_for(lambda shown=shown: len(json.loads(shown.read_text())["epochs"]) == 1)  # watch can see it
        wait_for(lambda: len(programs(tmp_path)) >= 4)
        again.send_signal(number)
        _, told = again.communicate(timeout=LIMIT)
        assert again.returncode == status
        if number == signal.SIGTERM:
            assert told == "stopped by SIGTERM; the next start trains from the beginning\n"
        wait_for(lambda: not programs(tmp_path))
    limited = start(tmp_path, "--value=4", "--nap=600", "--time-limit=0.03")
    _, told = limited.communicate(timeout=LIMIT)
    assert limited.returncode == 124 and "stopped by its time limit of 1.8 s" in told
    assert not programs(tmp_path)


def test_the_command_line_of_a_command_is_checked_and_explained(tmp_path: Path):
    def say(*options: str) -> str:
        out, err = start(tmp_path, *options).communicate(timeout=LIMIT)
        assert "Traceback" not in err
        return out + err

    told = say("--help")
    assert "hyper-parameters of the command" in told and "--value VALUE" in told and "must be given" in told
    assert "error: nap: is missing; the command has {nap}, which needs a value" in say("--value=1")
    assert "unrecognized arguments: --vlaue=1" in say("--vlaue=1", "--nap=1")


def test_a_sweep_of_a_command(project: Project):
    """Text that looks like a number stays text, outdated scripts are told, finished runs are not repeated."""
    (project.folder / "lines.sh").write_text(LINES)
    axes = {"grid": {"value": [1, "2", "0.5"]}, "nap": 0, "figures": []}
    text = "sh lines.sh {metrics} {value} {nap}"
    project.configure({"defaults": {"command": text, "objective": "val_mae"}, "experiments": {"a": axes}})
    done = project.snakemake("--until", "train")
    assert done.returncode == 0, done.stderr
    records = project.records()
    assert sorted(str(record["setting"]["value"]) for record in records.values()) == ["0.5", "1", "2"]
    assert {type(record["setting"]["value"]) for record in records.values()} == {int, str}
    assert project.planned("--until", "train") == {}
    (project.folder / "lines.sh").write_text("echo broken >&2; exit 1\n")
    failed = project.snakemake("--until", "train", "--config", "outdated=redo")
    assert failed.returncode != 0
    assert "3 of 3 finished runs were made with other code than lines.sh has now" in failed.stdout + failed.stderr
    told = "a value=1 and 2 more: failed after epoch 0\n    the command ended with exit status 1: broken\n    log:"
    assert told in failed.stderr, failed.stderr
    assert project.records() == records
    tasks.forget()
