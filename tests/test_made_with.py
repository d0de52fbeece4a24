"""What a run was made with: digests of the user's own code and data, without importing either."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from dlsweep.config.identity import check_setting
from dlsweep.files import read_end, write_json
from dlsweep.results.versions import (
    Present,
    Source,
    code_digest,
    code_only,
    data_now,
    is_prepared,
    look_at_source,
    note_prepared,
    own_files,
    tell_apart,
)
from fake import fake_record


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / (name.replace("__", "/").replace("/init", "/__init__") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_digest_covers_all_that_a_model_imports_of_the_users_own_files(folder: Path):
    write(
        folder,
        nets="import torch, math, json.decoder, missing_one\nfrom pack.sub import thing\nimport lone.deep as d\n"
        "def build():\n    from helpers import later\n    import importlib\n    importlib.import_module('named')\n",
        helpers="from pack import *\n",
        named="",
        pack__init="__all__ = ['starred']\nfrom . import sibling\n",
        pack__sibling="from .. import beyond\nfrom .other import x\nimport numpy\n",
        pack__other="this is no Python\n",
        pack__starred="",
        pack__sub__init="from ..cousin import a\n",
        pack__sub__thing="import nets\n",
        pack__cousin="",
        pack__unused="",
        lone__deep="",
        unused="",
    )
    (folder / "site-packages").mkdir()
    found = own_files("nets")
    inside = ("", ".sibling", ".other", ".starred", ".sub", ".sub.thing", ".cousin")
    assert set(found) == {"nets", "helpers", "named", "lone.deep", *(f"pack{name}" for name in inside)}
    digests = {code_digest("nets")}
    for name in sorted(found):
        found[name].write_text(found[name].read_text() + "\nnew = 1\n")
        digests.add(code_digest("nets"))
    assert len(digests) == len(found) + 1
    write(folder, unused="changed = 1\n", pack__unused="changed = 1\n", missing_one="")
    assert code_digest("nets") not in digests  # a module that was missing is there
    assert code_digest("no_such") is None and code_digest("pack.no_such") is None
    assert "nets" not in sys.modules


def test_installed_modules_and_those_of_this_project_do_not_count(folder: Path, monkeypatch):
    installed = folder / ".venv/lib/site-packages"
    write(folder, nets="import torch, other, dlsweep.config.files\n")
    write(installed, other="")
    write(folder / "elsewhere", shared="")
    monkeypatch.setattr(sys, "path", [*sys.path, str(installed), str(folder / "elsewhere")])
    assert set(own_files("nets")) == {"nets"}
    assert set(own_files("other")) == {"other"}  # the model's own module counts wherever it is
    assert set(own_files("shared")) == {"shared"}
    assert set(own_files("torchvision.models.resnet")) == {"torchvision.models.resnet"}


def test_comments_and_the_place_of_the_project_do_not_count(folder: Path, monkeypatch):
    write(
        folder,
        nets='# a comment\nimport math\n\n\nTEXT = """# one\n\n  two  \n"""\n\n\ndef f():\n    return 1  # why\n',
    )
    before = code_digest("nets")
    (folder / "nets.py").write_bytes(
        b'import math  \r\nTEXT = """# one\r\n\r\n  two  \r\n"""\r\ndef f():\r\n\r\n    # more\r\n    return 1'
    )
    assert code_digest("nets") == before
    (folder / "moved").mkdir()
    shutil.copy("nets.py", "moved")
    monkeypatch.chdir("moved")
    assert code_digest("nets") == before
    for old, new in ((b"  two  ", b"  two"), (b"return 1", b"return 2"), (b"\r\n\r\n  two", b"\r\n  two")):
        assert code_only((folder / "nets.py").read_bytes().replace(old, new)) != code_only(Path("nets.py").read_bytes())
    assert code_only(b"x = (") == b"x = (" and code_only(b"\xff\xfe") == b"\xff\xfe"


def test_data_are_known_by_their_bytes_and_read_only_where_their_times_changed(folder: Path, monkeypatch):
    data, prepared = folder / "mine.npz", folder / "mine.pt"
    setting = {"data_path": str(data)}
    data.write_bytes(b"one")
    assert data_now(prepared, setting) is None and is_prepared(prepared, setting)  # nothing is known
    note_prepared(prepared, "a" * 12, look_at_source(setting))
    assert data_now(prepared, setting) == "a" * 12
    os.utime(data, (1, 1))  # as after a copy
    assert data_now(prepared, setting, note=True) == "a" * 12
    monkeypatch.setattr("dlsweep.results.versions.look_at_source", lambda path: pytest.fail("read again"))
    assert data_now(prepared, setting) == "a" * 12
    monkeypatch.undo()
    data.write_bytes(b"two")
    assert data_now(prepared, setting) not in (None, "a" * 12) and not is_prepared(prepared, setting)
    note_prepared(prepared, "b" * 12, look_at_source(setting))
    assert data_now(prepared, setting) == "b" * 12 and is_prepared(prepared, setting)
    data.write_bytes(b"one")  # as it was: known again, though another one is prepared
    assert data_now(prepared, setting) == "a" * 12 and not is_prepared(prepared, setting)


def test_a_folder_of_images_is_known_by_every_file(folder: Path):
    images = folder / "images"
    (images / "cat").mkdir(parents=True)
    (images / "cat" / "1.png").write_bytes(b"1")
    setting = {"data_path": str(images)}
    look = look_at_source(setting)
    assert look is not None and look == look_at_source(setting)
    (images / "cat" / "1.png").write_bytes(b"2")
    changed = look_at_source(setting)
    assert changed is not None and changed.sha1 != look.sha1 and changed.stat != look.stat
    assert look_at_source({}) is None and look_at_source({"data_path": "not there"}) is None


def test_runs_of_unlike_versions_are_told_apart_and_old_records_as_far_as_they_know():
    nets, data = Source("code", "nets", "nets"), Source("data", "mine.npz", "npz-1")
    new, other = ("3f2a00000000", "5" * 40), ("3f2b00000000", "6" * 40)
    made = {
        "a": {nets: new, data: ("d1",)},
        "b": {nets: other},
        "old": {nets: ("5" * 40,), data: ("d1",)},  # fits a alone
        "older": {nets: ("7" * 40,)},
        "unknown": {},
    }
    expected = {"a": "code 3f2a", "b": "code 3f2b", "old": "code 3f2a", "older": "code 7777", "unknown": ""}
    assert tell_apart(made) == expected
    assert tell_apart({key: made[key] for key in ("a", "old", "unknown")}) == {"a": "", "old": "", "unknown": ""}


def test_what_cannot_be_known_is_not_outdated(folder: Path):
    write(folder, nets="x = 1\n")
    setting = check_setting({"model": "nets:Net"})
    nets, data = Present(folder).versions(setting).keys() | {None}, None
    assert {source.kind for source in nets if source} == {"code"}  # nothing was prepared yet
    source = Source("code", "nets", "nets")
    sha1 = hashlib.sha1(b"x = 1\n").hexdigest()
    present = Present(folder)
    data = Source("data", "digits", "digits")
    for made in ({}, {source: (sha1,)}, {source: (str(code_digest("nets")), "other")}, {data: ("d1",)}):
        assert present.changed(setting, made) == []
    assert present.changed(setting, {source: ("0" * 40,)}) == [source]
    assert present.changed(setting, {source: ("0" * 12, sha1)}) == [source]


def test_the_end_of_a_record_says_what_it_was_made_with(folder: Path):
    setting = check_setting({})
    record = fake_record("a", "0" * 40, setting)
    record["provenance"]["command"] = 'x "model": {"n_parameters" ' + "y" * 200
    for size in (0, 10_000):
        record["provenance"]["note"] = "z" * size
        write_json(folder / "r.json", record)
        end = read_end(folder / "r.json")
        assert end["model"] == record["model"] and end["provenance"] == record["provenance"]


def test_an_interrupted_run_does_not_go_on_with_other_code_of_a_helper(tmp_path: Path, monkeypatch):
    from dlsweep.tasks.checkpoint import Checkpoint
    from dlsweep.tasks.classification.data import load_splits, prepare
    from dlsweep.tasks.classification.training import Trainer

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("helper_of_this_test.py").write_text("from torch import nn\nLAYER = nn.Linear\n")
    Path("net_with_a_helper.py").write_text(
        "import helper_of_this_test as helper\n"
        "class Net(helper.nn.Sequential):\n"
        "    def __init__(self, in_shape, n_classes):\n"
        "        super().__init__(helper.nn.Flatten(), helper.LAYER(64, n_classes))\n"
    )
    setting = check_setting({"model": "net_with_a_helper:Net", "epochs": 1, "train_size": 100})
    prepare(setting, tmp_path / "digits.pt", tmp_path)
    checkpoint = tmp_path / "run.pt"

    def resumed() -> int:
        trainer = Trainer(
            setting, load_splits(tmp_path / "digits.pt", setting), torch.device("cpu"), Checkpoint(checkpoint)
        )
        trainer.load_checkpoint()
        trainer.checkpoint.save(trainer.state())
        return trainer.progress.resumed

    assert resumed() == 0
    Path("helper_of_this_test.py").write_text("from torch import nn  # a comment\nLAYER = nn.Linear\n")
    assert resumed() == 1
    Path("helper_of_this_test.py").write_text("from torch import nn\nLAYER = nn.LazyLinear\n")
    assert resumed() == 0
    assert checkpoint.with_suffix(".pt.bad").exists()
