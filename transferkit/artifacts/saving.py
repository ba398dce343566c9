"""A model's folder, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from transferkit.artifacts.backbone import save_backbone
from transferkit.artifacts.description import write_description
from transferkit.artifacts.head import save_head
from transferkit.artifacts.model import Model
from transferkit.digests import check_folder

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
    ValueError
        If the head can't be saved safely.
    """
    path = Path(path)
    check_writable(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        backbone = save_backbone(folder, model.backbone, include_weights)
        save_head(folder / "head.skops", model.head)
        save_file({"ids": np.ascontiguousarray(model.train_ids)}, folder / "train_ids.safetensors")
        write_description(folder, model, backbone)
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
