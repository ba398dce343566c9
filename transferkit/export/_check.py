"""Compare an export with the model itself on the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.export._saved import Saved
from transferkit.export.heads import convert
from transferkit.forward import Forward
from transferkit.images import (
    Failure,
    ImageError,
    UnreadableImages,
    content_of,
    list_images,
    prepare,
    read_rgb,
)
from transferkit.store.encoding import stored_values

__all__ = ["Check", "Predictor", "check_pixels", "compare", "sample_images"]

TOLERANCE = 1e-3
# If a tiny difference crosses a tree's threshold, or lets another neighbour vote, the output moves
# by a whole step. Rounding to float16 makes such steps too.
TOLERANCE_WITH_JUMPS = 0.05
MOST_IMAGES = 200
BATCH = 8

Predictor = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Check:
    """The difference of an export from the model.

    Parameters
    ----------
    n : int
        Images that were compared.
    kind : {"probabilities", "scores", "values", "boxes", "masks", "oriented boxes"}
        What was compared.
    difference : float
        The largest: of probabilities, those of masks too, as it is, of boxes in px of the
        network's input, of others relative to the largest of them.
    tolerance : float
        What is allowed.
    n_same : int or None
        Images with the same label, labels or objects; None for a regression.
    """

    n: int
    kind: str
    difference: float
    tolerance: float
    n_same: int | None

    @property
    def measured(self) -> str:
        """What the difference is of, in words."""
        known = {
            "probabilities": "probabilities",
            "boxes": "edges of boxes, px",
            "masks": "edges of boxes, px, and probabilities of masks",
            "oriented boxes": "corners of boxes, px",
        }
        return known.get(self.kind, f"{self.kind}, relative")

    @property
    def same(self) -> str:
        """How many images are the same, in words; empty for a regression."""
        what = self.kind if self.kind in ("boxes", "masks", "oriented boxes") else "label"
        return "" if self.n_same is None else f"same {what} for {self.n_same} of {self.n}"

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance. NaN is not."""
        return self.difference <= self.tolerance


def compare(
    saved: Saved, pixels: np.ndarray, load: Callable[[], Predictor], tolerance: float | None
) -> Check:
    """Run both on the same images.

    Parameters
    ----------
    saved : Saved
        The model.
    pixels : ndarray of shape (n, H, W, 3)
        The images, from `check_pixels`.
    load : callable
        Makes what turns pixels into the export's outputs by name.
    tolerance : float, optional
        Largest difference; None for the default.
    """
    kind, expected, labels = _reference(saved, pixels)
    outputs = load()
    # Batches of two sizes, which reveal a batch size that was frozen into the export.
    parts = [outputs(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
    found = np.concatenate([part[kind] for part in parts])
    scale = 1.0 if kind == "probabilities" else max(float(np.abs(expected).max()), 1e-12)
    name = saved.label_output
    n_same = None
    if name:
        same = np.concatenate([part[name] for part in parts]) == labels
        n_same = int(same.reshape(len(same), -1).all(axis=1).sum())
    if tolerance is None:
        tolerance = TOLERANCE_WITH_JUMPS if _has_jumps(saved) else TOLERANCE
    difference = float(np.abs(found - expected).max()) / scale
    return Check(len(pixels), kind, difference, tolerance, n_same)


def _has_jumps(saved: Saved) -> bool:
    head = convert(saved.model.head, saved.task)
    # float16 may round to either side, and rounding to int8 isn't in the export.
    return head is None or head.has_jumps or saved.model.storage != "float32"


def _reference(saved: Saved, pixels: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    """The model's own outputs: their kind, the numbers, and the labels' positions."""
    model = saved.model
    forward = Forward(model.backbone, saved.features, device="cpu", precision=model.precision)
    parts = [forward.rows(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
    columns = [np.concatenate([part[str(name)] for part in parts]) for name in saved.features]
    X = np.concatenate([stored_values(one, model.storage) for one in columns], axis=1)
    labels = np.asarray(model.head.predict(X))
    if not saved.task.has_classes:
        return "values", labels.reshape(len(X), -1), labels
    if hasattr(model.head, "predict_proba"):
        return "probabilities", np.asarray(model.head.predict_proba(X)), labels
    scores = np.asarray(model.head.decision_function(X))
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    return "scores", scores, labels


def check_pixels(saved: Saved, folder: str | Path | None) -> np.ndarray:
    """Decode the images to compare on to the network's 8-bit input, ``(n, H, W, 3)``.

    Parameters
    ----------
    saved : Saved
        The model.
    folder : path, optional
        Where the images are, of which at most 200 are taken; None for parts of
        scikit-learn's photographs.

    Raises
    ------
    UnreadableImages
        If images can't be read; every one is named.
    """
    images = list_images(sample_images() if folder is None else folder)
    if len(images) > MOST_IMAGES:
        images = images.select(np.linspace(0, len(images) - 1, MOST_IMAGES).astype(int))
    preprocess = saved.model.backbone.preprocess
    views, failures = [], []
    for i, (item, name) in enumerate(zip(images.items, images.names, strict=True)):
        try:
            views.append(prepare(read_rgb(content_of(item), exif=preprocess.exif), preprocess))
        except ImageError as error:
            failures.append(Failure(i, name, str(error)))
        except OSError as error:
            failures.append(Failure(i, name, error.strerror or str(error)))
    if failures:
        raise UnreadableImages(failures, len(images))
    return np.stack(views)


def sample_images(n: int = 17) -> list[np.ndarray]:
    """Cut fixed parts out of the two photographs that come with scikit-learn."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    rng = np.random.default_rng(0)
    parts = []
    for i in range(n):
        photo = photos[i % len(photos)]
        size = rng.integers(96, min(photo.shape[:2]), 2)
        top, left = (rng.integers(0, photo.shape[axis] - size[axis] + 1) for axis in (0, 1))
        parts.append(photo[top : top + size[0], left : left + size[1]])
    return parts
