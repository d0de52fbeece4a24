"""Figures of searches: what they compute of the slots, and that each is drawn, also where little is there."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dlsweep.config.course import slot_file
from dlsweep.config.paths import record_name
from dlsweep.config.sweep import expand_config
from dlsweep.files import write_json
from dlsweep.report.figures import data, drawing
from dlsweep.report.figures.headings import heading_of
from dlsweep.report.figures.searches import contour_data, history_data, most_important, rungs_data, trials_of
from dlsweep.report.figures.tuning import tuning_data
from dlsweep.results.statistics import partial_dependence
from dlsweep.results.tables import write_tables
from dlsweep.runs.slots import pruned_record
from dlsweep.search.decide import decide
from fake import fake_record

SPACE = {
    "lr": {"log_uniform": [1e-3, 20]},
    "act": {"choice": ["relu", "tanh"]},
    "dropout": {"uniform": [0, 0.5]},
}
EXPERIMENTS = {
    "halve": {"search": {"method": "halving", "n": 12, "eta": 2, **SPACE}, "epochs": 4, "seeds": 2},
    "bands": {"search": {"method": "hyperband", "eta": 2, **SPACE}, "epochs": 4},
    "model": {"search": {"method": "tpe", "n": 8, "startup": 8, **SPACE}, "epochs": 2},
    "lost": {"search": {"method": "tpe", "n": 2, "lr": {"uniform": [1.1, 2]}}, "epochs": 2},
    "fair": {
        "compare": "act",
        "grid": {"act": ["relu", "tanh"]},
        "tune": {"lr": [0.01, 0.1, 2]},
        "seeds": 2,
        "epochs": 2,
    },
    "one": {"search": {"method": "tpe", "n": 1, **SPACE}, "epochs": 2},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, data.Tables]:
    """Searches whose runs are invented: each decision is real. Runs with a learning rate of 1 or more diverge."""
    folder: Path = tmp_path_factory.mktemp("searches")
    sweep = expand_config({"experiments": EXPERIMENTS})
    for name, experiment in sweep.experiments.items():
        course = experiment.course
        assert course
        for one in course.rounds:
            if one.after:
                decide(course, one.number, folder)
            for (number, slot), (digest, setting) in course.known_runs(folder).items():
                if number != one.number:
                    continue
                record = fake_record(name, digest, setting)
                status = record["status"]
                if status == "finished" and one.epochs:
                    status, record["epochs"] = "pruned", record["epochs"][: one.epochs]
                elif one.epochs == 1:  # it diverges within its rung
                    record["epochs"] = [{**record["epochs"][-1], "epoch": 1}]
                    record["timing"]["train_seconds"] = 0.1
                value = None if status == "diverged" else record["epochs"][-1]["val_acc"]
                content = {"hash": digest, "setting": setting, "status": status, "value": value}
                if status == "pruned":
                    content["record"] = pruned_record(record)
                else:
                    write_json(folder / record_name(name, digest), record)
                path = Path(slot_file(str(folder), course.name, number, slot))
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, content)
    plan = sweep.with_decided(folder).plan(str(folder))
    write_json(folder / "plan.json", plan.to_json())
    plan = type(plan).from_json(json.loads((folder / "plan.json").read_text()))
    write_tables(plan, folder)
    found = drawing.load(folder, plan)
    for name in found:
        drawn[name] = {
            spec.kind: drawing.draw_one(name, spec, found[name])[0]
            for spec in plan.experiments[name].figures
            if spec.kind in ("history", "rungs", "slices", "contour", "importance", "tuning")
            and not (name in ("lost", "one") and spec.kind != "history")
            and name != "lost"
        }
        drawing.plt.close("all")
    return found


drawn: dict[str, dict] = {}


def texts(figure: object) -> str:
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")  # type: ignore[attr-defined]


def test_the_table_has_each_slot_also_of_runs_that_were_stopped(tables: dict[str, data.Tables]):
    slots = tables["halve"].trials
    assert len(slots) == 2 * (12 + 6 + 3) and set(slots["status"]) >= {"pruned", "finished"}
    assert slots.groupby("hash")["seconds"].sum().to_dict() == pytest.approx(
        (slots.groupby("hash")["epochs"].max() * 0.1).to_dict()
    )
    assert set(json.loads(slots["point"].iat[0])) == {"lr", "act", "dropout"}
    assert tables["model"].trials["bracket"].isna().all()


def test_history_is_the_best_so_far_over_what_was_spent(tables: dict[str, data.Tables]):
    for name in ("halve", "bands", "model"):
        slots, found = tables[name].trials, history_data(trials_of(tables[name]))
        assert found["best"].dropna().is_monotonic_increasing
        assert found["best"].iat[-1] == found["value"].max()
        assert found["runs"].iat[-1] == slots["hash"].nunique()
        assert found["epochs"].iat[-1] == slots.groupby("hash")["epochs"].max().sum()
        assert found["seconds"].iat[-1] == pytest.approx(slots["seconds"].sum())
        assert f"Best val accuracy: {found['best'].iat[-1]:.3f}, found after" in texts(drawn[name]["history"])
    assert [ax.get_xlabel() for ax in drawn["model"]["history"].axes] == ["runs", "seconds of training, of all runs"]
    assert "found after 1 of 1 runs" in texts(drawn["one"]["history"])
    with pytest.raises(data.Undrawable, match="all diverged or failed"):
        drawing.drawing_of("history")(tables["lost"], None)


def test_rungs_end_where_a_setting_was_stopped(tables: dict[str, data.Tables]):
    rows = rungs_data(trials_of(tables["halve"]))
    stopped = rows[(rows["status"] == "pruned") & (rows["epochs"] == rows["reached"])]
    assert (rows["rung"] == 1).sum() == 12 and (rows["rung"] == 3).sum() == 3 and len(stopped) > 0
    first = rows[rows["rung"] == 1].sort_values("rank")
    assert first["value"].dropna().is_monotonic_decreasing and first["value"].isna().tolist() == sorted(
        first["value"].isna()
    )
    assert [ax.get_title() for ax in drawn["bands"]["rungs"].axes] == [f"bracket = {i}" for i in (1, 2, 3)]
    assert "12 settings began; stopped were" in texts(drawn["halve"]["rungs"])
    n_lost = int(trials_of(tables["halve"]).last["value"].isna().sum())
    assert n_lost and f"{n_lost} of 12 settings diverged" in texts(drawn["halve"]["rungs"])


def test_tuning_shows_what_each_was_tried_with_and_what_was_chosen(tables: dict[str, data.Tables]):
    found = tables["fair"]
    rows = tuning_data(found).rows
    assert list(rows["lr"]) == [0.01, 0.1, 2] * 2 and list(rows["arm"]) == ["relu"] * 3 + ["tanh"] * 3
    assert list(rows["value"].isna()) == [False, False, True] * 2
    best = rows.loc[rows.groupby("arm", observed=True)["value"].idxmax()]
    assert list(rows.index[rows["chosen"]]) == list(best.index)
    reported = found.summary.groupby("act")["lr"].unique()
    assert [list(reported[arm]) for arm in best["arm"]] == [[lr] for lr in best["lr"]]
    said = heading_of(found, drawing.FigureSpec("tuning"))
    assert said.question == "How much does lr matter to each act?" and "for relu" in said.finding
    (panel,) = drawn["fair"]["tuning"].axes
    assert "Ring: what is reported" in texts(drawn["fair"]["tuning"])
    rings = [line for line in panel.lines if line.get_fillstyle() == "none"]
    assert sorted(y for ring in rings for y in ring.get_ydata()) == sorted(best["value"])


def test_slices_show_each_setting_over_each_value(tables: dict[str, data.Tables]):
    for name in ("halve", "model"):
        rows = trials_of(tables[name]).last
        panels = [ax for ax in drawn[name]["slices"].axes if ax.get_xlabel() in SPACE]
        assert [ax.get_xlabel() for ax in panels] == list(SPACE)
        shown = panels[0].collections[0].get_offsets()
        known = rows[rows["value"].notna()]
        assert sorted(shown.compressed().reshape(-1, 2)[:, 1]) == pytest.approx(sorted(known["value"]))


def test_a_contour_is_of_the_two_that_matter_most_and_of_one_number_of_epochs(tables: dict[str, data.Tables]):
    spec = drawing.FigureSpec("contour")
    found = contour_data(tables["halve"], spec)
    assert [found.x, found.y] == list(most_important(tables["halve"])[:2])
    assert found.fitted.epochs == 1 and len(found.fitted.rows) == 12
    assert found.fitted.target.min() <= found.predicted.min() <= found.predicted.max() <= found.fitted.target.max()
    asked = contour_data(tables["model"], drawing.FigureSpec("contour", x="dropout", y="act"))
    assert asked.predicted.shape == (2, 40)
    assert "12 settings after epoch 1" in texts(drawn["halve"]["contour"])
    assert "val accuracy" in texts(drawn["halve"]["importance"])
    with pytest.raises(data.Undrawable):
        contour_data(tables["one"], spec)


def test_a_partial_dependence_averages_over_the_other_inputs():
    generator = np.random.default_rng(0)
    inputs = generator.random((400, 3))
    target = 3 * (inputs[:, 0] > 0.5) + 2 * (inputs[:, 1] > 0.5) + 10 * (inputs[:, 2] > 0.5)
    grids = [np.array([0.2, 0.8]), np.array([0.2, 0.8])]
    found = partial_dependence(inputs, target, (0, 1), grids)
    assert found - found[0, 0] == pytest.approx(np.array([[0, 3], [2, 5]]), abs=0.3)
    assert math.isclose(found[0, 0], 5, abs_tol=1.5)  # the mean over the third
