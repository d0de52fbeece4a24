"""Users whose shell, home or group is not like ours."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from conftest import LIMIT, ROOT, Project

GROUP = 61000
ENVIRONMENT = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}
SMALL = {"defaults": {"epochs": 2, "train_size": 200, "n_layer": 1, "hid_dim": 8}}


class Shared(Project):
    """A project in a folder of a group; two users of it are known by their number alone, as in a container.

    They keep the right to read all, since this Python may be in another's home.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, group=GROUP)
            path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))

    def as_user(self, number: int, umask: int, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        home = self.folder.parent / f"home{number}"
        home.mkdir(exist_ok=True)
        shutil.chown(home, number)
        environment = {key: value for key, value in self.environment().items() if key not in ENVIRONMENT}
        # Its own folder for what is temporary: pytest's is closed to others.
        variables = {"HOME": str(home), "TMPDIR": str(home), **variables}
        reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        ids = [f"--reuid={number}", f"--regid={number}", f"--groups={GROUP}", "--bounding-set=-all,+dac_read_search"]
        return subprocess.run(
            ["setpriv", *ids, *reading, *command],
            cwd=self.folder,
            env={**environment, **variables},
            umask=umask,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("being other users needs root and setpriv")
    (tmp_path / "shared").mkdir()
    return Shared(tmp_path / "shared")


def snakemake(*arguments: str) -> Sequence[str]:
    return ("snakemake", "--cores", "2", *arguments)


def test_a_user_whom_nobody_knows_in_an_old_shell(shared: Shared, shim: str):
    """No entry in the passwd file, umask 077, an ASCII locale, PYTHONSAFEPATH, no /dev/shm: all at once."""
    data = np.random.default_rng(0).normal(size=(120, 8)).astype("float32")
    labels = (data[:, 0] > 0).astype("int64")
    np.savez(shared.folder / "own.npz", x_train=data, y_train=labels, classes=["Bär", "猫"])
    own = {**SMALL["defaults"], "dataset": "npz", "data_path": "own.npz", "train_size": None}
    figures = [{"kind": "curves", "name": name} for name in ("a", "b", "c", "d")]
    experiment = {"grid": {"lr": [0.01, 0.1]}, "figures": figures}
    shared.configure({"name": "own", "defaults": own, "experiments": {"own": experiment}})
    config = shared.folder / "config.yaml"
    config.write_text(f"# für alle\n{config.read_text()}", encoding="utf-8")
    old = {**ASCII, "PYTHONSAFEPATH": "1", "LD_PRELOAD": shim, "SHIM_SEMAPHORE": "38"}
    done = shared.as_user(61001, 0o077, *snakemake(), **old)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(shared.records()) == 2
    assert "für alle" in (shared.results / "own" / "report" / "config.html").read_text(encoding="utf-8")
    assert len(list((shared.results / "own" / "figures").glob("*.png"))) == 4
    shown = shared.as_user(61001, 0o077, "python", "scripts/sweep.py", "show", **old)
    assert shown.returncode == 0 and "lr: 0.01, 0.1" in shown.stdout, shown.stderr

    config.write_text(config.read_text(encoding="utf-8").replace("own.npz", "größe.npz"), encoding="utf-8")
    refused = shared.as_user(61001, 0o077, *snakemake("-n"), **old)
    assert refused.returncode and "Traceback" not in refused.stderr
    assert r"config.yaml: has the letter '\xf6'" in refused.stderr and "set PYTHONUTF8=1" in refused.stderr


def test_two_users_of_a_group(shared: Shared):
    shared.configure({**SMALL, "experiments": {"small": {"grid": {"lr": [0.01, 0.1]}}}})
    done = shared.as_user(61001, 0o002, *snakemake("small"))
    assert done.returncode == 0, done.stdout + done.stderr
    before = shared.outcomes()
    shared.configure({**SMALL, "experiments": {"small": {"grid": {"lr": [0.01, 0.1, 0.2]}}}})
    done = shared.as_user(61002, 0o022, *snakemake("aggregate"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert shared.outcomes().items() >= before.items() and len(shared.records()) == 3

    # What the second has made is closed to the first, who is told so before anything starts.
    shared.configure({**SMALL, "experiments": {"small": {"grid": {"lr": [0.01, 0.1, 0.2, 0.3]}}}})
    refused = shared.as_user(61001, 0o002, *snakemake())
    assert refused.returncode and "Traceback" not in refused.stderr
    assert ".csv: belongs to user 61002, and you may not write it; where a group" in refused.stderr
    assert "umask 002" in refused.stderr and len(shared.records()) == 3
    for table in shared.results.glob("*.*"):
        table.chmod(0o664)
    for folder in (shared.results, *(path for path in shared.results.iterdir() if path.is_dir())):
        assert folder.stat().st_uid == 61001, folder
    shared.as_user(61002, 0o022, "mkdir", "results/theirs")
    refused = shared.as_user(61001, 0o002, *snakemake())
    assert refused.returncode and "Traceback" not in refused.stderr
    assert "results/theirs: belongs to user 61002, and you may not write it" in refused.stderr
    assert len(shared.records()) == 3
    (shared.results / "theirs").chmod(0o775)
    done = shared.as_user(61001, 0o002, *snakemake())
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(shared.records()) == 4


def test_a_lock_file_of_somebody_else_can_be_locked(shared: Shared):
    """It is left over from a killed run, and only its owner may write to it."""
    lock = shared.folder / "a.lock"
    lock.touch(mode=0o644)
    code = "from dlsweep.locks import *; lock = take(Path('a.lock')); assert lock and is_held(Path('a.lock'))"
    done = shared.as_user(61002, 0o022, "python", "-c", code, PYTHONPATH=str(ROOT / "scripts"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_make_finds_a_home(home: str | None, tmp_path: Path):
    """Snakemake needs one that it can write to."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    environment = {key: value for key, value in os.environ.items() if key != "HOME"} | ({"HOME": home} if home else {})
    (tmp_path / "print.mk").write_text("include Makefile\nprint:\n\t@echo $$HOME\n")
    command = ["make", "--silent", "-f", "print.mk", "print"]
    made = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == str(tmp_path / ".snakemake" / "home")
    assert (tmp_path / ".snakemake" / "home").is_dir()
