"""`sweep.py schema`: the files of the repository that are derived from the code."""

import json
from pathlib import Path

from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.registry import REGISTRIES
from dlsweep.config.schema import config_schema
from dlsweep.results.columns import DATA_TABLES, TABLES, describe
from dlsweep.results.schema import RECORD_SCHEMA


def hyperparameter_table() -> str:
    """Return docs/reference/hyperparameters.md."""
    lines = [
        "# Hyper-parameters",
        "",
        "Made by `python scripts/sweep.py schema` from `scripts/dlsweep/config/hyperparameters.py` and `registry.py`.",
        "A key that does not apply to what a setting chooses is neither swept nor hashed.",
        "",
        "| key | what it is | allowed | unit | default | applies to |",
        "|---|---|---|---|---|---|",
    ]
    for key, hyper in HYPERPARAMETERS.items():
        users = [name for registry in REGISTRIES.values() for name, entry in registry.items() if key in entry.uses]
        users += ["your own model"] if key == "model_args" else []
        users += [f"`{hyper.needs}` set"] if hyper.needs else []
        others = {
            name: entry.defaults[key]
            for registry in REGISTRIES.values()
            for name, entry in registry.items()
            if key in entry.defaults
        }
        standard = f"`{json.dumps(hyper.default)}`"
        standard += "".join(f"; {name} `{json.dumps(value)}`" for name, value in others.items())
        cells = [f"`{key}`", hyper.doc, hyper.allowed, hyper.unit, standard, ", ".join(users) or "all"]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


_INTRODUCTION = """\
# Tables

Made by `python scripts/sweep.py schema` from `scripts/dlsweep/results/columns.py`.
They are in `results/`, or in `results/<name>/` for another config file. `parquet: true` at the top of a config, or
`snakemake --cores 4 --config parquet=true`, writes each as Parquet too. A look at what is finished while a sweep runs:
`snakemake --cores 1 partial` (tables and figures in `results/partial/`).

```python
import pandas as pd

summary, epochs = pd.read_csv("results/summary.csv"), pd.read_csv("results/epochs.csv")
summary.groupby(["exp_name", "label"])["test_acc"].agg(["mean", "std", "size"])
epochs.merge(summary[["exp_name", "hash", "label"]])  # the curves, with the setting's label
```

What `pandas.read_csv` makes of them, without any option:

- An empty cell is missing (NaN): a hyper-parameter that is null (none, off) or does not apply to the setting, or a
  result that does not exist (the loss of a diverged epoch). The text `none` stays text.
- Integers are integers, and floats (4 is 4.0) where a value is missing; booleans are booleans, and objects where one is
  missing. Parquet keeps both types.
- A column of numbers that holds a word in one setting (`batch_size: full`) is text throughout: `"64"`, `"full"`.
- Lists and mappings (`lr_milestones`, `model_args`) are JSON text. A key inside of a mapping, swept by its dotted name,
  has a column of that name (`model_args.width`).
- Accuracies are fractions in [0, 1]; losses are cross-entropies in nats.
- An experiment whose name looks like something else (`NA`, `2024`) is read as that: give `dtype={"exp_name": str}` and
  `keep_default_na=False, na_values=[""]`, or name it otherwise.

`leaderboard.md` is `leaderboard.csv` for reading. Settings are **selected by validation** accuracy and **reported on
test**: the interval and the comparisons are of the test accuracy, which chose nothing. A diverged run counts when
settings are ranked: its validation accuracy is taken as 0. Its test accuracy is not made up, so a mean over fewer runs
than the setting has is shown with the number of those that diverged.

## Other metrics

What is best is an experiment's `objective`, and what it is reported by its `report`: `val_acc` and `test_acc` where the
config says nothing, `val_mae` and `test_mae` with `objective: val_mae`. The leaderboard then has the columns `val_mae`,
`val_mae_sd`, `test_mae`, `test_mae_sd`, `test_mae_low` and `test_mae_high`; in a sweep of several objectives a row has
those of its experiment. Where less is better, rank 1 has the least. A diverged run counts as the worst value of the
metric: 0 for an accuracy, infinity for an error, so that the mean is `inf`. `difference` is always the
setting's result minus that of rank 1, so a worse setting has a positive one where less is better.

The tables of a [task of your own](sweeps.md) have its hyper-parameters and the metrics that it logs in place of those
below; a metric is `<split>_<family>` (`val_mae`) or a name of its own. `columns.md` beside the tables describes them.

- `summary.csv` has what each run logged last. `final` wins over the epochs; what is not a number (a text, a list) is in
  the record only. A run that diverged has what its last epoch has.
- `tested_val_mae` is what the task returned at its end or else logged last: settings are selected by it.
- Known metrics have a direction and a range: accuracy, loss, error, MAE, MSE, RMSE, MAPE, Huber loss, NLL, perplexity,
  R², F1, precision, recall, AUROC, AUC, AP, IoU, Dice, BLEU, also as a part of a name (`val_top5_acc`, `val_f1_macro`).
  For others say it in the config, with a unit and a sentence for `columns.md`:
  `metrics: {ndcg: {better: max, range: [0, 1], doc: Of the first ten.}, mae: {unit: °C}}`.
- Values outside the range, such as an accuracy in percent, cause a warning, and the metric counts as unbounded.
- If no run has the metric that an objective names, a warning suggests the nearest name; tables are made all the same.

The tables of the built-in classification are these.
"""


def tables_page() -> str:
    """Return docs/reference/tables.md."""
    lines = [_INTRODUCTION.rstrip()]
    for name, (doc, columns) in {**TABLES, **DATA_TABLES}.items():
        lines += describe(name, doc, columns)
    return "\n".join(lines) + "\n"


def write_schemas() -> int:
    """Write the files that are derived from the lists in the code."""
    for path, text in derived_files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)
    return 0


def derived_files() -> dict[Path, str]:
    """Return the content of each file in the repository that is derived from the code."""
    return {
        Path("schemas/config.schema.json"): json.dumps(config_schema(), indent=2) + "\n",
        Path("schemas/record.schema.json"): json.dumps(RECORD_SCHEMA, indent=2) + "\n",
        Path("docs/reference/hyperparameters.md"): hyperparameter_table(),
        Path("docs/reference/tables.md"): tables_page(),
    }
