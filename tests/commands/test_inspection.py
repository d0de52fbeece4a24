"""show, explain, diff, orphans and import, through the command line."""

import json
import math
import shlex
from pathlib import Path

import pytest

from conftest import Project
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.config.paths import record_name
from dlsweep.config.sweep import load_sweep
from dlsweep.errors import ConfigError
from dlsweep.files import write_json
from dlsweep.results.importing import convert
from dlsweep.results.records import read_record
from dlsweep.results.tables import summary_table
from fake import fake_predictions, fake_record
from lecture import LECTURE, RESULT, save

CONFIG = """\
defaults: {epochs: 4}
experiments:
  parent:
    grid:
      lr: [0.1, 0.2, 2]
    seeds: 2
    figures: []
  child:
    extends: parent
    when:
      - if: {lr: 0.2}
        set: {momentum: 0.9}
    settings:
      - {}
      - {act: tanh}
"""


@pytest.fixture
def sweep(project: Project) -> Project:
    """A project whose first experiment is finished, but for one run."""
    project.configure(CONFIG)
    project.results.mkdir()
    parent = load_sweep([project.folder / "config.yaml"]).experiments["parent"]
    for digest, setting in list(parent.settings.items())[:-1]:
        write_json(project.results / record_name("parent", digest), fake_record("parent", digest, setting))
    return project


def command(project: Project, *arguments: str, status: int = 0) -> str:
    done = project.run("python", "scripts/sweep.py", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def digest_of(**values) -> str:
    return setting_hash(check_setting({"epochs": 4, **values}))


def test_show_counts_runs_by_state_and_the_time_left(sweep: Project):
    rows = {row["experiment"]: row for row in json.loads(command(sweep, "show", "--json"))}
    assert rows["parent"] == {
        "experiment": "parent",
        "runs": 6,
        "states": {"finished": 4, "diverged": 1, "new": 1},
        "outdated": 0,
        "varies": {"lr": [0.1, 0.2, 2.0], "seed": [0, 1]},
        "no_effect": [],
        "seconds_left": pytest.approx(1.4, rel=0.3),  # one of six runs, which took 1.4 s each
    }
    # 12 settings, of which parent has finished 3 (lr 0.1 twice, lr 2) and still has to train one
    assert rows["child"]["states"] == {"new": 12}
    assert rows["child"]["seconds_left"] == pytest.approx(8 * 1.4, rel=0.3)

    lines = [line.split() for line in command(sweep, "show", "config.yaml").splitlines()]
    assert lines[0] == ["experiment", "runs", "finished", "diverged", "new", "left", "varies"]
    assert lines[1][:5] == ["parent", "6", "4", "1", "1"]
    assert "lr: 0.1, 0.2, 2.0" in command(sweep, "show")
    overrides = ("--config", "experiments={parent: {seeds: 20}}", "defaults={epochs: 1}")
    assert "seed: 0, 1, 2, ..., 19 (20 values)" in command(sweep, "show", *overrides)
    text = command(sweep, "show", "--config", "experiments={parent: {grid: {rho: [0.8, 0.9]}}}")
    assert "parent: rho: swept, but applies to none of its settings" in text


def test_explain_says_where_each_value_comes_from(sweep: Project):
    digest = digest_of(lr=0.2, momentum=0.9, act="tanh", seed=1)
    text = command(sweep, "explain", digest[:9])
    found = {words[0]: " ".join(words[1:]) for words in map(str.split, text.splitlines()) if words}
    assert found["hash"] == digest
    assert found["epochs"] == "4 defaults.epochs (config.yaml, line 1)"
    assert found["lr"] == "0.2 experiments.parent.grid.lr (config.yaml, line 5)"
    assert found["seed"] == "1 experiments.parent.seeds (config.yaml, line 6)"
    assert found["momentum"] == "0.9 experiments.child.when[0].set.momentum (config.yaml, line 12)"
    assert found["act"] == "tanh experiments.child.settings[1].act (config.yaml, line 15)"
    assert found["hid_dim"] == "100 default"
    assert f"results/child-{digest}.json  (not there)" in text
    assert f"results/running/{digest}.pt  (not there)" in text
    words = shlex.split(next(line for line in text.splitlines() if "scripts/train.py" in line))
    assert {f"--hash={digest}", "--lr=0.2", "--act=tanh", "--data=results/data/digits.pt"} <= set(words)

    text = command(sweep, "explain", digest[:9], "--config", "defaults={act: gelu, epochs: 4}")
    assert "4" in text and "defaults.epochs (--config)" in text
    finished = digest_of(lr=0.1)
    assert "parent: finished, test accuracy 0." in command(sweep, "explain", f"results/parent-{finished}.json")


def test_diff_says_what_differs_in_settings_and_results(sweep: Project):
    first, second = digest_of(lr=0.1), digest_of(lr=0.2, seed=1)
    text = command(sweep, "diff", first[:8], second[:8])
    found = {words[0]: words[1:] for words in map(str.split, text.splitlines()) if words}
    records = [read_record(sweep.results / record_name("parent", digest)) for digest in (first, second)]
    assert found["lr"] == ["0.1", "0.2"] and found["seed"] == ["0", "1"]
    assert [float(word) for word in found["test_acc"]] == [
        pytest.approx(record["final"]["test_acc"], rel=1e-5) for record in records
    ]
    assert "hid_dim" not in found and "n_parameters" not in found
    assert "test images" not in text  # no predictions are kept
    for record in records:
        fake_predictions(sweep.results, record)
    text = command(sweep, "diff", first[:8], second[:8])
    right = [round(200 * record["final"]["test_acc"]) for record in records]
    assert f"test images: {abs(right[0] - right[1])} of 200 are predicted unlike" in text and right[0] != right[1]
    images = {line.strip().partition("  ")[0]: line.split()[-2:] for line in text.splitlines()}
    assert images["only this run is right"] == [str(max(right[0] - right[1], 0)), str(max(right[1] - right[0], 0))]
    assert images["both are right"] == [str(min(right))] * 2
    assert images["both are wrong alike"] == [str(200 - max(right))] * 2
    assert "result: the same" in command(sweep, "diff", first, first)
    assert "finished" in command(sweep, "diff", first, digest_of(lr=0.1, act="tanh"))


def test_a_hash_that_is_unknown_or_not_unique_is_named(sweep: Project):
    assert "no setting and no record" in command(sweep, "explain", "zz", status=1)
    assert "hashes begin so" in command(sweep, "explain", "", status=1)


def test_orphans_are_deleted_only_on_demand_and_only_where_nothing_needs_them(sweep: Project):
    other = {"name": "other", "experiments": {"theirs": {"lr": 0.7}, "mine": {"lr": 0.8}}}
    sweep.configure(other, "other.yaml")
    theirs = load_sweep([sweep.folder / "other.yaml"])
    (sweep.results / "other" / "plan").mkdir(parents=True)
    write_json(sweep.results / "other" / "plan" / "abc.json", theirs.plan("results").to_json())
    for exp_name, lr in (("theirs", 0.7), ("gone", 0.7), ("gone", 0.8), ("gone", 0.9)):
        setting = check_setting({"lr": lr})
        digest = setting_hash(setting)
        write_json(sweep.results / record_name(exp_name, digest), fake_record(exp_name, digest, setting))
    before = sorted(sweep.results.glob("*.json"))
    orphans = {f"gone-{setting_hash(check_setting({'lr': lr}))}.json" for lr in (0.7, 0.9)}
    # gone-0.8 is what mine, which has no record yet, will copy

    text = command(sweep, "orphans")
    assert {Path(line).name for line in text.splitlines()[:-1]} == orphans
    assert sorted(sweep.results.glob("*.json")) == before
    assert "2 records, such as gone-" in command(sweep, "orphans", "--delete", status=1)  # nothing is known of them
    assert sorted(sweep.results.glob("*.json")) == before
    command(sweep, "orphans", "--delete", "--unknown")
    assert {path.name for path in before} - {path.name for path in sweep.results.glob("*.json")} == orphans
    assert command(sweep, "orphans").startswith("0 records")


# -- import --------------------------------------------------------------------------------------------------------


def test_import_takes_over_the_lectures_results(project: Project):
    old = project.folder / "old"
    old.mkdir()
    save(old, LECTURE)
    save(old, {**LECTURE, "use_xavier": False, "use_bn": False}, {**RESULT, "val_losses": [2.0, math.nan]}, 40)
    vgg = {"exp_name": "cnn", "model_code": "VGG11", "in_channels": 3, "use_bn": False, "optim": "SGD", "lr": 0.1}
    save(old, vgg)
    save(old, {**vgg, "use_bn": True})
    (old / "by_hand-abcdef.json").write_text(json.dumps({**RESULT, **LECTURE, "exp_name": "by_hand", "epoch": 2}))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in old.iterdir()}

    text = command(project, "import", "old")
    assert "5 of 5 files are records now" in text and 'dataset="cifar10"' in text
    assert text.count("not the sha1") == 1
    common = {
        **{"dataset": "cifar10", "n_layer": 5, "dropout": 0.2, "weight_decay": 1e-5, "optimizer": "rmsprop"},
        **{"lr": 0.0015, "batch_size": 256, "epochs": 2},
    }
    normalized = {"batch_norm": True, "batch_norm_position": "after", "init": "xavier_normal", "bias_init": 0.01}
    vgg11 = {"dataset": "cifar10", "model": "vgg11", "optimizer": "sgd", "lr": 0.1, "epochs": 2}
    cnn = [("cnn", vgg11), ("cnn", {**vgg11, "batch_norm": True, "batch_norm_position": "before"})]
    meant = [("exp1_lr", {**common, **normalized}), ("exp1_lr", common), ("by_hand", {**common, **normalized})]
    names = [record_name(exp_name, setting_hash(check_setting(values))) for exp_name, values in [*meant, *cnn]]
    assert sorted(path.name for path in project.results.glob("*.json")) == sorted(names)
    record = read_record(project.results / names[0])
    assert [epoch["val_acc"] for epoch in record["epochs"]] == [0.19, 0.395]
    assert record["final"]["test_acc"] == 0.3825 and record["final"]["best_epoch"] == 2
    assert record["provenance"]["imported"]["original"] == LECTURE
    assert record["provenance"]["imported"]["sha1_checked"] is True
    diverged = read_record(project.results / names[1])
    assert diverged["status"] == "diverged" and diverged["epochs"][1]["val_loss"] is None
    assert diverged["epochs"][1]["val_acc"] is None and diverged["final"]["test_acc"] is None  # the share of class 0
    assert diverged["final"]["best_val_acc"] == 0.19

    # Nothing is overwritten, the source is as it was, and a config that asks for the same setting has it.
    stamps = {path: path.stat().st_mtime_ns for path in project.results.glob("*.json")}
    assert command(project, "import", "old").count("is there already") == 5
    assert {path: path.stat().st_mtime_ns for path in project.results.glob("*.json")} == stamps
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in old.iterdir()} == before
    project.configure({"experiments": {"exp1_lr": {**common, **normalized}}})
    assert json.loads(command(project, "show", "--json"))[0]["states"] == {"finished": 1}
    table = summary_table([record], load_sweep([project.folder / "config.yaml"]).plan("results"))
    assert table["test_acc"].tolist() == [0.3825] and table["seconds_per_epoch"].isna().all()


@pytest.mark.parametrize(
    ("setting", "result", "words"),
    [
        ({"foo": 1}, {}, "foo: has no counterpart here"),
        ({"optim": "Lion"}, {}, 'optim: "Lion" cannot be mapped: optimizer: "lion" is not allowed'),
        ({"in_dim": 784}, {}, "in_dim: 784 does not fit cifar10, which has 3072"),
        ({"model_code": "VGG11"}, {}, "n_layer: 5 does not apply"),
        ({"weight_decay": 0.1}, {}, "weight_decay: 0.1 contradicts l2"),
        ({"epoch": 10}, {}, "epoch: 10 does not fit the 2 epochs"),
        ({}, {"val_accs": [1]}, "the lists must be equally long"),
        ({}, {"test_acc": 101}, "test_acc: 101 is not allowed"),
        ({}, {"train_losses": None}, "train_losses: null is not allowed"),
    ],
)
def test_import_names_what_cannot_be_mapped(tmp_path: Path, setting: dict, result: dict, words: str):
    name = save(tmp_path, {**LECTURE, **setting}, {**RESULT, **result})
    with pytest.raises(ConfigError) as error:
        convert(tmp_path / name, {})
    assert words in str(error.value)


def test_import_reports_each_file_and_takes_what_the_files_do_not_say(project: Project):
    old = project.folder / "old"
    old.mkdir()
    good = {**LECTURE, "in_dim": 784}
    save(old, good)
    bad = save(old, {**good, "foo": 1})
    (old / "notes.json").write_text("{}")
    (old / "torn-abcdef.json").write_text('{"lr": ')
    text = command(project, "import", "old", "--setting", "dataset=mnist", "seed=123", status=1)
    assert f"{bad}: not imported: foo: has no counterpart" in text
    assert "notes.json: not imported: is not named" in text
    assert "torn-abcdef.json: not imported: is not JSON" in text
    (record,) = (read_record(path) for path in project.results.glob("*.json"))
    assert (record["setting"]["dataset"], record["setting"]["seed"]) == ("mnist", 123)
    assert set(record["provenance"]["imported"]["assumed"]) == {"train_size", "val_size", "split_seed"}
    assert "'lr' is not of the form key=value" in command(project, "import", "old", "--setting", "lr", status=1)
