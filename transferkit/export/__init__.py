"""Export trained models for other programs. Each file of this folder is a format.

A format exposes ``SUFFIX`` (of its file's or folder's name), ``write``, which writes a `Saved`
model to a file or folder, and ``load``, which makes of that a function of pixels that runs in the
program that the format is meant for. Every export is compared with the model itself on real
images before it gets its name.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit import artifacts, registry
from transferkit.export._check import Check, check_pixels, compare
from transferkit.export._hub import check_target, upload
from transferkit.export._saved import Saved
from transferkit.folders import check_folder
from transferkit.tasks import dense

__all__ = [
    "Check",
    "Exported",
    "Saved",
    "check_pixels",
    "check_target",
    "export_model",
    "format_names",
    "upload",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """The result of `export_model`.

    Parameters
    ----------
    path : Path
        The file or folder.
    format : str
        Its format.
    n_bytes : int
        Its size.
    check : Check
        How far it is from the model.
    """

    path: Path
    format: str
    n_bytes: int
    check: Check


def format_names() -> list[str]:
    """Names of the formats.

    Examples
    --------
    >>> format_names()
    ['onnx', 'timm']
    """
    return registry.names(__name__)


def export_model(
    source: str | Path,
    output: str | Path | None = None,
    *,
    format: str = "onnx",
    check: str | Path | None = None,
    tolerance: float | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a saved model for another program, and check it in that program.

    Parameters
    ----------
    source : path
        A saved model.
    output : path, optional
        The file, or for timm the folder; by default beside the model, under its name.
    format : {"onnx", "timm"}, default="onnx"
        What is written: one ONNX file of backbone and head; or the folder that
        ``timm.create_model("local-dir:…")`` loads.
    check : path, optional
        Images to compare on, at most 200 of them; by default parts of the two photographs
        that come with scikit-learn.
    tolerance : float, optional
        Largest difference that is allowed: of probabilities, those of masks too, as they are, of
        scores and values relative to the largest, of boxes in px. By default 0.001; 0.05 for
        heads with jumps (trees, neighbours, votes), scikit-learn's own, and for features stored
        as float16. Of boxes and their masks, 0.01, or 0.1 for maps stored as float16.
    overwrite : bool, default=False
        Whether something that is there is replaced.

    Raises
    ------
    FileExistsError
        If something is there that may not be replaced.
    ImportError
        If a package that the format needs isn't installed.
    ValueError
        If the format can't hold this model.
    RuntimeError
        If what was written differs by more than the tolerance; it isn't kept.
    """
    start = time.perf_counter()
    form = registry.load(__name__, format, "export format")
    saved = Saved(artifacts.describe(source), artifacts.load(source))
    if saved.model.n_images > 1:
        raise ValueError(
            f"model {str(source)!r} puts the features of {saved.model.n_images} images side by "
            f"side, and an exported one takes single images; train it with reduce='mean' or 'max'"
        )
    if not saved.model.backbone.preprocess.is_rgb:
        raise ValueError(
            f"model {str(source)!r} takes images of stated channels or values, and an exported one "
            "takes 8-bit RGB; use it through transferkit (`predict`, load_estimator)"
        )
    name = Path(source) if Path(source).name else Path(source).absolute()  # of "." has none
    path = Path(f"{name}{form.SUFFIX}" if output is None else output)
    _check_place(path, form.SUFFIX, overwrite)
    is_dense = saved.model.task in dense.names()
    if is_dense and format != "onnx":
        raise ValueError(
            f"format {format!r} can't hold a model of {saved.model.task}; choose 'onnx'"
        )
    pixels = check_pixels(saved, check)  # what can't be read shows before the work
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        if is_dense:
            found = _write_dense(saved, made, pixels, tolerance)
        else:
            form.write(saved, made)
            found = compare(saved, pixels, lambda: form.load(saved, made), tolerance)
        if not found.passed:
            raise RuntimeError(
                f"what was written for {format} differs from the model by {found.difference:.2g} "
                f"({found.measured}; allowed {found.tolerance:.2g}) on {found.n} images and wasn't "
                f"kept; if that is near enough for you, allow it (tolerance, --tolerance)"
            )
        if path.is_dir():
            path.rename(Path(folder) / "before")  # goes with the temporary folder
        made.replace(path)
    files = [p for p in (path, *path.rglob("*")) if p.is_file()]
    logger.info("exported %s in %.1f s", str(path), time.perf_counter() - start)
    return Exported(path, format, sum(p.stat().st_size for p in files), found)


def _write_dense(saved: Saved, made: Path, pixels: np.ndarray, tolerance: float | None) -> Check:
    from transferkit.export import _dense, onnx

    _dense.write_dense(saved, made)
    return _dense.compare_dense(saved, pixels, onnx.load(saved, made), tolerance)


def _check_place(path: Path, suffix: str, overwrite: bool) -> None:
    check_folder(path.parent, f"{str(path)!r} can't be written")
    if not path.exists():
        return
    if path.is_dir() == suffix.startswith(".") or (path.is_dir() and not _is_ours(path)):
        raise FileExistsError(
            f"{str(path)!r} exists and is no earlier export of this format; choose another place "
            f"(output, --output)"
        )
    if not overwrite:
        raise FileExistsError(
            f"{str(path)!r} exists; choose another place (output, --output), or replace it "
            f"(overwrite=True, --force)"
        )


def _is_ours(folder: Path) -> bool:
    """Whether a folder is an earlier export for timm, which may be replaced."""
    try:
        return "transferkit" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
