"""Data and clock of the benchmark of heads."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returned."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def views(image: Any) -> Iterator[Any]:
    """Seven views of a photo."""
    from PIL import Image, ImageOps

    def crop(share: float, right: float, down: float) -> Any:
        w, h = round(image.width * share), round(image.height * share)
        x, y = int((image.width - w) * right), int((image.height - h) * down)
        return image.crop((x, y, x + w, y + h))

    yield image
    yield ImageOps.mirror(image)
    yield crop(0.85, 0.5, 0.5)
    yield ImageOps.mirror(crop(0.9, 0, 0))
    yield crop(0.9, 1, 1)
    yield image.rotate(8, resample=Image.Resampling.BICUBIC)
    yield ImageOps.mirror(image.rotate(-8, resample=Image.Resampling.BICUBIC))


def sign_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features and labels of the parts train (75 %), val (10 %) and test (15 %)."""
    from PIL import Image

    from transferkit import FeatureExtractor

    data = Path(os.environ["TRANSFERKIT_DATA"])
    files = sorted((data / "images/sign-digits").glob("*/*"))
    images, labels, groups = [], [], []
    for i, file in enumerate(files):
        for view in views(Image.open(file).convert("RGB")):
            images.append(np.asarray(view))
            labels.append(int(file.parent.name))
            groups.append(i)
    with tempfile.TemporaryDirectory() as folder:
        store = os.environ.get("TRANSFERKIT_STORE", folder)
        backbone = f"local-dir:{data}/weights/mobilenetv2_100.coral_in1k"
        X = FeatureExtractor(backbone, store=store).transform(images)
    y, place = np.array(labels), np.random.default_rng(0).permutation(len(files))[groups]
    share = place / len(files)
    parts = {"train": share < 0.75, "val": (share >= 0.75) & (share < 0.85), "test": share >= 0.85}
    return {name: (np.asarray(X[mask]), y[mask]) for name, mask in parts.items()}


def synthetic(n: int, d: int, n_classes: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Non-negative features with a falling spectrum, as a network's pooled ones are."""
    rng = np.random.default_rng(0)
    total = n + max(1000, n // 5)
    y = rng.integers(n_classes, size=total)
    y[:n_classes] = np.arange(n_classes)
    mix = rng.normal(size=(d, d)).astype(np.float32) / 3 / np.sqrt(np.arange(1, d + 1))
    # Neighbouring centres lie a few standard deviations apart, whatever the dimension.
    centres = rng.normal(size=(n_classes, d)).astype(np.float32) * 3.5 / np.sqrt(d)
    X = rng.normal(size=(total, d)).astype(np.float32)
    for first in range(0, total, 8192):
        part = slice(first, first + 8192)
        X[part] = np.maximum((X[part] + centres[y[part]]) @ mix, 0)
    half = (n + total) // 2
    parts = {"train": slice(n), "val": slice(n, half), "test": slice(half, total)}
    return {name: (X[part], y[part]) for name, part in parts.items()}
