"""The JSON Schema of a config and the table of hyper-parameters, derived from the lists in this package.

`python scripts/sweep.py schema` writes them; editors check a config against the schema while it is typed.
The pipeline itself checks in `sweep.py`, whose messages name the nearest valid name.
"""

from __future__ import annotations

from typing import Any

from dlsweep.config.axes import RANGES, SAMPLERS
from dlsweep.config.hyperparameters import HYPERPARAMETERS, OWN_FORMS, OWN_NAME, Hyperparameter
from dlsweep.config.kinds import KINDS
from dlsweep.config.objectives import DIRECTIONS
from dlsweep.config.search import MAX_HOURS, METHODS
from dlsweep.config.sweep import MOST_CHARACTERS, OUTDATED, SAFE_NAME, SAVE
from dlsweep.config.tasks import FUNCTION_NAME, IMPORTED_NAME, TASK_KEYS

_NUMBER_TEXT = {"type": "string", "pattern": r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"}


def value_schema(key: str, hyper: Hyperparameter) -> dict[str, Any]:
    """Return the JSON Schema of one hyper-parameter's value."""
    options: list[dict[str, Any]] = []
    if hyper.type in (int, float):
        number: dict[str, Any] = {"type": "integer" if hyper.type is int else "number"}
        if hyper.low is not None:
            number["exclusiveMinimum" if hyper.open_low else "minimum"] = hyper.low
        if hyper.high is not None:
            number["maximum"] = hyper.high
        options += [number, _NUMBER_TEXT]
    if hyper.choices:
        options.append({"enum": list(hyper.choices)})
    if hyper.own and hyper.type is str:
        options.append({"type": "string", "pattern": f"^{OWN_FORMS.get(hyper.own, OWN_NAME)}$"})
    if hyper.type is bool:
        options.append({"type": "boolean"})
    if hyper.type is str and not (hyper.choices or hyper.own):
        options.append({"type": "string", "minLength": 1, "maxLength": 300})
    if hyper.type is list:
        items = {int: {"type": "integer", "minimum": 1}, str: {"type": "string", "pattern": f"^{OWN_NAME}$"}}
        options.append({"type": "array", "items": items[hyper.items]})
    if hyper.type is dict:
        options.append({"type": "object"})
    if hyper.nullable:
        options.append({"type": "null"})
    unit = f" ({hyper.unit})" if hyper.unit else ""
    described = {"description": hyper.doc + unit, "default": hyper.default}
    return {**described, **options[0]} if len(options) == 1 else {**described, "anyOf": options}


def _shared_definitions() -> dict[str, Any]:
    """What several keys of an experiment have in common."""

    def choice_of_one(names: tuple[str, ...], value: dict[str, Any]) -> dict[str, Any]:
        properties = dict.fromkeys(names, value)
        return {"type": "object", "minProperties": 1, "maxProperties": 1, **_closed(properties)}

    one_range = choice_of_one(RANGES, {"type": "array", "minItems": 2, "maxItems": 3})
    return {
        "axis": {"anyOf": [{"type": "array", "minItems": 1}, one_range]},
        "space": choice_of_one(SAMPLERS, {"type": "array", "minItems": 1}),
    }


def _closed(properties: dict[str, Any], inner: dict[str, Any] | None = None) -> dict[str, Any]:
    """A mapping with these keys only; `inner` is what keys inside of arguments, `model_args.width`, may be."""
    mappings = "|".join(key for key, hyper in HYPERPARAMETERS.items() if hyper.type is dict)
    dotted = {"patternProperties": {rf"^({mappings})(\.[^.]+)+$": inner}} if inner is not None else {}
    return {"additionalProperties": False, "properties": properties, **dotted}


def _list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


def _or_null(description: str, *schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of a construct, which null takes away."""
    return {"description": description, "anyOf": [*schemas, {"type": "null"}]}


def _task_words() -> dict[str, Any]:
    """What an experiment, or the defaults, says of the task itself."""
    metric = {"type": "string", "minLength": 1}
    one_metric = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": {"enum": list(DIRECTIONS)},
    }
    return {
        "train": _or_null("Your own training function.", {"type": "string", "pattern": FUNCTION_NAME}),
        "command": _or_null(
            "Your own program; {name} is a hyper-parameter.", {"type": "string", "pattern": r"\{metrics\}"}
        ),
        "imported": _or_null("What was trained elsewhere and imported.", {"type": "string", "pattern": IMPORTED_NAME}),
        "objective": _or_null("The metric that settings are selected by.", metric, one_metric),
        "report": _or_null("The metric that they are reported by.", metric),
    }


def _experiment(values: dict[str, Any] | None) -> dict[str, Any]:
    """An experiment: of the built-in task, with its hyper-parameters, or of an own one, whose no schema can know."""
    own = "" if values is not None else "own_"
    axes, condition = ({"$ref": f"#/definitions/_{own}{name}"} for name in ("axes", "condition"))
    axis = {"$ref": "#/definitions/_axis"}
    partial = {"type": "object", **(_closed(values, {}) if values is not None else {})}
    rule = {"type": "object", "required": ["if", "set"], **_closed({"if": condition, "set": condition})}
    sample = _of_each(values, {"$ref": "#/definitions/_space"}, "seed")
    sample["properties"] = {
        "n": {"type": "integer", "minimum": 1},
        "seed": {"type": "integer"},
        **sample.get("properties", {}),
    }
    how_many = {"type": "integer", "minimum": 1}
    search = {"type": "object", "required": ["method"], **_of_search(values)}
    constructs = {
        **_task_words(),
        "grid": _or_null("The cross product of lists of values.", axes),
        "zip": _or_null("Lists of values that advance together.", axes),
        "settings": _or_null("An explicit list.", _list_of(partial)),
        "sample": _or_null("Random search.", sample),
        "search": _or_null("Points that fill the space evenly, or that follow from earlier results.", search),
        "compare": _or_null(
            "What is compared, each tuned by itself: a hyper-parameter of grid, zip or settings, or several.",
            {"type": "string", "minLength": 1},
            _list_of({"type": "string", "minLength": 1}),
        ),
        "tune": _or_null("What is tuned: as a grid, a sample, or a search.", axes, sample, search),
        "tune_seeds": _or_null("How many seeds tune, or which; none of seeds.", how_many, axis),
        "seeds": _or_null("How many seeds, or which.", how_many, axis),
        "split_seeds": _or_null("How many random splits of the data, or which.", how_many, axis),
        "folds": _or_null("Folds of a cross-validation, each the test split once.", {"type": "integer", "minimum": 2}),
        "exclude": _or_null("Settings that match are dropped.", condition, _list_of(condition)),
        "when": _or_null("Values for settings that match.", rule, _list_of(rule)),
        "extends": _or_null("Another experiment, of which this one changes some keys.", {"type": "string"}),
        "figures": _or_null(
            "Left out: they follow from what varies.", {"type": "array", "items": {"$ref": "#/definitions/_figure"}}
        ),
        "question": _or_null("What it is to answer; shown with the answer.", _QUESTION),
    }
    if values is None:
        return {"type": ["object", "null"], "properties": constructs}
    return {"type": ["object", "null"], **_closed({**values, **constructs}, {})}


def _of_search(values: dict[str, Any] | None) -> dict[str, Any]:
    """The options of all methods, and hyper-parameters with their ranges."""
    space = {"$ref": "#/definitions/_space"}
    options: dict[str, Any] = {"method": {"enum": list(METHODS)}, "seed": {"anyOf": [{"type": "integer"}, space]}}
    options[MAX_HOURS] = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _NUMBER_TEXT]}
    for method in METHODS.values():
        for key, option in method.options.items():
            number = {"type": "integer", "minimum": option.low}
            options.setdefault(key, {"anyOf": [number, space]} if key in (values or {}) or values is None else number)
    if values is None:
        return {"properties": options, "additionalProperties": space}
    return _closed({**dict.fromkeys(values, space), **options}, space)


def _figure() -> dict[str, Any]:
    column = {"type": "string"}
    figures = [
        {
            "type": "object",
            "required": ["kind"],
            **_closed({"kind": {"const": name}, "name": _SAFE_NAME, **dict.fromkeys(kind.axes, column)}),
        }
        for name, kind in KINDS.items()
    ]
    return {"anyOf": [{"enum": list(KINDS)}, *figures]}


def _of_each(values: dict[str, Any] | None, schema: dict[str, Any], *others: str) -> dict[str, Any]:
    """A mapping of hyper-parameters, but for `others`, to what `schema` allows."""
    if values is None:
        return {"type": "object", "additionalProperties": schema}
    return {"type": "object", **_closed(dict.fromkeys([key for key in values if key not in others], schema), schema)}


_SAFE_NAME = {"type": "string", "pattern": f"^{SAFE_NAME.pattern}$"}
_QUESTION = {"type": "string", "pattern": r"\S", "maxLength": MOST_CHARACTERS}
_OWN = {"anyOf": [{"required": [key], "properties": {key: {"type": "string"}}} for key in TASK_KEYS]}
"""What has an own task."""


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of config.yaml."""
    values = {key: {"$ref": f"#/definitions/{key}"} for key in HYPERPARAMETERS}

    def experiments(schema: dict[str, Any]) -> dict[str, Any]:
        return {"patternProperties": {f"^{SAFE_NAME.pattern}$": schema}}

    built_in, own = {"$ref": "#/definitions/_experiment"}, {"$ref": "#/definitions/_own_experiment"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A sweep: config.yaml",
        "type": "object",
        "required": ["experiments"],
        "additionalProperties": False,
        "properties": {
            "name": _SAFE_NAME,
            "parquet": {"type": "boolean", "default": False, "description": "Write the tables as Parquet too."},
            "jobs_per_gpu": {
                "type": "integer",
                "minimum": 1,
                "description": "Runs that share one GPU.",
            },
            "gpus_per_run": {
                "type": "integer",
                "minimum": 1,
                "description": "GPUs that each run of a function or command of your own has.",
            },
            "outdated": {
                "enum": list(OUTDATED),
                "default": "keep",
                "description": "Finished runs whose code or data have changed since: keep them, or make them again.",
            },
            "save": {
                "enum": list(SAVE),
                "default": "best",
                "description": "Whose weights are kept: each experiment's best run's, all runs', or nobody's.",
            },
            "keep_state": {
                "type": "boolean",
                "default": False,
                "description": "Keep what a finished run needs to be continued for more epochs.",
            },
            "metrics": {
                "description": "What your own metrics are, by name or by the name of their family.",
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    **_closed(
                        {
                            "better": {"enum": list(DIRECTIONS)},
                            "range": {
                                "type": "array",
                                "items": {"type": ["number", "null"]},
                                "minItems": 2,
                                "maxItems": 2,
                            },
                            "unit": {"type": "string"},
                            "doc": {"type": "string"},
                        }
                    ),
                },
            },
            "defaults": {"type": ["object", "null"]},
            "experiments": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                **experiments({}),
            },
        },
        "if": {"required": ["defaults"], "properties": {"defaults": {"type": "object", **_OWN}}},
        "then": {"properties": {"defaults": {"properties": _task_words()}, "experiments": experiments(own)}},
        "else": {
            "properties": {
                "defaults": _closed({**values, **_task_words()}, {}),
                "experiments": experiments({"if": {"type": "object", **_OWN}, "then": own, "else": built_in}),
            }
        },
        "definitions": {
            **{key: value_schema(key, hyper) for key, hyper in HYPERPARAMETERS.items()},
            **{f"_{name}": schema for name, schema in _shared_definitions().items()},
            "_figure": _figure(),
            **{
                f"_{prefix}{name}": schema
                for prefix, known in (("", values), ("own_", None))
                for name, schema in {
                    "axes": {"minProperties": 1, **_of_each(known, {"$ref": "#/definitions/_axis"})},
                    "condition": {"minProperties": 1, **_of_each(known, {})},
                    "experiment": _experiment(known),
                }.items()
            },
        },
    }
