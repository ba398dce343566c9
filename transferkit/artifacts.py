"""Trained models as folders: they load on another machine and can't run code.

::

    MODEL/
      model.json              what it is, the digest of every other file, and its own
      README.md               its card, written from model.json; yours to edit: no digest
      head.skops              the fitted head
      train_ids.safetensors   row ids of the images it was trained on
      backbone/               the backbone's weights, if they came from a local file

A skops file names the types that it builds; only scikit-learn's public ones, the heads
of this package and the list below are allowed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from sklearn.base import is_classifier, is_regressor

from transferkit.backbones import resolve_backbone
from transferkit.cards import head_facts, model_card, versions, weights_licence
from transferkit.digests import check_folder, file_digest
from transferkit.heads import head_names
from transferkit.pooling import parse_feature
from transferkit.spec import BackboneSpec, Preprocess, canonical_json

__all__ = ["TASKS", "Model", "check_writable", "describe", "load", "save", "task_of"]

TASKS = ("classification", "multilabel", "regression")

FORMAT = "transferkit-model"
FORMAT_VERSION = 1

# Private parts of public scikit-learn estimators: plain holders of numbers. skops trusts
# the public types by itself.
_TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
)
_OVERRIDES = ("image_size", "crop_pct", "crop_mode", "interpolation", "exif", "decode")


@dataclass(frozen=True, eq=False)
class Model:
    """All that a trained model is.

    Parameters
    ----------
    task : str
        One of `TASKS`.
    backbone : BackboneSpec
        What makes the features.
    features : tuple of str
        Feature names, in the order of the head's columns.
    precision, storage : str
        Numeric class and stored type of the features.
    classes : ndarray of shape (n_classes,)
        Labels; of a regression, names of the targets.
    head : estimator
        Fitted; its labels are positions in `classes`.
    train_ids : ndarray of uint8, shape (n_samples, 16)
        Row ids of the images that it was trained on.
    facts : mapping, default={}
        What else its card tells, as values that JSON takes: ``data`` and ``recipe`` (name to
        value), ``metrics`` (dictionaries of name, value, low, high and n).
    """

    task: str
    backbone: BackboneSpec
    features: tuple[str, ...]
    precision: str
    storage: str
    classes: np.ndarray
    head: Any
    train_ids: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, str]:
        """Key of each feature: if one changes, so did the numbers."""
        return {
            str(parse_feature(name)): self.backbone.feature_spec(
                str(parse_feature(name)), precision=self.precision, storage=self.storage
            ).key
            for name in self.features
        }


# ---- save ---------------------------------------------------------------------------


def save(
    path: str | Path, model: Model, *, overwrite: bool = False, include_weights: bool | None = None
) -> Path:
    """Write a model's folder, whole or not at all.

    Parameters
    ----------
    path : path
        The folder.
    model : Model
        What is saved.
    overwrite : bool, default=False
        Whether a model that is there is replaced.
    include_weights : bool, optional
        Whether the backbone's weights go along; by default they do if they came from a
        local file.

    Raises
    ------
    FileExistsError
        If something is there that may not be replaced.
    ValueError
        If the head can't be saved safely.
    """
    path = Path(path)
    check_writable(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        backbone = _save_backbone(folder, model.backbone, include_weights)
        _save_head(folder / "head.skops", model.head)
        save_file({"ids": np.ascontiguousarray(model.train_ids)}, folder / "train_ids.safetensors")
        _save_json(folder, model, backbone)
        _share(folder)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            path.rename(old / "old")
            try:
                folder.rename(path)
            except BaseException:
                (old / "old").rename(path)
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            folder.rename(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return path


def check_writable(path: str | Path, *, overwrite: bool) -> None:
    """Raise now rather than after hours of work if a model can't be saved there."""
    path = Path(path)
    if not path.exists():
        check_folder(path.parent, f"model {str(path)!r} can't be saved")
        return
    if not (path / "model.json").is_file():
        raise FileExistsError(f"{str(path)!r} exists and is no model; choose another place")
    if not overwrite:
        raise FileExistsError(
            f"{str(path)!r} holds a model already; choose another place, or replace it "
            f"(overwrite=True, --force)"
        )


def _share(folder: Path) -> None:
    """Give a folder and its files the usual rights: temporary ones are their owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _save_backbone(folder: Path, spec: BackboneSpec, include: bool | None) -> dict[str, Any]:
    """Copy local weights; the options that resolve the same backbone again."""
    options: dict[str, Any] = {
        "name": spec.name,
        "pretrained": not spec.is_random,
        "arguments": dict(spec.arguments),
        "preprocess": dataclasses.asdict(spec.preprocess),
    }
    if spec.is_random:
        return options | {"seed": int(spec.weights.removeprefix("random:"))}
    weights = Path(spec.weights_path)
    cfg = spec.loading.get("pretrained_cfg", {})
    if cfg.get("source") == "local-dir":
        origin = Path(str(cfg["file"])).absolute()
        if include is False:
            return options | {"name": f"local-dir:{origin}"}
        (folder / "backbone").mkdir()
        shutil.copyfile(weights, folder / "backbone" / weights.name)
        shutil.copyfile(origin / "config.json", folder / "backbone" / "config.json")
        return options | {"name": "local-dir:backbone"}
    is_local = bool(spec.loading.get("weights_given"))
    if include is False and is_local:
        return options | {"weights": str(weights)}
    if include or is_local:
        (folder / "backbone").mkdir()
        name = f"weights{weights.suffix}"
        shutil.copyfile(weights, folder / "backbone" / name)
        return options | {"weights": f"backbone/{name}"}
    return options


def _save_head(path: Path, head: Any) -> None:
    from skops.io import dump

    dump(head, path)
    unsafe = _untrusted(path)
    if unsafe:
        raise ValueError(
            f"head {type(head).__name__} can't be saved safely: its file would hold "
            f"{', '.join(unsafe)}, which is not among the types that loading allows; choose "
            f"another head, or keep its features (extract) and train it where it is needed"
        )


def _save_json(folder: Path, model: Model, backbone: Mapping[str, Any]) -> None:
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
        "keys": model.keys,
        "classes": model.classes.tolist(),
        "classes_dtype": "object" if model.classes.dtype == object else model.classes.dtype.str,
        "head": head_facts(model.head),
        "n_train": len(model.train_ids),
        "files": {p.relative_to(folder).as_posix(): file_digest(p).hex() for p in files},
        "versions": versions(),
        "facts": dict(model.facts),
    }
    content["digest"] = _digest(content)
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / "model.json").write_text(text + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(content), encoding="utf-8")


def _digest(content: Mapping[str, Any]) -> str:
    """Digest of the values in model.json, however they are spaced."""
    values = {name: value for name, value in content.items() if name != "digest"}
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


# ---- load ---------------------------------------------------------------------------


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
    content = _load_json(path)
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
        backbone = _load_backbone(path, content)
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
        head=_load_head(path / "head.skops"),
        train_ids=_load_ids(path / "train_ids.safetensors"),
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


def task_of(path: str | Path) -> str:
    """What a saved model was trained for: one of `TASKS`."""
    return str(_load_json(Path(path))["task"])


def describe(path: str | Path) -> dict[str, Any]:
    """What a saved model's model.json holds, checked for damage; nothing else is read."""
    return _load_json(Path(path))


def _load_json(path: Path) -> dict[str, Any]:
    file = path / "model.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{str(path)!r} is no saved model: it has no model.json; give a folder that "
            f"`transferkit fit --out` wrote"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(file)!r} is damaged ({error}); copy the model again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{str(file)!r} doesn't describe a transferkit model")
    if content.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"model {str(path)!r} has format version {content.get('version')!r}; this version "
            f"of transferkit reads {FORMAT_VERSION}: upgrade it, or train the model again"
        )
    # One changed letter in a class's name would otherwise be believed.
    if content.get("digest") != _digest(content):
        raise ValueError(f"{str(file)!r} is damaged: it isn't what was saved; copy the model again")
    if content.get("task") not in TASKS:
        raise ValueError(f"{str(file)!r} has the task {content.get('task')!r}; known: {TASKS}")
    kinds: dict[str, type] = {
        "backbone": dict, "weights": str, "features": list, "precision": str, "storage": str,
        "keys": dict, "classes": list, "classes_dtype": str, "files": dict,
    }  # fmt: skip
    missing = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
    if missing or not {"head.skops", "train_ids.safetensors"} <= set(content["files"]):
        raise ValueError(f"{str(file)!r} is damaged: it lacks {', '.join(missing) or 'files'}")
    return content


def _load_backbone(path: Path, content: Mapping[str, Any]) -> BackboneSpec:
    options = dict(content["backbone"])
    preprocess = Preprocess.from_dict(options["preprocess"])
    name = options["name"]
    if name == "local-dir:backbone":
        name = f"local-dir:{path / 'backbone'}"
    weights = options.get("weights")
    arguments = dict(options["arguments"])
    overrides = {key: getattr(preprocess, key) for key in _OVERRIDES}
    if "img_size" in arguments:  # one thing, said once: image_size sets it
        arguments.pop("img_size")
    return resolve_backbone(
        name,
        options["pretrained"],
        weights=None if weights is None else path / weights,
        seed=options.get("seed", 0),
        **overrides,
        **arguments,
    )


def _trusted() -> list[str]:
    ours = [f"transferkit.heads.{name.replace('-', '_')}" for name in head_names()]
    return [*_TRUSTED, *(f"{m}.{kind}" for m in ours for kind in ("Classifier", "Regressor"))]


def _untrusted(path: Path) -> list[str]:
    from skops.io import get_untrusted_types

    return sorted(set(get_untrusted_types(file=path)) - set(_trusted()))


def _load_head(path: Path) -> Any:
    from skops.io import load as load_skops

    try:
        unsafe = _untrusted(path)
        if unsafe:
            raise ValueError(
                f"{str(path)!r} holds types that are not allowed ({', '.join(unsafe)}) and was "
                f"not loaded; get the model from a source that you trust"
            )
        return load_skops(path, trusted=_trusted())
    except (zipfile.BadZipFile, KeyError, AttributeError, ImportError) as error:
        raise ValueError(
            f"{str(path)!r} can't be read ({error}); was it saved with another scikit-learn?"
        ) from error


def _load_ids(path: Path) -> np.ndarray:
    try:
        ids = load_file(path)["ids"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{str(path)!r} is damaged ({error}); copy the model again") from error
    assert isinstance(ids, np.ndarray)
    return ids
