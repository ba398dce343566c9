"""A model's folder, read back; nothing is believed that its digests don't bear out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from sklearn.base import is_classifier, is_regressor

from transferkit.artifacts.backbone import load_backbone
from transferkit.artifacts.description import describe
from transferkit.artifacts.head import load_head
from transferkit.artifacts.model import Model
from transferkit.digests import file_digest

__all__ = ["load"]


def load(path: str | Path) -> Model:
    """Read a model's folder.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it isn't a model, is damaged or of a newer version, or its features would be
        other numbers now.
    """
    path = Path(path)
    content = describe(path)
    for name, digest in content["files"].items():
        file = path / name
        if ".." in Path(name).parts or Path(name).is_absolute() or not file.is_file():
            raise ValueError(f"model {str(path)!r} lacks its file {name!r}; copy the whole folder")
        if file_digest(file).hex() != digest:
            raise ValueError(
                f"model {str(path)!r} is damaged: {name!r} isn't what was saved; copy it again"
            )
    try:
        classes = np.array(content["classes"], dtype=np.dtype(content["classes_dtype"]))
        backbone = load_backbone(path, content["backbone"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"model {str(path)!r} can't be used: its model.json holds values that make no model "
            f"({type(error).__name__}: {error}); copy it again, or train it again"
        ) from error
    model = Model(
        task=content["task"],
        backbone=backbone,
        features=tuple(content["features"]),
        precision=content["precision"],
        storage=content["storage"],
        classes=classes,
        head=load_head(path / "head.skops"),
        train_ids=_load_ids(path / "train_ids.safetensors"),
        reduce=content.get("reduce", "mean"),
        n_images=content.get("n_images", 1),
        facts=content.get("facts", {}),
    )
    _check_agreement(path, model, content)
    return model


def _check_agreement(path: Path, model: Model, content: Mapping[str, Any]) -> None:
    """Raise a ValueError unless backbone, head and labels are those that were saved."""
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
    known = getattr(model.head, "classes_", None)
    is_other = is_classifier if model.task == "regression" else is_regressor
    fits = model.classes.ndim == 1 and not is_other(model.head)
    if model.task == "classification" and known is not None:
        fits = fits and len(known) == len(model.classes)
    if not fits:
        raise ValueError(
            f"model {str(path)!r} can't be used: its {type(model.head).__name__} and its labels "
            f"({model.classes.size}, for {model.task}) don't belong together; copy it again, or "
            f"train it again"
        )


def _load_ids(path: Path) -> np.ndarray:
    try:
        ids = load_file(path)["ids"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{str(path)!r} is damaged ({error}); copy the model again") from error
    assert isinstance(ids, np.ndarray)
    return ids
