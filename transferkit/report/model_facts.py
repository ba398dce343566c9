"""What a page tells of a model, from the values in its model.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from transferkit.cards import input_of
from transferkit.report.page import DataTable
from transferkit.report.text import counted

__all__ = ["model_facts", "model_table"]


def model_facts(content: Mapping[str, Any]) -> dict[str, str]:
    """The most important facts: backbone, features, and the head with what it chose.

    Parameters
    ----------
    content : mapping
        From `transferkit.artifacts.describe`.
    """
    head = content["head"]
    module, _, kind = str(head["type"]).rpartition(".")
    name = module.rpartition(".")[2] if module.startswith("transferkit.heads.") else kind
    # Whether it stood on the edge or converged is for the table below.
    chosen = [
        f"{what} = {value:.4g}"
        for what, value in head.get("chosen", {}).items()
        if isinstance(value, int | float) and what in ("C", "alpha")
    ]
    return {
        "backbone": str(content["architecture"]).partition(":")[2] or "unknown",
        "features": ", ".join(content["features"]),
        "head": ", ".join([name, *chosen]),
        "trained on": counted(content["n_train"], "image"),
    }


def model_table(content: Mapping[str, Any]) -> DataTable:
    """Everything else that the card tells, name by name.

    Parameters
    ----------
    content : mapping
        From `transferkit.artifacts.describe`.
    """
    preprocess, head = content["backbone"]["preprocess"], content["head"]
    given = {**head.get("parameters", {}), **head.get("arguments", {})}
    told = content.get("facts", {})
    rows: dict[str, Any] = {
        "task": content["task"],
        "backbone": content["architecture"],
        "arguments": content["backbone"]["arguments"],
        "weights": content["weights"],
        "licence of the weights": content.get("weights_licence", "unknown"),
        "input": input_of(preprocess),
        "features": ", ".join(content["features"]),
        "precision": f"{content['precision']}, features stored as {content['storage']}",
        "head": head["type"],
        **{f"head: {name}": value for name, value in given.items()},
        **{f"head chose: {name}": value for name, value in head.get("chosen", {}).items()},
        "training images": content["n_train"],
        **{f"data: {name}": value for name, value in told.get("data", {}).items()},
        **{f"recipe: {name}": value for name, value in told.get("recipe", {}).items()},
        "versions": ", ".join(f"{name} {v}" for name, v in content["versions"].items()),
    }
    texts = [(name, v if isinstance(v, str) else json.dumps(v)) for name, v in rows.items()]
    return DataTable(("what", "value"), texts)
