"""Input that means harm or nothing: it executes nothing, leaves results/ alone and starts no run."""

import copy
import itertools
import json
import shlex
import string
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conftest import ROOT, SMALL, Project
from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.config.jobs import prepare_arguments, train_arguments
from dlsweep.config.paths import data_name, record_name
from dlsweep.config.sweep import load_sweep
from dlsweep.config.tasks import SPECIAL_KEYS
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import is_torn
from dlsweep.results.records import read_record

HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned;",
    "' ; touch pwned ; '",
    '" && touch pwned && "',
    "| touch pwned",
    "a\ntouch pwned",
    "../../pwned",
    "/etc/passwd",
    "-rf",
    ".",
    "..",
    "{output}",
    "{{wildcards.exp}}",
    "%s%n",
    "\x00",
    "\u202epwned",
    "naïve-模型",
    "x" * 300,
    "",
]


# -- names and values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_no_safe_file_name_is_refused(name: str, tmp_path: Path):
    for config in ({"experiments": {name: {}}}, {"name": name, "experiments": {"a": {}}}):
        if "name" in config and not name:
            continue  # no name is given
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        with pytest.raises(ConfigError, match="name"):
            load_sweep([path])


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_is_refused_or_quoted(value: str):
    kinds = (value, [value], {value: value})
    for key, given_value in itertools.product(HYPERPARAMETERS.keys() - {"data_path", "target"}, kinds):
        try:
            own_part = {key.removesuffix("_args"): "own:Part"} if key.endswith("_args") else {}
            setting = check_setting({key: given_value, **own_part})
        except ConfigError as error:
            assert str(error).startswith(key)
            continue
        assert own_part  # only the arguments of an own part may hold anything
        option = f"--{key.replace('_', '-')}="
        words = shlex.split(train_arguments("a", setting_hash(setting), setting, "results/data/x.pt", "results"))
        assert json.loads(next(word for word in words if word.startswith(option)).removeprefix(option)) == setting[key]


@pytest.mark.parametrize("value", [value for value in HOSTILE if value.isprintable() and value])
def test_a_path_or_a_column_of_data_is_quoted_and_its_file_stays_in_results(value: str):
    for option, data in (
        (f"--data-path={value}", {"dataset": "npz", "data_path": value}),
        (f"--target={value}", {"dataset": "csv", "data_path": "a.csv", "target": value}),
    ):
        try:
            setting = check_setting(data)
        except ConfigError:
            continue
        assert set(data_name(setting)) <= set(string.ascii_letters + string.digits + "-_")
        assert option in shlex.split(prepare_arguments(setting))


def test_nothing_is_executed(project: Project):
    values = [value for value in HOSTILE if "pwned" in value]
    project.configure(
        {
            "defaults": {"dataset": "npz", "epochs": 1},
            "experiments": {
                "paths": {"grid": {"data_path": [value for value in values if value.isprintable()]}, "figures": []},
                "arguments": {
                    "dataset": "digits",
                    "model": "own:Net",
                    "settings": [{"model_args": {value: value}} for value in values],
                    "figures": [],
                },
            },
        }
    )
    before = {path for path in project.folder.parent.rglob("*") if ".snakemake" not in path.parts}
    done = project.snakemake(cores=4)
    assert done.returncode != 0 and not project.records()
    after = {path for path in project.folder.parent.rglob("*") if ".snakemake" not in path.parts}
    assert all(path.is_relative_to(project.results) for path in after - before)
    assert not [path for path in after if path.name == "pwned"]


def test_a_checkpoint_executes_nothing(tmp_path: Path):
    from dlsweep.tasks.checkpoint import Checkpoint
    from dlsweep.tasks.classification.data import load_splits, prepare
    from dlsweep.tasks.classification.training import Trainer

    class Harm:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "pwned",)

    setting = check_setting({"epochs": 1, "train_size": 100})
    prepare(setting, tmp_path / "digits.pt", tmp_path)
    checkpoint = tmp_path / f"{setting_hash(setting)}.pt"
    torch.save({"hash": Harm()}, checkpoint)
    trainer = Trainer(
        setting, load_splits(tmp_path / "digits.pt", setting), torch.device("cpu"), Checkpoint(checkpoint)
    )
    trainer.load_checkpoint()
    assert trainer.progress.resumed == 0
    assert checkpoint.with_suffix(".pt.bad").exists()
    assert not (tmp_path / "pwned").exists()


# -- records and checkpoints ---------------------------------------------------------------------------------------


def good_record() -> dict[str, Any]:
    setting = check_setting({"epochs": 2})
    epoch = {"train_loss": 1.0, "train_acc": 0.5, "val_loss": 1.0, "val_acc": 0.5, "lr": 0.1, "seconds": 1.0}
    return {
        "schema_version": 1,
        "exp_name": "a",
        "hash": setting_hash(setting),
        "setting": setting,
        "status": "finished",
        "epochs": [{"epoch": 1, **epoch}, {"epoch": 2, **epoch}],
        "final": {"test_loss": 1.0, "test_acc": 0.5, "best_epoch": 1, "best_val_loss": 1.0, "best_val_acc": 0.5},
        "model": {"n_parameters": 10},
        "timing": {"total_seconds": 1.0, "train_seconds": 1.0, "samples_per_second": 1.0, "resumed": 0},
        "provenance": {"command": "python"},
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    record = good_record()
    *keys, last = path.split(".")
    place: Any = record
    for key in keys:
        place = place[int(key)] if key.isdigit() else place[key]
    place[int(last) if last.isdigit() else last] = value
    return record


WHOLE = json.dumps(good_record())
DAMAGED = {
    "empty": ("", "is empty"),
    "truncated": (WHOLE[: len(WHOLE) // 2], "is not JSON"),
    "zeros, as after a power loss": ("\0" * 500, "is not JSON"),
    "no JSON": ("hello", "is not JSON"),
    "not an object": ("[1, 2]", "schema"),
    "NaN": (WHOLE.replace("1.0", "NaN", 1), "not strict JSON"),
    "deeply nested": ("[" * 100_000, "is not JSON"),
    "no epochs": (json.dumps({k: v for k, v in good_record().items() if k != "epochs"}), "schema"),
    "another schema version": (json.dumps(changed("schema_version", 2)), "schema"),
    "another experiment": (json.dumps(changed("exp_name", "b")), "is named unlike"),
    "another hash": (json.dumps(changed("hash", "0" * 40)), "is named unlike"),
    "an edited setting": (json.dumps(changed("setting.lr", 0.5)), "has hash"),
    "a setting that is not allowed": (json.dumps(changed("setting.lr", -1)), "setting that is not allowed"),
    "an edited accuracy": (json.dumps(changed("final.test_acc", 1.5)), "schema"),
    "an epoch too few": (json.dumps(changed("epochs", good_record()["epochs"][:1])), "has 1 of 2 epochs"),
    "an epoch out of order": (json.dumps(changed("epochs.1.epoch", 3)), "do not count"),
    "a loss that is not finite": (json.dumps(changed("epochs.0.val_loss", None)), "not finite"),
    "not finished": (json.dumps(changed("status", "running")), "schema"),
    "not diverged": (json.dumps(changed("status", "diverged")), "every loss is finite"),
    "bytes that are no text": (b"\xff\xfe{}", "UTF-8"),
}


@pytest.mark.parametrize(("text", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_named_and_not_trusted(text: str | bytes, message: str, tmp_path: Path):
    record = good_record()
    path = tmp_path / record_name(record["exp_name"], record["hash"])
    path.write_text(WHOLE)
    assert read_record(path) == record and not is_torn(path)
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(data)
    with pytest.raises(RecordError, match=message) as caught:
        read_record(path)
    assert str(caught.value).startswith(str(path))
    assert path.read_bytes() == data


def test_damaged_records_through_the_front_door(project: Project):
    """They are told at once, left out of the tables, told by verify, and redone when that is asked for."""
    project.configure({**SMALL, "experiments": {"small": {**SMALL["experiments"]["small"], "figures": []}}})
    assert project.snakemake("small").returncode == 0
    outcomes = project.outcomes()
    torn, edited, *good = sorted(project.results.glob("small-*.json"))
    torn.write_bytes(torn.read_bytes()[:200])
    edited.write_text(edited.read_text().replace('"momentum": 0.0', '"momentum": 0.5'))
    dry = project.snakemake("-n")
    assert f"warning: results/{torn.name}: is torn" in dry.stderr
    done = project.snakemake()
    assert done.returncode == 0
    assert f"warning: results/{edited.name}: has hash" in done.stderr
    assert len((project.results / "summary.csv").read_text().splitlines()) == 1 + len(good)
    told = project.run("python", "scripts/sweep.py", "verify", "--config", "parquet=true")
    assert told.returncode == 1
    assert torn.name in told.stdout and edited.name in told.stdout and good[0].name not in told.stdout
    assert "4 records, 2 of them cannot be trusted" in told.stdout
    redo = next(line for line in told.stdout.splitlines() if line.startswith("redo them: "))
    assert project.run("sh", "-c", redo.removeprefix("redo them: ")).returncode == 0
    assert project.outcomes() == outcomes
    assert (project.results / "summary.parquet").exists()  # the command repeats the changes of the config, too
    assert project.run("python", "scripts/sweep.py", "verify").returncode == 0


@pytest.mark.parametrize(
    "damage", ["torn", "empty", "another torch", "another setting", "another form", "another model"]
)
def test_a_checkpoint_that_does_not_fit_is_set_aside(damage: str, tmp_path: Path):
    from dlsweep.tasks.checkpoint import Checkpoint, Interrupted
    from dlsweep.tasks.classification.data import load_splits, prepare
    from dlsweep.tasks.classification.training import Trainer

    setting = check_setting({"epochs": 1, "train_size": 100, "n_layer": 1, "hid_dim": 4})
    prepare(setting, tmp_path / "digits.pt", tmp_path)
    splits = load_splits(tmp_path / "digits.pt", setting)
    checkpoint = tmp_path / "checkpoint.pt"

    def trainer(stop: bool = False) -> Trainer:
        return Trainer(setting, splits, torch.device("cpu"), Checkpoint(checkpoint, lambda: stop))

    undisturbed = copy.deepcopy(trainer().run())
    with pytest.raises(Interrupted):
        trainer(stop=True).run()
    if damage == "torn":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    elif damage == "empty":
        checkpoint.write_bytes(b"")
    else:
        state = torch.load(checkpoint, weights_only=True)
        if damage == "another torch":
            state["torch"] = "1.0"
        elif damage == "another setting":
            state["hash"] = "0" * 40
        elif damage == "another form":
            del state["progress"]["resumed"]
        else:
            state["model"] = {name: torch.zeros(1) for name in state["model"]}
        torch.save(state, checkpoint)
    damaged = checkpoint.read_bytes()
    second = trainer()
    second.load_checkpoint()
    assert checkpoint.with_suffix(".pt.bad").read_bytes() == damaged and not checkpoint.exists()
    outcome = second.run()
    assert [e["val_loss"] for e in outcome["epochs"]] == [e["val_loss"] for e in undisturbed["epochs"]]
    assert outcome["final"] == undisturbed["final"]


# -- configs -------------------------------------------------------------------------------------------------------

_KEYS = st.sampled_from([*HYPERPARAMETERS, *SPECIAL_KEYS, "experiments", "defaults", "name", "n", "range", "if", "set"])
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([*HOSTILE, "adam", "mlp", ">0.1", "1e-3", "full", "digits", "own:Net", "all"]),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(_KEYS, st.text(max_size=5)), inner, max_size=4)
    ),
    max_leaves=12,
)
_CONFIGS = st.one_of(
    _VALUES,
    st.fixed_dictionaries(
        {
            "experiments": st.dictionaries(
                st.sampled_from(["a", "b", "../c"]), st.dictionaries(_KEYS, _VALUES, max_size=4)
            )
        },
        optional={"defaults": st.dictionaries(_KEYS, _SCALARS, max_size=3), "name": _SCALARS},
    ),
)


@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(_CONFIGS)
@example({"\n": None, "experiments": {"a": {}}})
@example({"experiments": {"a": {"grid": {"lr": {"range": [0, 1e308, 1e-308]}}}}})
@example({"experiments": {"a": {"seeds": 10**12}}})
@example({"experiments": {"a": {"sample": {"n": 10**9, "lr": {"uniform": [0, 1]}}}}})
def test_any_config_is_a_sweep_or_one_message(tmp_path: Path, config: Any):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    _load(path)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(st.sampled_from("ab:-{}[]'\"\n #&*!|>%@`,?0.1e\t"), max_size=60).map(str.encode),
    )
)
@example(b"a: &a [*a]")
@example(b"experiments: {a: {lr: !!python/object/apply:os.system ['touch pwned']}}")
@example(b"[" * 200_000)
@example(b"- " * 200_000)
@example(b"&a {<<: *a}")
@example(b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nexperiments: *c")
def test_any_text_is_a_sweep_or_one_message(tmp_path: Path, text: bytes):
    path = tmp_path / "config.yaml"
    path.write_bytes(text)
    _load(path)


def _load(path: Path) -> None:
    try:
        sweep = load_sweep([path])
    except ConfigError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        return
    for exp_name, digest, setting in sweep.records():
        assert setting_hash(check_setting(setting)) == digest
        assert Path(record_name(exp_name, digest)).name == record_name(exp_name, digest)
        assert len(record_name(exp_name, digest)) <= 255
        shlex.split(train_arguments(exp_name, digest, setting, "results/data/x.pt", "results"))


@pytest.mark.parametrize(
    "config",
    [
        "experiments: {a: {lr: !!python/object/apply:os.system ['touch pwned']}}",
        "experiments: {'$(touch pwned)': {}}",
        "experiments: {a: {figures: [{kind: '; touch pwned'}]}}",
    ],
)
def test_a_hostile_config_starts_nothing(project: Project, config: str):
    project.configure(config)
    done = project.snakemake()
    assert done.returncode != 0
    assert "Traceback" not in done.stderr and "config.yaml" in done.stderr
    assert not (project.folder / "pwned").exists() and not project.results.exists()


def test_no_checkpoint_or_data_is_loaded_with_pickle():
    for path in (ROOT / "scripts").rglob("*.py"):
        for line in path.read_text().splitlines():
            if "torch.load(" in line:
                assert "weights_only=True" in line, path
