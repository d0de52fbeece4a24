"""Keys inside of arguments: `model_args.width` is said and swept like any hyper-parameter."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import Project
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.config.labels import setting_labels
from dlsweep.config.sweep import Experiment, expand_config
from dlsweep.errors import ConfigError
from dlsweep.report.figures.data import varying_keys
from dlsweep.report.figures.drawing import load

NET = {"model": "nets:Wide"}


def expand(spec: dict[str, Any], defaults: dict[str, Any] | None = None, **others: Any) -> Experiment:
    config = {"defaults": {**NET, **(defaults or {})}, "experiments": {**others, "x": spec}}
    return expand_config(config).experiments["x"]


def arguments(spec: dict[str, Any], defaults: dict[str, Any] | None = None, **others: Any) -> list[dict[str, Any]]:
    return [setting["model_args"] for setting in expand(spec, defaults, **others).settings.values()]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"model_args.width": 16}, [{"width": 16}]),
        ({"grid": {"model_args.width": [16, 64]}}, [{"width": 16}, {"width": 64}]),
        ({"grid": {"model_args.width": {"range": [1, 3]}}}, [{"width": 1}, {"width": 2}, {"width": 3}]),
        ({"zip": {"model_args.a": [1, 2], "model_args.b": [3, 4]}}, [{"a": 1, "b": 3}, {"a": 2, "b": 4}]),
        ({"settings": [{"model_args.a": 1}, {"model_args": {"b": 2}}]}, [{"a": 1}, {"b": 2}]),
        ({"model_args": {"a": 0, "c": 9}, "grid": {"model_args.a": [1, 2]}}, [{"a": 1, "c": 9}, {"a": 2, "c": 9}]),
        ({"model_args.head.size": 3, "model_args.head.act": "relu"}, [{"head": {"size": 3, "act": "relu"}}]),
        ({"grid": {"model_args.sizes": [[1, 2], [3]]}}, [{"sizes": [1, 2]}, {"sizes": [3]}]),
        (
            {"grid": {"model_args.a": [1, 2, 3]}, "exclude": {"model_args.a": ">2"}},
            [{"a": 1}, {"a": 2}],
        ),
        (
            {"grid": {"model_args.a": [1, 2]}, "when": {"if": {"model_args.a": 2}, "set": {"model_args.b": 5}}},
            [{"a": 1}, {"a": 2, "b": 5}],
        ),
    ],
)
def test_they_are_said_wherever_a_hyperparameter_is(spec: dict[str, Any], found: list[dict[str, Any]]) -> None:
    assert arguments(spec) == found


def test_later_words_win_over_earlier_ones() -> None:
    assert arguments({"model_args.a": 2}, {"model_args": {"a": 1, "b": 1}}) == [{"a": 2, "b": 1}]
    assert arguments({"model_args": {"b": 2}}, {"model_args.a": 1}) == [{"b": 2}]
    assert arguments({"extends": "y", "model_args": {"b": 2}}, y={"grid": {"model_args.a": [1, 2]}}) == [{"b": 2}]
    assert arguments({"extends": "y", "model_args.a": 3}, y={"grid": {"model_args.a": [1, 2]}}) == [{"a": 3}]
    both = {"grid": {"model_args.a": [1, 2]}}
    assert arguments({"extends": "y", "grid": {"model_args": [{"b": 3}]}}, y=both) == [{"b": 3}]
    assert arguments({"extends": "y", "model_args.h": {"z": 1}}, y={"model_args.h.a": 2}) == [{"h": {"z": 1}}]
    assert arguments({"extends": "y", "grid": {"model_args.b": [3]}}, y=both) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]


def test_the_hash_is_that_of_the_whole_mapping() -> None:
    whole = check_setting({**NET, "model_args": {"width": 16, "depth": 2}})
    assert list(expand({"model_args.width": 16, "model_args.depth": 2}).settings) == [setting_hash(whole)]
    grid = expand({"grid": {"model_args": [{"width": 16}, {"width": 64}]}})
    assert list(grid.settings) == list(expand({"grid": {"model_args.width": [16, 64]}}).settings)


def test_drawn_values_stay_when_others_come() -> None:
    sample = {"n": 3, "model_args.width": {"log_int_uniform": [4, 4096]}}
    few = arguments({"sample": sample})
    more = arguments({"sample": {**sample, "n": 5, "lr": {"uniform": [0.1, 1]}}})
    search = {"method": "quasi_random", "n": 4, "model_args.width": {"log_int_uniform": [4, 4096]}}
    assert len({args["width"] for args in arguments({"search": search})}) == 4
    assert more[:3] == few and len({args["width"] for args in more}) > 1
    assert all(isinstance(args["width"], int) and 4 <= args["width"] <= 4096 for args in more)


def test_what_varies_has_their_names() -> None:
    experiment = expand({"model_args.depth": 2, "grid": {"model_args.width": [16, 64], "lr": [0.1, 0.2]}})
    assert experiment.varies == {"model_args.width": [16, 64], "lr": [0.1, 0.2]}
    labels = setting_labels(experiment.settings, experiment.varies)
    assert next(iter(labels.values())) == "model_args.width=16, lr=0.1"
    assert (experiment.figures[0].x, experiment.figures[0].hue) == ("model_args.width", "lr")
    some = expand({"settings": [{}, {"model_args.width": 5}]})
    assert some.varies == {"model_args.width": [None, 5]}
    assert list(setting_labels(some.settings, some.varies).values()) == ["baseline", "model_args.width=5"]
    null = expand({"settings": [{}, {"model_args.width": None}]})
    assert list(setting_labels(null.settings, null.varies).values()) == ["baseline", "model_args.width=none"]
    whole = expand({"grid": {"model_args": [{"width": 16}, {"width": 64}]}})
    assert whole.varies == {"model_args": [{"width": 16}, {"width": 64}]}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"modl_args.width": 3}, r"x\.modl_args\.width: unknown key; .* Did you mean 'model_args\.width'\?"),
        ({"grid": {"model.width": [3]}}, r"x\.grid\.model\.width: unknown .* Write 'model_args\.width' instead\."),
        ({"lr.x": 3}, r"x\.lr\.x: unknown key; .* lr is a number > 0 .*: no mapping"),
        ({"model_args.": 3}, r"x\.model_args\.: unknown key; .* Did you mean 'model_args'\?"),
        ({"sample": {"n": 2, "lr_milestones.a": {"choice": [3]}}}, r"x\.sample\.lr_milestones\.a: unknown hyper"),
        (
            {"model_args.a": 1, "grid": {"model_args": [{}]}},
            r"x\.grid: sets the whole of model_args, and experiments\.x\.mod",
        ),
        (
            {"grid": {"model_args": [{}], "model_args.a": [1]}},
            r"x\.grid: sets the whole of model_args, and .*\.grid sets",
        ),
        (
            {"model_args": {"a": 1}, "model_args.a.b": 2},
            r"x\.model_args\.a\.b: model_args\.a is 1, which holds no keys",
        ),
        ({"model_args.a": float("nan")}, r"x\.model_args\.a: NaN is not allowed; allowed: a number, text"),
        (
            {"grid": {"model_args.a": [1, 2]}, "figures": [{"kind": "line", "x": "model_args.b"}]},
            r"x\.figures\[0\]\.x: 'model_args\.b' is not a column that line can show .* Did you mean 'model_args\.a'\?",
        ),
    ],
)
def test_a_wrong_name_is_refused_in_one_line(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        expand(spec)
    assert "\n" not in str(error.value)


FUNCTION = "def train(run, *, args: dict = {'width': 8}, lr=0.1):\n    return {'val_loss': 1}\n"


def test_mappings_of_an_own_function_have_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    monkeypatch.chdir(tmp_path)
    spec = {"train": "mine:train", "objective": "val_loss", "settings": [{}, {"args.width": 4}, {"args.depth": 3}]}
    found = expand_config({"experiments": {"x": spec}}).experiments["x"]
    said = [setting["args"] for setting in found.settings.values()]
    assert said == [{"width": 8}, {"width": 4}, {"width": 8, "depth": 3}]
    assert list(setting_labels(found.settings, found.varies).values()) == ["baseline", "args.width=4", "args.depth=3"]


NETS = """from torch import nn


class Wide(nn.Sequential):
    def __init__(self, in_shape, n_classes, width=8):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, n_classes))
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A sweep over `model_args.width`, made through the front door."""
    project = Project(tmp_path_factory.mktemp("dotted"))
    (project.folder / "nets.py").write_text(NETS)
    figures = ["line", "parallel", {"kind": "scatter", "x": "model_args.width", "hue": "model_args.width"}]
    project.configure(
        {
            "defaults": {"epochs": 1, "train_size": 100, **NET},
            "experiments": {"x": {"grid": {"model_args.width": [2, 4, 8]}, "figures": figures}},
        }
    )
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def test_tables_figures_and_labels_of_a_sweep_have_their_names(swept: Project) -> None:
    summary = pd.read_csv(swept.results / "summary.csv")
    assert sorted(summary["model_args.width"]) == [2, 4, 8]
    assert sorted(summary["label"]) == ["model_args.width=2", "model_args.width=4", "model_args.width=8"]
    assert "model_args.width=4" in (swept.results / "leaderboard.md").read_text()
    assert '"name":"model_args.width","title":"model_args.width"' in (swept.results / "report.html").read_text()
    drawn = {path.stem for path in (swept.results / "figures").glob("*.png")}
    assert drawn == {"x-line", "x-parallel", "x-scatter"}
    assert varying_keys(load(swept.results)["x"]) == ["model_args.width"]  # and not its mapping, too


def test_explain_says_where_they_are_said(swept: Project) -> None:
    digest = next(iter(swept.records())).removesuffix(".json").partition("-")[2]
    explained = swept.run("python", "scripts/sweep.py", "explain", digest)
    assert "experiments.x.grid.model_args.width (config.yaml, line" in explained.stdout, explained.stderr


def test_an_argument_that_the_model_does_not_take_is_told_before_anything_starts(swept: Project) -> None:
    swept.configure({"defaults": NET, "experiments": {"x": {"grid": {"model_args.widht": [2, 4]}}}}, "wrong.yaml")
    shown = swept.run("python", "scripts/sweep.py", "show", "wrong.yaml")
    assert "model_args: nets:Wide (nets.py): takes no 'widht'" in shown.stderr + shown.stdout
    assert "Did you mean 'width'?" in shown.stderr + shown.stdout
