"""The file ``model.json``, with the digest of every other file, and the card made from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.artifacts.entries import fault_of
from transferkit.artifacts.model import Model
from transferkit.artifacts.replacing import standing
from transferkit.artifacts.tensors import ModuleHead
from transferkit.cards import head_facts, model_card, versions, weights_licence
from transferkit.digests import file_digest
from transferkit.files import open_regular
from transferkit.spec import canonical_json

__all__ = ["content_digest", "describe", "task_of", "write_description"]

FORMAT = "transferkit-model"
FORMAT_VERSION = 1

_LARGEST = 1 << 27  # bytes of a model.json, with a million labels


def write_description(folder: Path, model: Model, backbone: Mapping[str, Any]) -> None:
    """Write model.json and the card. All other files of the folder must be there.

    Parameters
    ----------
    folder : Path
        Where.
    model : Model
        What is described.
    backbone : mapping
        The options that resolve its backbone again, from `save_backbone`.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    content = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "task": model.task,
        "backbone": backbone,
        "architecture": f"{model.backbone.source}:{model.backbone.architecture}",
        "weights": model.backbone.weights,
        "weights_licence": weights_licence(model.backbone),
        "features": list(model.features),
        "precision": model.precision,
        "storage": model.storage,
        "reduce": model.reduce,
        "n_images": model.n_images,
        "keys": model.keys,
        "classes": model.classes.tolist(),
        "classes_dtype": "object" if model.classes.dtype == object else model.classes.dtype.str,
        "head": _head_facts(model.head),
        "n_train": len(model.train_ids),
        "files": {p.relative_to(folder).as_posix(): file_digest(p).hex() for p in files},
        "n_bytes": {p.relative_to(folder).as_posix(): p.stat().st_size for p in files},
        "versions": versions(),
        "facts": dict(model.facts),
    }
    content["digest"] = content_digest(content)
    text = json.dumps(content, indent=2, ensure_ascii=False)
    # A class's name that isn't UTF-8 is written as JSON escapes it, and read back as it was.
    (folder / "model.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    (folder / "README.md").write_text(model_card(content), encoding="utf-8")


def _head_facts(head: Any) -> dict[str, Any]:
    if isinstance(head, ModuleHead):
        return {"type": head.kind, "arguments": dict(head.arguments)}
    return head_facts(head)


def content_digest(content: Mapping[str, Any]) -> str:
    """Digest of the values in model.json, which doesn't depend on spaces in the file."""
    values = {name: value for name, value in content.items() if name != "digest"}
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def describe(path: str | Path) -> dict[str, Any]:
    """Read a saved model's model.json and check it for damage. No other file is read."""
    file = standing(Path(path)) / "model.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{str(path)!r} is no saved model: it has no model.json; give a folder that "
            f"`transferkit fit --out` wrote"
        )
    content = _read(file)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{str(file)!r} doesn't describe a transferkit model")
    if content.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"model {str(path)!r} has format version {content.get('version')!r}; this version "
            f"of transferkit reads {FORMAT_VERSION}: upgrade it, or train the model again"
        )
    # Without this check, one changed letter in a class's name would be believed.
    try:
        is_whole = content.get("digest") == content_digest(content)
    except (ValueError, RecursionError):  # NaN, which JSON doesn't know
        is_whole = False
    if not is_whole:
        raise ValueError(f"{str(file)!r} is damaged: it isn't what was saved; copy the model again")
    fault = fault_of(content)
    if fault:
        raise ValueError(f"{str(file)!r} is damaged: {fault}; copy the model again")
    return content


def _read(file: Path) -> Any:
    """Read a JSON file of plausible size."""
    try:
        with open_regular(file) as opened:
            text = opened.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST >> 20} MiB")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{str(file)!r} is damaged ({reason}); copy the model again") from error


def task_of(path: str | Path) -> str:
    """Task that a saved model was trained for."""
    return str(describe(path)["task"])
