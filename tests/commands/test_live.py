"""What the user sees while a sweep runs: `status` and `watch` beside a real Snakemake, and the time left."""

import contextlib
import heapq
import json
import os
import pty
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from conftest import LIMIT, Project
from dlsweep.commands.live import View
from dlsweep.config.sweep import expand_config, load_sweep
from dlsweep.runs.eta import current_stretch, duration, sweep_seconds_left
from dlsweep.runs.survey import RunStatus

SLOW = {
    "defaults": {"epochs": 240, "n_layer": 1, "hid_dim": 8, "batch_size": 16},
    "experiments": {
        "broken": {"model": "no_such_module:Net", "figures": []},
        "lrs": {"grid": {"lr": [0.0001, 0.1]}, "figures": []},
    },
}


def states(project: Project) -> dict[str, int]:
    done = project.run("python", "scripts/sweep.py", "status", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["states"]


def start(project: Project, *command: str, output: int) -> subprocess.Popen:
    environment = {**project.environment(), "TERM": "xterm-256color", "COLUMNS": "110", "LINES": "30"}
    return subprocess.Popen(
        command, cwd=project.folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )


def read_all(terminal: int, written: bytearray) -> None:
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(terminal, 65536):
            written += part


def test_status_and_watch_beside_a_sweep(project: Project, tmp_path: Path):
    project.configure(SLOW)
    assert states(project) == {"new": 3}
    terminal, screen = pty.openpty()
    watch = ("python", "scripts/sweep.py", "watch")
    with (tmp_path / "piped.txt").open("wb") as piped, (tmp_path / "snakemake.txt").open("wb") as console:
        watching = [start(project, *watch, output=screen), start(project, *watch, output=piped.fileno())]
        os.close(screen)
        reader = threading.Thread(target=read_all, args=(terminal, written := bytearray()))
        reader.start()
        sweep = start(project, "snakemake", "--cores", "1", output=console.fileno())
        seen = set()
        while sweep.poll() is None:
            seen |= set(states(project))
            time.sleep(0.5)
        assert [process.wait(timeout=LIMIT) for process in watching] == [1, 1]  # a run is not done
        reader.join()
    assert {"new", "running", "finished"} <= seen  # that one failed may be known at the end only
    assert states(project) == {"finished": 2, "failed": 1}

    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.decode())
    assert "\x1b[" in written.decode()
    assert re.search(r"lrs +lr=0\.1 .* \d+/240 .* 0\.\d{4} ", text)
    assert re.search(r"about \d.* left", text)

    lines = (tmp_path / "piped.txt").read_text().splitlines()
    assert "\x1b" not in "".join(lines)
    assert lines[0] == "0 of 3 runs are done, 3 new"
    ended = [line for line in lines if re.match(r"(lrs|broken) .*\(\d/3", line)]
    assert len(ended) == 3 and sum(" finished: val acc 0." in line for line in ended) == 2
    assert any("failed: " in line and "no_such_module" in line for line in ended)
    assert any(line.startswith("2 of 3 runs are done, 1 failed") for line in lines)

    # The calm console of the default profile: no line for each job, but every error.
    log = (tmp_path / "snakemake.txt").read_text()
    assert "no_such_module" in log
    assert log.count("\n") < 60

    plain = project.run("python", "-X", "importtime", "scripts/sweep.py", "status")
    assert "no_such_module" in plain.stdout and "results/logs/broken-" in plain.stdout
    best = {name: record["final"]["test_acc"] for name, record in project.records().items()}
    shown = re.search(r"^lrs +2 +2 +0 +0\.\d{4} +(0\.\d{4}) +lr=0\.1$", plain.stdout, re.MULTILINE)
    assert shown and float(shown[1]) == pytest.approx(max(best.values()), abs=1e-4)
    sizes = [path.stat().st_size for path in project.results.glob("predictions/*.npz")]
    assert re.search(
        r"^In results: weights of \d runs? \(.* kB\), predictions of \d runs? \(", plain.stdout, re.MULTILINE
    )
    on_disk = json.loads(project.run("python", "scripts/sweep.py", "status", "--json").stdout)["disk"]
    assert on_disk["predictions"] == [len(sizes), sum(sizes)] and sum(sizes) and on_disk["weights"][1] > 1000
    assert not re.search(r"\b(torch|pandas|numpy|snakemake)$", plain.stderr, re.MULTILINE)  # fast over SSH

    # A record that is torn is told of, not believed.
    next(project.results.glob("lrs-*.json")).write_text('{"status": "finished"')
    torn = project.run("python", "scripts/sweep.py", "status")
    assert torn.returncode == 0 and "1 damaged" in torn.stdout and "is not JSON" in torn.stdout


def test_watch_waits_for_a_start_and_ends_when_all_is_done(project: Project):
    project.configure({"experiments": {"one": {"lr": 0.1}}})
    done = project.run("python", "scripts/sweep.py", "watch", "--wait", "1", timeout=LIMIT)
    assert (done.returncode, done.stdout) == (1, "0 of 1 runs are done, 1 new\n" * 2)


# -- the time left -------------------------------------------------------------------------------------------------

NOW = 1_000_000.0


def run(number: int, state: str, n_epochs: int = 0, *, began: float = 0, ended: float = 0, epoch=10.0) -> RunStatus:
    """One run of ten epochs of ten seconds; it began and ended so many seconds ago."""
    seconds = epoch if n_epochs else None
    started, updated = (NOW - began, NOW - ended) if began else (None, None)
    setting = {"epochs": 10, "seed": number}
    took = n_epochs * epoch
    known = {"epoch_seconds": seconds, "n_planned": 10, "seconds": took, "started": started, "updated": updated}
    return RunStatus("a", f"{number:040x}", setting, state, n_epochs, **known)


def new(*numbers: int) -> list[RunStatus]:
    return [run(number, "new") for number in numbers]


@pytest.mark.parametrize(
    ("runs", "left"),
    [
        ([run(0, "finished", 10, began=200, ended=100), run(1, "finished", 10, began=100, ended=0), *new(2, 3)], 200),
        ([run(i, "running", 5, began=50) for i in range(4)] + new(4, 5, 6, 7), 50 + 100),
        # Three have come to the first, as on a cluster that fills slowly.
        ([run(0, "running", 9, began=390), *[run(i, "running", 3, began=90) for i in (1, 2, 3)]], 70),
        # Continued: eight epochs are done, two of them by this process, on one core.
        ([run(0, "running", 8, began=20), *new(1)], 20 + 100),
        # A night between two stretches: yesterday eight ran at a time, today one does.
        ([run(i, "finished", 10, began=50_100, ended=50_000) for i in range(8)]
         + [run(8, "running", 5, began=50), *new(9)], 50 + 100),
        # What failed in this stretch is not tried again in it; what failed before is.
        ([run(0, "running", 5, began=50), run(1, "failed", 0, began=40, ended=35)], 50),
        ([run(0, "running", 5, began=50), run(1, "failed", 0, began=5000, ended=4990)], 50 + 100),
        # Its last epoch was over eight seconds ago.
        ([run(0, "running", 5, began=58, ended=8)], 42),
        ([run(0, "running", 0, began=50), *new(1)], None),  # nothing is known yet
        (new(0, 1), None),
        ([run(0, "finished", 10, began=5000, ended=4900), *new(1)], None),  # nothing runs
    ],
)  # fmt: skip
def test_the_time_left(runs: list[RunStatus], left: float | None):
    assert sweep_seconds_left(runs, NOW) == (None if left is None else pytest.approx(left, rel=0.1))


def test_the_time_left_where_nobody_knows_how_many_epochs_a_run_has():
    """A function need not have a parameter `epochs`, nor say its epochs at all: whole runs are counted."""

    def one(number: int, state: str, began: float = 0, ended: float = 0) -> RunStatus:
        started, updated = (NOW - began, NOW - ended) if began else (None, None)
        setting = {"train": "my_training:fit", "depth": 3, "seed": number}
        return RunStatus("a", str(number), setting, state, seconds=began - ended, started=started, updated=updated)

    runs = [one(0, "finished", 220, 120), one(1, "finished", 120, 20), one(2, "running", 20), one(3, "new")]
    assert sweep_seconds_left(runs, NOW) == pytest.approx(80 + 100, rel=0.1)
    assert sweep_seconds_left([one(2, "running", 20), one(3, "new")], NOW) is None


def test_a_setting_of_two_experiments_is_trained_once():
    one = run(0, "running", 5, began=50)
    copy = RunStatus("b", one.digest, one.setting, "new", n_planned=10)
    assert sweep_seconds_left([copy, one, copy], NOW) == pytest.approx(50)


def test_the_time_left_counts_what_a_comparison_has_yet_to_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What it reports takes as long with any values; of a search nobody knows."""
    counted = []
    monkeypatch.setattr("dlsweep.workflow.view.sweep_seconds_left", lambda runs: counted.extend(runs))
    fair = {"compare": "act", "grid": {"act": ["relu", "tanh"]}, "tune": {"lr": [0.1, 0.2, 0.3]}, "seeds": 4}
    view = View(expand_config({"experiments": {"fair": fair}}), tmp_path)
    assert len(counted) == view.n_runs == 2 * 3 + 2 * 4
    assert view.headline() == "0 of 14 runs are done, 6 new, 8 not decided"
    assert {run.state for run in counted} == {"new"} and len({run.digest for run in counted}) == len(counted)
    search = {"search": {"method": "tpe", "n": 12, "lr": {"uniform": [0.1, 1]}}}
    assert View(expand_config({"experiments": {"fair": fair, "model": search}}), tmp_path).seconds_left is None
    assert len(counted) == view.n_runs


@pytest.mark.parametrize("cores", [1, 3, 8])
@pytest.mark.parametrize("pause", [0.0, 5.0])
def test_the_time_left_in_a_simulated_sweep(cores: int, pause: float):
    """At every tenth of a sweep of 48 runs, the time left is right to a fifth, or to one run."""
    durations = [(60 + 7 * (i * 5 % 12)) for i in range(48)]  # 60 s to 137 s
    free = [0.0] * cores
    spans = []
    for duration_ in durations:
        begin = heapq.heappop(free) + pause
        spans.append((begin, begin + duration_))
        heapq.heappush(free, begin + duration_)
    end = max(free)
    for tenth in range(2, 10):
        now = end * tenth / 10
        runs = []
        for i, (begin, finish) in enumerate(spans):
            epoch = (finish - begin) / 10
            n_epochs = min(int((now - begin) / epoch), 10)
            if finish <= now:
                runs.append(run(i, "finished", 10, began=now - begin, ended=now - finish, epoch=epoch))
            elif begin <= now:
                since = now - begin - n_epochs * epoch
                runs.append(run(i, "running", n_epochs, began=now - begin, ended=since, epoch=epoch))
            else:
                runs.append(run(i, "new"))
        left = sweep_seconds_left(runs, NOW)
        assert left is not None
        assert left == pytest.approx(end - now, rel=0.2, abs=max(durations))
        stretch = current_stretch(runs, NOW)
        assert stretch is not None and stretch.parallel <= cores * 1.01


def test_the_best_setting_is_chosen_by_validation_over_seeds(project: Project, tmp_path: Path):
    project.configure({"experiments": {"a": {"grid": {"lr": [0.1, 0.2]}, "seeds": 2}}})
    view = View(load_sweep([project.folder / "config.yaml"]), tmp_path / "none")
    accuracies = {(0.1, 0): (0.9, 0.1), (0.1, 1): (0.5, 0.1), (0.2, 0): (0.8, 0.3), (0.2, 1): (0.7, 0.4)}
    view.runs = [
        RunStatus("a", r.digest, r.setting, "finished", selected=val, reported=test)
        for r in view.runs
        for val, test in [accuracies[r.setting["lr"], r.setting["seed"]]]
    ]
    best = view.best("a")
    means = {"val_acc": pytest.approx(0.75), "test_acc": pytest.approx(0.35)}
    assert best == {"setting": "lr=0.2", "seeds": 2, "diverged": 0, **means}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.4, "59 s"), (200, "3 min 20 s"), (18_600, "5 h 10 min"), (183_600, "2 d 3 h")],
)
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text
