"""A Snakemake whose internals have other names: conveniences go, and say so; no sweep, signal or record does."""

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import LIMIT, SMALL, Project, wait_for
from dlsweep.workflow import internals, session

NOTHING = SimpleNamespace()
HIDDEN = """
class Hidden:
    def __getattr__(self, name):
        raise AttributeError(f"there is no {name}")


from snakemake import persistence
persistence.__dict__.update({name: None for name in vars(persistence) if "backup" in name.lower()})
"""


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda: internals.config(NOTHING), (["a.yaml", "b.yaml"], {"parquet": True, "name": "x"})),
        (lambda: internals.is_main(NOTHING), True),
        (lambda: internals.does_a_group(NOTHING), False),
        (lambda: internals.submits(NOTHING), False),
        (lambda: internals.is_local(NOTHING), True),
        (lambda: internals.deployment(NOTHING), frozenset()),
        (lambda: internals.targets(NOTHING), frozenset()),
        (lambda: internals.options_for_a_part(NOTHING), []),
        (lambda: internals.touches(NOTHING), True),
        (lambda: internals.is_dry_run(NOTHING), False),
        (lambda: internals.is_rule(NOTHING, "all"), False),
        (lambda: internals.forced(NOTHING), (frozenset(), frozenset())),
        (lambda: internals.force(NOTHING, ["file"]), None),
        (lambda: internals.runs_to_do(NOTHING), []),
        (lambda: internals.is_limited(NOTHING, "gpu"), False),
        (lambda: internals.limit(NOTHING, "gpu", 1), None),
        (lambda: internals.limit_from_now_on(NOTHING, "gpu", 1), None),
        (lambda: internals.no_rate_limit(NOTHING), None),
        (lambda: internals.slurm_options(NOTHING), None),
    ],
)
def test_a_name_that_is_gone_costs_a_line(
    ask: Callable[[], object],
    answer: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    call = ["snakemake", "--cores", "2", "--touch", "--configfile", "a.yaml", "b.yaml", "--config", "parquet=true"]
    monkeypatch.setattr("sys.argv", [*call, "name=x"])
    monkeypatch.setattr(internals, "_told", set())
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    assert ask() == answer == ask()
    told = capsys.readouterr().err.splitlines()
    assert len(told) <= 1
    assert all("with this version of Snakemake" in line for line in told)


def test_the_cluster_is_not_taken_for_this_machine(monkeypatch: pytest.MonkeyPatch):
    for words in (["--executor", "slurm"], ["--profile", "profiles/slurm"], ["--mode", "remote"]):
        monkeypatch.setattr("sys.argv", ["snakemake", *words])
        assert internals.is_main(NOTHING) == ("--mode" not in words)
        assert internals.is_local(NOTHING) == ("--mode" in words)
    monkeypatch.setattr("sys.argv", ["snakemake", "--sdm", "apptainer"])
    assert internals.deployment(NOTHING) == {"APPTAINER"}


def test_a_sweep_needs_none_of_them(project: Project):
    """It is stopped by a signal, gone on with, and forced; records are whole all the time."""
    small = {**SMALL["experiments"]["small"], "figures": []}
    config = {"defaults": {**SMALL["defaults"], "epochs": 150, "batch_size": 8}, "experiments": {"small": small}}
    project.configure(config)
    files = [project.folder / "Snakefile", *(project.folder / "rules").glob("*.smk")]
    assert sum(path.read_text().count("(workflow)") for path in files) >= 5
    for path in files:
        hidden = path.read_text().replace("(workflow)", "(Hidden())").replace("SWEEP = ", HIDDEN + "\n\nSWEEP = ")
        path.write_text(hidden)

    command = ("snakemake", "--cores", "2")
    with (project.folder / "log").open("w") as log:
        sweep = subprocess.Popen(command, cwd=project.folder, env=project.environment(), stdout=log, stderr=log)
    wait_for(lambda: list(project.results.glob("running/*.pt")) or sweep.poll() is not None)
    sweep.send_signal(signal.SIGTERM)
    assert sweep.wait(timeout=LIMIT) != 0
    assert list(project.results.glob("running/*.pt"))

    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "warning: with this version of Snakemake" in done.stderr
    records = project.records()
    assert len(records) == 4 and sum(record["timing"]["resumed"] for record in records.values()) > 0
    forced = project.snakemake("-F", "small")
    assert forced.returncode == 0, forced.stderr
    assert "records cannot be made again with --forcerun; delete them instead" in forced.stderr
    assert project.records() == records


def test_a_signal_ends_the_jobs_where_snakemake_handles_none(monkeypatch: pytest.MonkeyPatch):
    job = subprocess.Popen(["sleep", "100"])
    old = signal.getsignal(signal.SIGINT)
    asked: list[int] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
        monkeypatch.setattr(session.time, "sleep", lambda seconds: job.wait() and (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            session._stop_jobs(None)
    finally:
        signal.signal(signal.SIGINT, old)
        job.kill()
    assert job.wait(LIMIT) == -signal.SIGTERM and asked == [signal.SIGINT]


def test_only_one_module_names_them():
    """What is not in internals.py is not looked at when a new Snakemake comes."""
    scripts = Path(internals.__file__).parent
    for path in (*scripts.glob("*.py"), *scripts.parent.glob("*.py")):
        if path.name != "internals.py":
            for line in path.read_text().splitlines():
                assert not re.match(r"\s*(from|import) snakemake\b", line), path
                assert not re.search(r"workflow\.(dag|scheduler|\w+_settings)\b", line), (path, line)
