"""Runs that others have trained, from tables and JSON files: records, and a config that makes tables and figures."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from conftest import Project
from dlsweep.commands.importing import import_from
from dlsweep.config.sweep import load_sweep
from dlsweep.errors import ConfigError
from dlsweep.results.import_columns import Said, sort_columns
from dlsweep.results.records import read_record

RUNS = """lr,width,seed,val_mae,test_mae
0.1,16,0,0.5,0.6
0.1,16,1,0.7,0.65
0.01,64,0,0.3,0.4
0.01,64,1,nan,
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def take_over(source: str, **options: Any) -> list[dict[str, Any]]:
    """Import, and return the records in the order of the config that was written."""
    standard: dict[str, Any] = {
        **{"experiment": None, "objective": "", "parameters": None, "run": None, "epoch": None, "setting": []},
        **{"metrics": [], "ignore": [], "rename": [], "percent": [], "output": Path("imported.yaml")},
    }
    options = {**standard, **options}
    assert import_from(Path(source), Path("results"), **options) == 0
    runs = load_sweep([options["output"]]).records()
    return [read_record(Path("results", f"{exp_name}-{digest}.json")) for exp_name, digest, _ in runs]


def values(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record["setting"].items() if name != "imported"}


def metrics(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in record["epochs"]]


def final(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record["final"].items() if name != "best_epoch"}


# -- tables --------------------------------------------------------------------------------------------------------


def test_a_row_is_a_run(here: Path, capsys: pytest.CaptureFixture[str]):
    Path("runs.csv").write_text(RUNS)
    records = take_over("runs.csv", experiment="mine", objective="val_mae")
    assert [values(record) for record in records] == [
        {"lr": lr, "width": width, "seed": seed} for lr, width in ((0.1, 16), (0.01, 64)) for seed in (0, 1)
    ]
    assert [final(record) for record in records][:2] == [
        {"val_mae": 0.5, "test_mae": 0.6},
        {"val_mae": 0.7, "test_mae": 0.65},
    ]
    assert [record["status"] for record in records] == ["finished"] * 3 + ["diverged"]
    assert final(records[3]) == {"val_mae": None}
    assert {record["task"]["name"] for record in records} == {"mine(lr, width, seed)"}
    assert records[2]["provenance"]["imported"]["place"] == "runs.csv, line 4"
    (experiment,) = load_sweep(["imported.yaml"]).experiments.values()
    assert (experiment.objective.metric, experiment.objective.better) == ("val_mae", "min")
    assert experiment.objective.report == "test_mae" and list(experiment.varies) == ["lr", "width", "seed"]
    said = capsys.readouterr().out
    assert "hyper-parameters  lr, width, seed" in said and "metrics           val_mae, test_mae" in said
    assert (
        "4 new records in results; imported.yaml names all" in said
        and "snakemake --cores 1 --configfile imported.yaml" in said
    )


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]):
    Path("runs.csv").write_text(RUNS)
    take_over("runs.csv")
    files = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    take_over("runs.csv")
    assert "0 new records in results, 4 were there already" in capsys.readouterr().out
    Path("runs.csv").write_text(RUNS.replace("0.5,0.6", "0.55,0.6"))
    take_over("runs.csv")
    assert "runs.csv, line 2: results/runs-" in (said := capsys.readouterr().out) and "with other numbers" in said
    Path("runs.csv").write_text(RUNS + "1,16,0,0.9,0.9\n")
    with pytest.raises(ConfigError, match=r"imported.yaml: already exists with other content; --output names"):
        take_over("runs.csv")
    Path("runs.csv").write_text(RUNS)
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == files


def test_a_row_for_each_epoch_as_weights_and_biases_exports_it(here: Path):
    lines = ["Name,State,config/lr,config/model.width,epoch,_step,train/loss,val/mae,test/mae,_runtime,Notes"]
    for name, lr in (("brisk-1", 0.1), ("calm-2", 0.01)):
        for epoch in range(3):  # a row for the training loss, and one for what is measured after the epoch
            lines.append(f"{name},finished,{lr},16,{epoch},{epoch * 50 + 49},{lr / (epoch + 1)},,,{epoch * 10},")
            test = 0.5 if epoch == 2 else ""
            lines.append(
                f"{name},finished,{lr},16,{epoch},{epoch * 50 + 50},,{1 / (epoch + 1)},{test},{epoch * 10 + 1},"
            )
    lines.append("dead-3,crashed,1,16,0,49,5,,,1,")
    Path("history.csv").write_text("\n".join(lines))
    first, second = take_over("history.csv", objective="val_mae")
    assert values(first) == {"lr": 0.1, "model_width": 16} and values(second)["lr"] == 0.01
    assert metrics(first) == [{"epoch": epoch, "train_loss": 0.1 / epoch, "val_mae": 1 / epoch} for epoch in (1, 2, 3)]
    assert final(first) == {"test_mae": 0.5} and first["timing"]["total_seconds"] == 21


HEADINGS = {
    "mlflow": (
        "run_id,experiment_id,status,artifact_uri,start_time,end_time,metrics.val_loss,metrics.epoch,params.lr,"
        "params.batch_size,tags.mlflow.user",
        {"params.lr": "lr", "params.batch_size": "batch_size"},
        {"metrics.val_loss": "val_loss"},
    ),
    "optuna": (
        ",number,value,datetime_start,datetime_complete,duration,params_lr,params_n_layer,user_attrs_n,state",
        {"params_lr": "lr", "params_n_layer": "n_layer"},
        {"value": "value"},
    ),
    "ray": (
        "val_acc,training_iteration,time_total_s,trial_id,pid,hostname,config/lr,config/optimizer/name,done",
        {"config/lr": "lr", "config/optimizer/name": "optimizer_name"},
        {"val_acc": "val_acc"},
    ),
    "weights and biases": (
        "Name,State,Notes,User,Tags,Created,Runtime,Sweep,lr,dropout,_step,_timestamp,valid_loss,Val Accuracy",
        {"lr": "lr", "dropout": "dropout"},
        {"valid_loss": "val_loss", "Val Accuracy": "val_accuracy"},
    ),
    "tensorboard": (
        "trial_id,lr,units,hparam/accuracy,Loss/val,Accuracy/test",
        {"lr": "lr", "units": "units"},
        {"hparam/accuracy": "accuracy", "Loss/val": "val_loss", "Accuracy/test": "test_accuracy"},
    ),
    "by hand": (
        "lr,train_size,val_fraction,precision,huber_delta,rmse,top5_acc,f1_macro",
        {name: name for name in ("lr", "train_size", "val_fraction", "huber_delta")},
        {name: name for name in ("precision", "rmse", "top5_acc", "f1_macro")},
    ),
}


@pytest.mark.parametrize("tool", HEADINGS)
def test_headings_of_other_tools_are_known(tool: str):
    headings, parameters, measured = HEADINGS[tool]
    columns = sort_columns(headings.split(","), lambda column: True, Said())
    assert (columns.parameters, columns.metrics) == (parameters, measured)


def test_cells_may_hold_mappings(here: Path):
    """As in the file that W&B's documentation writes: a column with the summary, one with the config."""
    summary, config = "{'val_mae': 0.5, '_step': 10}", "{'lr': 0.1, 'model': {'width': 16}, 'bias': None}"
    Path("project.csv").write_text(f',summary,config,name\n0,"{summary}","{config}",brisk-1\n')
    (record,) = take_over("project.csv")
    assert values(record) == {"lr": 0.1, "model_width": 16} and final(record) == {"val_mae": 0.5}


def test_what_the_user_says_of_columns_counts(here: Path):
    Path("runs.csv").write_text("lr;note;score;ndcg;val_acc;run name\n1;a;3;5;93,5\n".replace("93,5", "93.5;x"))
    (record,) = take_over(
        "runs.csv", experiment="a.b", objective="ndcg=max", parameters=["lr", "score"], metrics=["ndcg"],
        percent=["val_acc"], rename=[("score", "level")],
    )  # fmt: skip
    assert values(record) == {"lr": 1, "level": 3} and final(record) == {"ndcg": 5, "val_acc": 0.935}
    said = yaml.safe_load(Path("imported.yaml").read_text())["experiments"]["a.b"]
    assert said["objective"] == {"ndcg": "max"} and said["report"] == "ndcg"


def test_runs_without_a_seed_are_numbered(here: Path, capsys: pytest.CaptureFixture[str]):
    Path("runs.csv").write_text("lr,val_acc\n0.1,0.5\n0.2,0.6\n0.1,0.7\n")
    records = take_over("runs.csv")
    assert [values(record) for record in records] == [
        {"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 0}, {"lr": 0.1, "seed": 1},
    ]  # fmt: skip
    assert "3 runs have 2 settings, up to 2 runs each: no column is called seed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("", {}, "runs.csv: has no rows, not even a header"),
        ("lr,val_mae\n", {}, "runs.csv: has no rows"),
        ("lr,lr,val_mae\n1,2,3\n", {}, "runs.csv, line 1: the column lr appears twice"),
        ("lr,val_mae\n1,2\n\n1\n", {}, "runs.csv, line 4: has 1 cells, but the header has 2"),
        ('lr,val_mae\n"1\n",2\n2,oops\n', {}, 'runs.csv, line 4, val_mae: "oops" is not a number'),
        ("lr;val_mae\n1;0,5\n1;2\n", {}, '"0,5" is not a number; numbers need a decimal point'),
        ("lr,val_acc\n1,93.5\n", {}, "val_acc: 93.5 is not allowed for val_acc, which is from 0 to 1; --percent"),
        ("lr,val_acc\n1,0.5\n", {"objective": "val_mae"}, "--objective: val_mae is not among the metrics val_acc"),
        ("lr,val_acc,val_mae\n1,0.5,2\n", {}, "--objective: which metric settings are selected by is not clear"),
        ("lr,val_x\n1,0.5\n", {"objective": "val_x"}, "whether val_x is to be great or small is not known"),
        ("width,val_mae\n1,2\n", {"parameters": ["widht"]}, "there is no column 'widht'. Did you mean 'width'?"),
        ("lr,seed,val_mae\n1,0,2\n1,0,3\n", {}, "runs.csv, line 3: has the same hyper-parameters as runs.csv, line 2"),
        ("lr,state,val_mae\n1,odd,2\n", {}, 'line 2, state: "odd" is not known; known are finished'),
        ("lr,state,val_mae\n1,failed,2\n", {}, "has no finished run"),
        ("lr,epoch,val_mae\n1,1,2\n1,1.5,2\n", {}, "line 3, epoch: 1.5 is not a whole number from 0"),
        ("lr,epoch,val_mae\n1,1,2\n1,1,3\n", {}, "line 3, val_mae: runs.csv, line 2 is of the same run and epoch"),
        ("id,lr,epoch,val_mae\n1,1,1,2\n1,2,2,3\n", {}, "line 3, lr: differs from runs.csv, line 2, of the same run"),
        ("lr,width,config/width,val_mae\n1,1,1,2\n", {}, "config/width: has the name width here, as width has"),
        ("lr,threads,val_mae\n1,1,2\n", {}, "runs.csv, line 2, imported: threads is an option of every run"),
        ("lr,val_mae,test_mae\n1,2,3\n", {"metrics": ["lr"]}, "no hyper-parameter"),
        *(
            (f"lr,val_mae,{name}\n1,2,3\n", {"metrics": [name]}, f"{name}: is not allowed as the name of a metric")
            for name in ("learned", "epochs_run", "total_seconds", "tested_val_mae")
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said_and_nothing_written(
    here: Path, table: str, options: dict[str, Any], message: str
):
    Path("runs.csv").write_text(table)
    with pytest.raises(ConfigError) as error:
        take_over("runs.csv", **options)
    assert message in str(error.value)
    assert [path.name for path in here.iterdir()] == ["runs.csv"]


# -- JSON ----------------------------------------------------------------------------------------------------------

FLAT = {"lr": 0.1, "act": "no", "layers": [64, 64], "val_mae": 0.5, "test_mae": 0.6}
NESTED = {
    "config": {"lr": 0.1, "act": "no", "layers": [64, 64]},
    "metrics": {"test_mae": 0.6},
    "history": [{"epoch": 1, "val_mae": 0.7}, {"epoch": 2, "val_mae": 0.5}],
}
KERAS = {"args": NESTED["config"], "result": {"test_mae": 0.6}, "history": {"val_mae": [0.7, 0.5]}}
LECTURE_LIKE = {**NESTED["config"], "val_maes": [0.7, 0.5], "test_mae": 0.6}


@pytest.mark.parametrize("content", [FLAT, NESTED, KERAS, LECTURE_LIKE], ids=["flat", "nested", "keras", "lists"])
@pytest.mark.parametrize("form", ["folder", "list", "lines"])
def test_json_files_of_many_forms_say_the_same(here: Path, content: dict[str, Any], form: str):
    source = Path("old") if form == "folder" else Path("old.json" if form == "list" else "old.jsonl")
    if form == "folder":
        source.mkdir()
        (source / "a.json").write_text(json.dumps(content))
    else:
        source.write_text(json.dumps([content] if form == "list" else content))
    (record,) = take_over(str(source), experiment="mine")
    assert values(record) == {"lr": 0.1, "act": "no", "layers": [64, 64]}
    if content is FLAT:
        assert final(record) == {"val_mae": 0.5, "test_mae": 0.6} and record["epochs"] == []
    else:
        assert final(record) == {"test_mae": 0.6}
        assert metrics(record) == [{"epoch": 1, "val_mae": 0.7}, {"epoch": 2, "val_mae": 0.5}]


def test_values_are_in_the_config_as_they_are(here: Path):
    odd = {
        "a": "1e-3",
        "b": "null",
        "c": None,
        "d": [1, "x", None],
        "e": "ä: {b} # c",
        "f": True,
        "g": 1e-20,
        "h": "2024-01-01",
    }
    Path("runs.json").write_text(json.dumps([{**odd, "val_mae": 1}, {"c": 2, "val_mae": 2}]))
    first, second = take_over("runs.json")
    assert values(first) == odd and values(second) == {**dict.fromkeys(odd), "c": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "old/a.json, run 1: is not a mapping"),
        ("{", "old/a.json: is not JSON"),
        ('{"lr": 1, "history": {"val_mae": [1, 2], "val_mse": [1]}}', "must have lists of one length, not val_mae: 2"),
        ('{"lr": 1, "history": [{"val_mae": "x"}, {"val_mae": 1}]}', 'epoch 1, history/val_mae: "x" is not a number'),
        ('{"schema_version": 1}', "is a record of this project already"),
    ],
)
def test_what_is_wrong_with_a_json_file_is_said(here: Path, content: str, message: str):
    Path("old").mkdir()
    Path("old", "a.json").write_text(content)
    with pytest.raises(ConfigError) as error:
        take_over("old", experiment="mine")
    assert message in str(error.value) and not Path("results").exists()


# -- and then ------------------------------------------------------------------------------------------------------


def test_tables_figures_and_a_report_are_made_of_imported_runs(project: Project):
    (project.folder / "runs.csv").write_text(RUNS)
    command = ("python", "scripts/sweep.py", "import", "runs.csv", "--experiment", "mine", "--objective", "val_mae")
    done = project.run(*command, "--parameters", "lr", "width", "seed")
    assert done.returncode == 0, done.stderr
    records = {path: path.read_bytes() for path in project.results.glob("mine-*.json")}
    done = project.snakemake("--configfile", "imported.yaml", cores=1)
    assert done.returncode == 0, done.stdout + done.stderr
    board = pd.read_csv(project.results / "imported" / "leaderboard.csv")
    assert board["label"].tolist() == ["lr=0.1, width=16", "lr=0.01, width=64"]  # of which one run diverged
    assert board["val_mae"][0] == pytest.approx(0.6) and board["test_mae"][0] == pytest.approx(0.625)
    figures = project.results / "imported" / "figures"
    assert [path.name for path in figures.glob("*.png")] == ["mine-test_mae.png"]  # no curves without epochs
    explained = project.run("python", "scripts/sweep.py", "explain", next(iter(records)).name, "imported.yaml")
    assert "none: it was trained elsewhere and imported" in explained.stdout
    assert (project.results / "imported" / "report.html").exists()
    assert {path: path.read_bytes() for path in records} == records

    # What is not there cannot be trained, nor what is there made again; both are one message.
    lost = next(iter(records))
    kept = lost.rename(lost.with_suffix(".kept"))
    for arguments in (["-n"], []):
        missing = project.snakemake("--configfile", "imported.yaml", *arguments, cores=1)
        assert missing.returncode == 1 and "Traceback" not in missing.stderr
        assert (
            f"error: results/{lost.name}: is not there, and nothing can train it, since it was imported"
            in missing.stderr
        )
    kept.rename(lost)
    forced = project.snakemake("-F", "--configfile", "imported.yaml", cores=1)
    assert forced.returncode == 1 and "was imported, so nothing can make it again" in forced.stderr
    assert {path: path.read_bytes() for path in records} == records
