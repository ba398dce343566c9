"""Save a model as a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save as serialized

from transferkit.artifacts.backbone import save_backbone
from transferkit.artifacts.description import write_description
from transferkit.artifacts.head import save_head
from transferkit.artifacts.model import Model
from transferkit.artifacts.replacing import put, restore, standing, sweep, temporary_folder
from transferkit.artifacts.tensors import ModuleHead, save_tensors
from transferkit.files import failed_write, sync_file, sync_folder
from transferkit.folders import check_folder

__all__ = ["check_writable", "save"]


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
    OSError
        If it can't be written; what was there before is kept.
    ValueError
        If the head can't be saved safely.
    """
    path = Path(path)
    place = _place(path)
    restore(place)
    check_writable(path, overwrite=overwrite)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep(place)
        folder = temporary_folder(place)
        try:
            folder.mkdir()
            _write(folder, model, include_weights)
            put(folder, place, overwrite=overwrite)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except FileExistsError:
        raise
    except OSError as error:
        raise failed_write(path, error, "model") from error
    return path


def _write(folder: Path, model: Model, include_weights: bool | None) -> None:
    """Write all files of a model, and flush them to the disk."""
    backbone = save_backbone(folder, model.backbone, include_weights)
    if isinstance(model.head, ModuleHead):
        save_tensors(folder / "head.safetensors", model.head)
    else:
        save_head(folder / "head.skops", model.head)
    (folder / "train_ids.safetensors").write_bytes(
        serialized({"ids": np.ascontiguousarray(model.train_ids)})
    )
    write_description(folder, model, backbone)
    for path in folder.rglob("*"):
        sync_folder(path) if path.is_dir() else sync_file(path)
    sync_folder(folder)


def check_writable(path: str | Path, *, overwrite: bool) -> None:
    """Raise early if a model can't be saved there, rather than after hours of work."""
    path = Path(path)
    place = standing(_place(path))
    if not place.exists():
        check_folder(place.parent, f"model {str(path)!r} can't be saved")
        return
    if not (place / "model.json").is_file():
        raise FileExistsError(f"{str(path)!r} exists and is no model; choose another place")
    if not overwrite:
        raise FileExistsError(
            f"{str(path)!r} holds a model already; choose another place, or replace it "
            f"(overwrite=True, --force)"
        )
    check_folder(place.parent, f"model {str(path)!r} can't be replaced")


def _place(path: Path) -> Path:
    """Folder that is written. If the path is a link, its target is replaced and not the link."""
    return path.resolve() if path.is_symlink() else path.absolute()
