"""Read a model's folder. Nothing is believed that its digests don't confirm."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as deserialized
from sklearn.base import is_classifier, is_regressor

from transferkit.artifacts.backbone import load_backbone
from transferkit.artifacts.description import describe
from transferkit.artifacts.head import load_head
from transferkit.artifacts.model import Model
from transferkit.artifacts.replacing import standing
from transferkit.artifacts.tensors import ModuleHead, load_tensors
from transferkit.digests import ID_BYTES
from transferkit.files import open_regular
from transferkit.pooling import parse_feature
from transferkit.tasks import dense, task_of

__all__ = ["load"]

# A model that is replaced more often than this while it is read counts as an error.
_ATTEMPTS = 50
# Errors that building objects from a stranger's values may raise.
_WRONG_VALUES = (KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def load(path: str | Path) -> Model:
    """Read a model's folder. If it is replaced meanwhile, the result is the old or the new model.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it isn't a model, is damaged or of a newer version, or its features would be
        other numbers now.
    """
    path = Path(path)
    for _ in range(_ATTEMPTS):
        before = _state(path)
        try:
            return _load(path, standing(path))
        except (ValueError, OSError):
            if _state(path) == before:
                raise
    return _load(path, standing(path))


def _state(path: Path) -> tuple[int, ...] | None:
    """Values that differ if another model has taken the place of the one in a folder."""
    try:
        status = (path / "model.json").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _load(path: Path, folder: Path) -> Model:
    """Read the model `path` from the folder in which it stands now."""
    content = describe(folder)
    with contextlib.ExitStack() as stack:
        # Opened at once and read as opened: were the folder exchanged in between, what was
        # checked would still be what is used.
        files = {name: stack.enter_context(_opened(folder, name)) for name in content["files"]}
        for name, digest in content["files"].items():
            _check_file(path, name, files[name], digest, content.get("n_bytes", {}).get(name))
        try:
            backbone = load_backbone(folder, content["backbone"])
            for name in content["features"]:
                parse_feature(name)
        except (ValueError, *_WRONG_VALUES) as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise ValueError(
                f"model {str(path)!r} can't be used: its model.json holds values that make no "
                f"model ({kind}{error}); copy it again, or train it again"
            ) from error
        model = Model(
            task=content["task"],
            backbone=backbone,
            features=tuple(content["features"]),
            precision=content["precision"],
            storage=content["storage"],
            classes=np.array(content["classes"], dtype=np.dtype(content["classes_dtype"])),
            head=_load_head(files, content),
            train_ids=_load_ids(files["train_ids.safetensors"]),
            reduce=content.get("reduce", "mean"),
            n_images=content.get("n_images", 1),
            facts=content.get("facts", {}),
        )
    _check_agreement(path, model, content)
    return model


def _load_head(files: Mapping[str, BufferedReader], content: Mapping[str, Any]) -> Any:
    if content["task"] not in dense.names():
        return load_head(files["head.skops"])
    facts = content["head"]
    tensors = load_tensors(files["head.safetensors"])
    return ModuleHead(str(facts.get("type", "")), facts["arguments"], tensors)


def _opened(folder: Path, name: str) -> BufferedReader:
    """Open a file that model.json lists. It must stand inside the model's folder."""
    reason = "copy the whole folder"
    try:
        if ".." not in Path(name).parts and not Path(name).is_absolute():
            return open_regular(folder / name)
    except OSError as error:
        reason = f"{error.strerror}; copy the whole folder"
    except ValueError as error:  # a null character
        reason = f"{error}; copy the whole folder"
    raise ValueError(f"model {str(folder)!r} lacks its file {name!r}: {reason}")


def _check_file(
    path: Path, name: str, file: BufferedReader, digest: str, n_bytes: int | None
) -> None:
    """Raise a ValueError unless an open file has the size and the digest in model.json."""
    size = os.fstat(file.fileno()).st_size
    if n_bytes is not None and size != n_bytes:
        raise ValueError(
            f"model {str(path)!r} is damaged: {name!r} isn't what was saved: it has {size:,} "
            f"bytes, and had {n_bytes:,}; copy it again"
        )
    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
        raise ValueError(
            f"model {str(path)!r} is damaged: {name!r} isn't what was saved; copy it again"
        )
    file.seek(0)


def _check_agreement(path: Path, model: Model, content: Mapping[str, Any]) -> None:
    """Raise a ValueError unless the features are those of training and the head fits the labels."""
    if model.keys != content["keys"]:
        now, then = model.backbone.weights, str(content["weights"])
        what = "its preprocessing, arguments or features are others now"
        if now != then:
            what = f"its weights were {then[:19]}…, and are {now[:19]}… now"
        raise ValueError(
            f"model {str(path)!r} was trained on features that its backbone "
            f"{model.backbone.name!r} doesn't give any more: {what}; train it again, or restore "
            f"what it was trained with"
        )
    if isinstance(model.head, ModuleHead):  # whoever makes the head of it checks that they fit
        return
    known = getattr(model.head, "classes_", None)
    task = task_of(model.task)
    is_other = is_regressor if task.has_classes else is_classifier
    fits = model.classes.ndim == 1 and not is_other(model.head)
    if task.has_one_class and known is not None:
        fits = fits and len(known) == len(model.classes)
    if not fits:
        raise ValueError(
            f"model {str(path)!r} can't be used: its {type(model.head).__name__} and its labels "
            f"({model.classes.size}, for {model.task}) don't belong together; copy it again, or "
            f"train it again"
        )


def _load_ids(file: BufferedReader) -> np.ndarray:
    try:
        ids = deserialized(file.read())["ids"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{str(file.name)!r} is damaged ({error}); copy the model again"
        ) from error
    if ids.dtype != np.uint8 or ids.ndim != 2 or ids.shape[1] != ID_BYTES:
        raise ValueError(
            f"{str(file.name)!r} is damaged: its ids are {ids.dtype} of shape {ids.shape}; copy "
            f"the model again"
        )
    return np.array(ids)  # of its own memory: what was read is read-only
