"""Check the values in a model.json, because a stranger's file may hold anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from transferkit.artifacts.model import TASKS
from transferkit.extract.bags import REDUCTIONS
from transferkit.spec import PRECISIONS, STORAGE_DTYPES
from transferkit.tasks import dense

__all__ = ["fault_of"]

_LARGEST_LABELS = 1 << 28
"""Labels are short: an array type that would make them larger than this is a trap."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)  # of JSON: its keys are texts


def _are_texts_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def _are_sizes(value: object) -> bool:
    return isinstance(value, dict) and all(type(v) is int and v >= 0 for v in value.values())


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _are_labels(value: object) -> bool:
    kinds = (str, int, float)  # and bool, which is an int
    return isinstance(value, list) and bool(value) and all(isinstance(v, kinds) for v in value)


_Rule = tuple[Callable[[object], bool], str]

_NEEDED: dict[str, _Rule] = {
    "task": (lambda v: v in TASKS, f"one of {', '.join(TASKS)}"),
    "backbone": (_is_mapping, "a backbone's options by name"),
    "weights": (_is_text, "a text"),
    "features": (_are_texts, "a list of feature names"),
    "precision": (lambda v: v in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "storage": (lambda v: v in STORAGE_DTYPES, f"one of {', '.join(STORAGE_DTYPES)}"),
    "keys": (_are_texts_by_name, "a key per feature name"),
    "classes": (_are_labels, "a list of texts or numbers"),
    "classes_dtype": (_is_text, "a type's name"),
    "files": (_are_texts_by_name, "a digest per file's name"),
}
# Older models lack the first. The others are only shown to people, as in the card.
_OTHERS: dict[str, _Rule] = {
    "reduce": (lambda v: v in REDUCTIONS, f"one of {', '.join(REDUCTIONS)}"),
    "n_images": (lambda v: type(v) is int and v > 0, "a whole number above 0"),
    "n_bytes": (_are_sizes, "a size per file's name"),
    "architecture": (_is_text, "a text"),
    "weights_licence": (_is_text, "a text"),
    "head": (_is_mapping, "values by name"),
    "n_train": (lambda v: type(v) is int and v >= 0, "a whole number"),
    "versions": (_are_texts_by_name, "texts by name"),
    "facts": (_is_mapping, "values by name"),
}
_BACKBONE_NEEDED: dict[str, _Rule] = {
    "name": (lambda v: _is_text(v) and v != "", "a backbone's name"),
    "pretrained": (lambda v: isinstance(v, bool), "true or false"),
    "arguments": (_is_mapping, "values by name"),
    "preprocess": (_is_mapping, "values by name"),
}
_BACKBONE_OTHERS: dict[str, _Rule] = {
    "weights": (lambda v: _is_text(v) and v != "" and "\0" not in str(v), "a file's path"),
    "seed": (lambda v: type(v) is int and 0 <= v < 1 << 63, "a whole number"),
}
_FILES = ("train_ids.safetensors",)


def fault_of(content: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the values in a model.json, or None if nothing is.

    Parameters
    ----------
    content : mapping
        What the file holds.

    Examples
    --------
    >>> fault_of({"task": "classification", "backbone": 5})
    "its backbone is 5, not a backbone's options by name"
    """
    fault = _first_fault("", content, _NEEDED, _OTHERS) or _first_fault(
        "backbone's ", content["backbone"], _BACKBONE_NEEDED, _BACKBONE_OTHERS
    )
    if fault:
        return fault
    is_dense = content["task"] in dense.names()
    head = "head.safetensors" if is_dense else "head.skops"
    absent = [name for name in (head, *_FILES) if name not in content["files"]]
    if absent:
        return f"it lists no file {absent[0]!r}"
    if is_dense and not _is_mapping(content.get("head", {}).get("arguments")):
        return "its head has no arguments"
    return _labels_fault(content["classes"], content["classes_dtype"])


def _first_fault(
    whose: str, values: Mapping[str, Any], needed: dict[str, _Rule], others: dict[str, _Rule]
) -> str | None:
    missing = []
    for name, (fits, words) in (needed | others).items():
        if name not in values:
            if name in needed:
                missing.append(f"{whose}{name}")
        elif not fits(values[name]):
            return f"its {whose}{name} is {values[name]!r:.60}, not {words}"
    return f"it lacks {', '.join(missing)}" if missing else None


def _labels_fault(labels: list[Any], name: str) -> str | None:
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError, SyntaxError):
        return f"its classes_dtype is {name!r:.60}, not a type's name"
    is_plain = dtype.kind in "biufUO" and dtype.subdtype is None and dtype.names is None
    if not is_plain or dtype.itemsize * len(labels) > _LARGEST_LABELS:
        return f"its classes_dtype is {name!r:.60}, no type of labels"
    try:
        again = np.array(labels, dtype=dtype).tolist()
    except (TypeError, ValueError, OverflowError) as error:
        return f"its classes aren't of its classes_dtype {name!r} ({error})"
    if again != labels:
        return f"its classes aren't of its classes_dtype {name!r}"
    return None
