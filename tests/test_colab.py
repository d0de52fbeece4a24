"""The notebook for Colab, in fresh kernels, on a folder with the properties of a mounted Drive."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml

from conftest import LIMIT, ROOT, Project, wait_for

NOTEBOOK = ROOT / "notebooks/colab.ipynb"
SWEEP = {
    "defaults": {"train_size": 200, "hid_dim": 8, "epochs": 2},
    "experiments": {"small": {"grid": {"lr": [0.01, 0.1]}}, "long": {"epochs": 2000, "seeds": 3}},
}


EXECUTE = """
import nbclient, nbformat, sys
notebook = nbformat.read(sys.argv[1], 4)
try:
    nbclient.NotebookClient(notebook, timeout=600).execute()
finally:
    nbformat.write(notebook, sys.argv[1])
"""


class Colab:
    """A Colab account: what is on its Drive stays, a session's own disk does not."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.drive, self.n_sessions = folder, folder / "drive/MyDrive", 0
        (folder / "origin").mkdir()
        origin = Project(folder / "origin").folder
        for name in ("config.yaml", "requirements-minimum.txt"):
            shutil.copy(ROOT / name, origin)
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
        for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=all"]):
            subprocess.run([*git, *command], cwd=origin, check=True)
        (folder / "google/colab").mkdir(parents=True)
        (folder / "google/colab/__init__.py").touch()
        (folder / "google/colab/drive.py").write_text("def mount(path): ...\n")

    def session(self) -> subprocess.Popen[str]:
        """Start a new session, fill in the notebook's first cell and run all of it."""
        self.n_sessions += 1
        place = self.folder / f"session-{self.n_sessions}"
        place.mkdir()
        notebook = nbformat.read(NOTEBOOK, 4)
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        filled = first.source.replace('REPOSITORY = ""', f'REPOSITORY = "{self.folder}/origin"')
        first.source = filled.replace("/content/drive/MyDrive/sweeps/first", str(self.drive / "sweep"))
        assert str(self.folder / "origin") in first.source and str(self.drive) in first.source
        nbformat.write(notebook, place / "colab.ipynb")
        return subprocess.Popen(
            [sys.executable, "-c", EXECUTE, "colab.ipynb"],
            cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def cells(self) -> list[nbformat.NotebookNode]:
        """The code cells of the last session's notebook."""
        notebook = nbformat.read(self.folder / f"session-{self.n_sessions}/colab.ipynb", 4)
        return [cell for cell in notebook.cells if cell.cell_type == "code"]

    def records(self) -> dict[str, str]:
        """The records on the Drive, by name."""
        return {path.name: path.read_text() for path in (self.drive / "sweep/results").glob("*-*.json")}

    def goes_on_from_something(self) -> bool:
        """Say whether two runs are finished and another one has a checkpoint."""
        return len(self.records()) >= 2 and any((self.drive / "sweep/results/running").glob("*.pt"))


@pytest.fixture
def colab(tmp_path: Path, shim: str, monkeypatch: pytest.MonkeyPatch) -> Colab:
    """Its file system is that of a mounted Drive: no fsync of folders, no flock, slow to rename."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LD_PRELOAD", shim)
    for name, value in {"SHIM_FLOCK": errno.ENOSYS, "SHIM_SYNC_FOLDER": errno.EINVAL, "SHIM_SLOW": 50_000}.items():
        monkeypatch.setenv(name, str(value))
    return Colab(tmp_path)


def kill(process: subprocess.Popen[str]) -> None:
    """What Colab does to a session: everything in it is gone at once."""
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(LIMIT)


def test_a_lost_session_goes_on_in_the_next(colab: Colab):
    (colab.drive / "sweep").mkdir(parents=True)
    (colab.drive / "sweep/config.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    lost = colab.session()
    wait_for(lambda: colab.goes_on_from_something() or lost.poll() is not None, pause=0.2)
    before = colab.records()
    kill(lost)
    assert 2 <= len(before) < 5, lost.stdout and lost.stdout.read()
    next_one = colab.session()
    output, _ = next_one.communicate(timeout=LIMIT)
    assert next_one.returncode == 0, output
    after = colab.records()
    assert len(after) == 5
    assert {name: after[name] for name in before} == before
    assert sum(json.loads(record)["timing"]["resumed"] for record in after.values()) >= 1
    *_, sweep, shown, table = colab.cells()
    printed = "".join(output.get("text", "") for output in sweep.outputs)
    assert "5 runs in 2 experiments" in printed and len(printed) < 10_000, printed
    assert [output for output in shown.outputs if "image/png" in output.get("data", {})]
    assert "small" in table.outputs[0].data["text/plain"]
