"""The JSON Schema of a config and the table of hyper-parameters, derived from the lists in this package.

`python scripts/sweep.py schema` writes them; editors check a config against the schema while it is typed.
The pipeline itself checks in `sweep.py`, whose messages name the nearest valid name.
"""

from __future__ import annotations

from typing import Any

from dlsweep.config.axes import RANGES, SAMPLERS
from dlsweep.config.hyperparameters import HYPERPARAMETERS, Hyperparameter
from dlsweep.config.kinds import KINDS
from dlsweep.config.sweep import OUTDATED, SAFE_NAME

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
    if key == "model":
        options.append({"type": "string", "pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"})
    if hyper.type is bool:
        options.append({"type": "boolean"})
    if hyper.type is str and not hyper.choices:
        options.append({"type": "string", "minLength": 1, "maxLength": 300})
    if hyper.type is list:
        options.append({"type": "array", "items": {"type": "integer", "minimum": 1}})
    if hyper.type is dict:
        options.append({"type": "object"})
    if hyper.nullable:
        options.append({"type": "null"})
    unit = f" ({hyper.unit})" if hyper.unit else ""
    described = {"description": hyper.doc + unit, "default": hyper.default}
    return {**described, **options[0]} if len(options) == 1 else {**described, "anyOf": options}


def _shared_definitions(values: dict[str, Any]) -> dict[str, Any]:
    """What several keys of an experiment have in common."""

    def choice_of_one(names: tuple[str, ...], value: dict[str, Any]) -> dict[str, Any]:
        properties = dict.fromkeys(names, value)
        return {"type": "object", "minProperties": 1, "maxProperties": 1, **_closed(properties)}

    one_range = choice_of_one(RANGES, {"type": "array", "minItems": 2, "maxItems": 3})
    return {
        "axis": {"anyOf": [{"type": "array", "minItems": 1}, one_range]},
        "axes": {
            "type": "object",
            "minProperties": 1,
            **_closed({key: {"$ref": "#/definitions/_axis"} for key in values}),
        },
        "condition": {"type": "object", "minProperties": 1, **_closed({key: {} for key in values})},
        "space": choice_of_one(SAMPLERS, {"type": "array", "minItems": 1}),
    }


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"additionalProperties": False, "properties": properties}


def _list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


def _or_null(description: str, *schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of a construct, which null takes away."""
    return {"description": description, "anyOf": [*schemas, {"type": "null"}]}


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of config.yaml."""
    values = {key: {"$ref": f"#/definitions/{key}"} for key in HYPERPARAMETERS}
    shared = _shared_definitions(values)
    axis, axes, condition, space = ({"$ref": f"#/definitions/_{name}"} for name in shared)
    partial = {"type": "object", "additionalProperties": False, "properties": values}
    safe_name = {"type": "string", "pattern": f"^{SAFE_NAME.pattern}$"}
    column = {"type": "string"}
    figures = [
        {
            "type": "object",
            "required": ["kind"],
            **_closed({"kind": {"const": name}, "name": safe_name, **dict.fromkeys(kind.axes, column)}),
        }
        for name, kind in KINDS.items()
    ]
    figure = {"anyOf": [{"enum": list(KINDS)}, *figures]}
    rule = {"type": "object", "required": ["if", "set"], **_closed({"if": condition, "set": condition})}
    sample = {
        "n": {"type": "integer", "minimum": 1},
        "seed": {"type": "integer"},
        **dict.fromkeys([key for key in values if key != "seed"], space),
    }
    experiment = {
        "type": ["object", "null"],
        **_closed(
            {
                **values,
                "grid": _or_null("The cross product of lists of values.", axes),
                "zip": _or_null("Lists of values that advance together.", axes),
                "settings": _or_null("An explicit list.", _list_of(partial)),
                "sample": _or_null("Random search.", {"type": "object", **_closed(sample)}),
                "seeds": _or_null("How many seeds, or which.", {"type": "integer", "minimum": 1}, axis),
                "exclude": _or_null("Settings that match are dropped.", condition, _list_of(condition)),
                "when": _or_null("Values for settings that match.", rule, _list_of(rule)),
                "extends": _or_null("Another experiment, of which this one changes some keys.", {"type": "string"}),
                "figures": _or_null("Left out: they follow from what varies.", {"type": "array", "items": figure}),
            }
        ),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A sweep: config.yaml",
        "type": "object",
        "required": ["experiments"],
        "additionalProperties": False,
        "properties": {
            "name": safe_name,
            "parquet": {"type": "boolean", "default": False, "description": "Write the tables as Parquet too."},
            "jobs_per_gpu": {
                "type": "integer",
                "minimum": 1,
                "description": "Runs that share one GPU.",
            },
            "outdated": {
                "enum": list(OUTDATED),
                "default": "keep",
                "description": "Finished runs whose code or data have changed since: keep them, or make them again.",
            },
            "defaults": {"type": ["object", "null"], "additionalProperties": False, "properties": values},
            "experiments": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "patternProperties": {f"^{SAFE_NAME.pattern}$": experiment},
            },
        },
        "definitions": {
            **{key: value_schema(key, hyper) for key, hyper in HYPERPARAMETERS.items()},
            **{f"_{name}": schema for name, schema in shared.items()},
        },
    }
