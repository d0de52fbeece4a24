"""Which weights are kept, in whatever order runs end, and what becomes of a file of weights that cannot be trusted."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from dlsweep.config.jobs import keeps
from dlsweep.config.keep import Keep
from dlsweep.config.paths import card_file, weights_file
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import write_json
from dlsweep.results import tables
from dlsweep.results.columns import all_columns
from dlsweep.results.leaderboard import best_run
from dlsweep.results.records import read_record
from dlsweep.results.weights import Weights, best_hash, find_weights, keep_weights, read_weights, write_weights
from fake import fake_sweep

CONFIG = {
    "defaults": {"epochs": 2},
    "experiments": {
        "seeded": {"grid": {"lr": [0.001, 0.01, 0.03, 0.1, 2.0], "act": ["relu", "tanh"]}, "seeds": 3},
        "single": {"grid": {"lr": [0.0001, 0.003, 0.02, 0.03, 0.5, 5.0]}},
        "shares": {"grid": {"lr": [0.003, 0.5, 0.0001]}},
    },
}


def write(path: Path) -> bool:
    path.write_bytes(b"weights")
    return True


def there(results: Path, exp_name: str) -> set[str]:
    return {path.stem.rpartition("-")[2] for path in (results / "weights").glob(f"{exp_name}-*.safetensors")}


@pytest.mark.parametrize("seed", range(2))
def test_the_best_run_of_the_leaderboard_has_its_weights_in_whatever_order_runs_end(tmp_path: Path, seed: int):
    plan = fake_sweep(CONFIG, tmp_path)
    told = keeps("best", expand_config(CONFIG).experiments)
    runs = list(plan.records())
    random.Random(seed).shuffle(runs)
    records = [read_record(tmp_path / f"{exp_name}-{digest}.json") for exp_name, digest in runs]
    for run, record in zip(runs, records, strict=True):
        keep_weights(tmp_path, record, told[run], write)
    known_before = {exp_name: best_hash(tmp_path, exp_name) for exp_name in plan.experiments}
    most = {exp_name: len(there(tmp_path, exp_name)) for exp_name in plan.experiments}
    assert most["seeded"] < 25 and most["shares"] == 3

    (tmp_path / "weights" / "seeded-asked.safetensors").write_text("of somebody else")
    (tmp_path / "tables").mkdir()
    tables.write_tables(plan, tmp_path / "tables", partial=True)
    assert {exp_name: len(there(tmp_path, exp_name)) for exp_name in plan.experiments} == {
        **most,
        "seeded": most["seeded"] + 1,
    }
    tables.write_tables(plan, tmp_path / "tables")
    summary, known = tables.summary_table(records, plan), all_columns(plan)
    for exp_name, part in summary.groupby("exp_name"):
        best = best_run(part, known[exp_name])["hash"]
        assert there(tmp_path, exp_name) - {"asked"} == {best}
        assert best_hash(tmp_path, exp_name) == best == known_before[exp_name]
        assert find_weights(tmp_path, exp_name) == weights_file(tmp_path, exp_name, best)
    assert (tmp_path / "weights" / "seeded-asked.safetensors").exists()


def test_the_best_seed_of_a_setting_that_is_not_the_best_is_cleared(tmp_path: Path):
    config = {"defaults": {"epochs": 1}, "experiments": {"a": {"grid": {"lr": [0.1, 0.2]}, "seeds": 3}}}
    plan, told = fake_sweep(config, tmp_path), keeps("best", expand_config(config).experiments)
    for run, value in zip(plan.records(), (0.9, 0.8, 0.8, 0.95, 0.5, 0.5), strict=True):
        record = read_record(tmp_path / f"{run[0]}-{run[1]}.json")
        record["epochs"][-1]["val_acc"] = value
        write_json(tmp_path / f"{run[0]}-{run[1]}.json", record)
        keep_weights(tmp_path, record, told[run], write)
    first, lucky = (list(plan.records())[i][1] for i in (0, 3))
    assert there(tmp_path, "a") == {first, lucky}  # the second might have been the best while its seeds were to come
    (tmp_path / "tables").mkdir()
    tables.write_tables(plan, tmp_path / "tables")
    assert there(tmp_path, "a") == {first}


def test_weights_that_were_not_kept_as_the_best_stay_and_none_keeps_none(tmp_path: Path):
    plan = fake_sweep(CONFIG, tmp_path)
    experiments = expand_config(CONFIG).experiments
    records = {run: read_record(tmp_path / f"{run[0]}-{run[1]}.json") for run in plan.records()}
    for run, record in records.items():
        keep_weights(tmp_path, record, keeps("none", experiments)[run], write)
    assert not (tmp_path / "weights").exists()
    first, second, *others = [run for run in records if run[0] == "single"]
    keep_weights(tmp_path, records[first], keeps("all", experiments)[first], write)
    keep_weights(tmp_path, records[second], Keep(), write)  # by hand
    for run in others:
        keep_weights(tmp_path, records[run], keeps("best", experiments)[run], write)
    (tmp_path / "tables").mkdir()
    tables.write_tables(plan, tmp_path / "tables")
    best = best_hash(tmp_path, "single")
    assert there(tmp_path, "single") == {first[1], second[1], best}
    for text in ("bset", "best", "best:val_acc:max:x:1", "all:1"):
        with pytest.raises(ConfigError, match=r"--keep-weights: .* is not allowed; allowed: all, none, best:"):
            Keep.of_text(text)


def test_each_file_of_weights_has_a_card_that_does_not_outlive_it(tmp_path: Path):
    config = {"defaults": {"epochs": 1}, "experiments": {"a": {"grid": {"lr": [0.1, 0.2]}, "seeds": 3}}}
    plan, told = fake_sweep(config, tmp_path), keeps("all", expand_config(config).experiments)
    for run in plan.records():
        keep_weights(tmp_path, read_record(tmp_path / f"{run[0]}-{run[1]}.json"), told[run], write)
    (tmp_path / "tables").mkdir()
    tables.write_tables(plan, tmp_path / "tables")
    assert {path.stem for path in tmp_path.glob("weights/*.md")} == {"-".join(run) for run in plan.records()}
    (exp_name, digest), *others = plan.records()
    record = read_record(tmp_path / f"{exp_name}-{digest}.json")
    text = card_file(tmp_path, exp_name, digest).read_text()
    assert text.startswith("# a: lr=") and f"python scripts/sweep.py weights {digest[:12]}" in text
    assert f"| test_acc | {record['final']['test_acc']:.4g} |" in text and "Over the 3 runs of its setting" in text
    assert yaml.safe_load(text.split("```yaml")[1].split("```")[0]) == record["setting"]
    weights_file(tmp_path, exp_name, digest).unlink()
    tables.write_tables(plan, tmp_path / "tables")
    assert {path.stem for path in tmp_path.glob("weights/*.md")} == {"-".join(run) for run in others}


def test_a_journal_that_is_torn_or_gone_loses_no_weights(tmp_path: Path):
    plan = fake_sweep(CONFIG, tmp_path)
    told = keeps("best", expand_config(CONFIG).experiments)
    runs = [run for run in plan.records() if run[0] == "single"]
    journal = tmp_path / "weights" / ".single.jsonl"
    for run in runs:
        keep_weights(tmp_path, read_record(tmp_path / f"{run[0]}-{run[1]}.json"), told[run], write)
        with journal.open("ab") as file:
            file.write(b'\n{"hash": "ab')  # killed while it wrote
    best = best_hash(tmp_path, "single")
    assert best and best in there(tmp_path, "single")
    kept = there(tmp_path, "single")
    journal.unlink()
    with pytest.raises(ConfigError, match="single: which run is its best is not known; there are weights of "):
        find_weights(tmp_path, "single")
    (tmp_path / "tables").mkdir()
    tables.write_tables(plan, tmp_path / "tables")  # knows it
    assert there(tmp_path, "single") == kept and find_weights(tmp_path, "single").stem == f"single-{best}"


# -- their files ---------------------------------------------------------------------------------------------------

HASH = "0123456789" * 4
TENSORS = {
    "a.weight": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
    "a.bias": torch.ones(3, dtype=torch.bfloat16),
    "n": torch.tensor(3),
    "empty": torch.zeros(0, 2),
}


def test_a_file_of_weights_has_what_was_written(tmp_path: Path):
    path = tmp_path / f"small-{HASH}.safetensors"
    shared = torch.zeros(2, 2)
    tensors = {**TENSORS, "first": shared, "same": shared}  # tied weights
    write_weights(path, Weights(tensors, {"hash": HASH, "setting": {"lr": 0.1}, "classes": ["ä"]}))
    found = read_weights(path)
    assert found.about["setting"] == {"lr": 0.1} and found.about["classes"] == ["ä"]
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype and torch.equal(found.tensors[name], tensor)


def damaged(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "is empty":
        path.write_bytes(b"")
    elif how == "is torn":
        path.write_bytes(data[:-7])
    elif how == "has weights that were changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "or no file of weights":
        torch.save({"a": torch.zeros(1)}, path)
    elif how == "was not written by this pipeline":
        save_file({"a": torch.zeros(1)}, path)
    elif how == "has version 2":
        save_file({"a": torch.zeros(1)}, path, {"dlsweep": json.dumps({"version": 2, "setting": {}})})
    elif how == "is named unlike the run":
        path.rename(path.with_name(f"small-{HASH[::-1]}.safetensors"))


@pytest.mark.parametrize(
    "how",
    [
        "is empty",
        "is torn",
        "has weights that were changed",
        "or no file of weights",
        "was not written by this pipeline",
        "has version 2",
        "is named unlike the run",
    ],
)
def test_a_file_of_weights_that_cannot_be_trusted_is_named(tmp_path: Path, how: str):
    path = tmp_path / f"small-{HASH}.safetensors"
    write_weights(path, Weights(TENSORS, {"hash": HASH, "setting": {}}))
    damaged(path, how)
    (path,) = tmp_path.iterdir()
    with pytest.raises(RecordError, match=how) as error:
        read_weights(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_write_that_fails_leaves_the_old_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / f"small-{HASH}.safetensors"
    write_weights(path, Weights(TENSORS, {"hash": HASH, "setting": {}}))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot be written: No space left on device: .*small-0123"):
        write_weights(path, Weights({"a": torch.zeros(1)}, {"hash": HASH, "setting": {}}))
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]


def test_weights_are_found_by_what_names_them_or_it_is_said_how_to_get_them(tmp_path: Path):
    plan = fake_sweep(CONFIG, tmp_path)
    with pytest.raises(ConfigError, match="none are kept there"):
        find_weights(tmp_path, "single")
    (tmp_path / "weights").mkdir()
    run, other = [run for run in plan.records() if run[0] == "single"][:2]
    path = weights_file(tmp_path, *run)
    write(path)
    with pytest.raises(ConfigError, match=f"which run is its best is not known; there are weights of {run[1][:12]}"):
        find_weights(tmp_path, "single")
    for which in (run[1], run[1][:8], f"results/single-{run[1]}.json", str(path)):
        assert find_weights(tmp_path, which) == path
    with pytest.raises(ConfigError, match=f"were not kept; to make them: .*sweep.py weights {other[1][:12]}"):
        find_weights(tmp_path, other[1][:10])
    with pytest.raises(ConfigError, match=r"is no experiment .*; experiments with weights: single"):
        find_weights(tmp_path, "singel")
    shutil.copy(path, weights_file(tmp_path, "single", run[1][:-1] + ("0" if run[1][-1] != "0" else "1")))
    with pytest.raises(ConfigError, match="2 hashes begin so"):
        find_weights(tmp_path, run[1][:8])
