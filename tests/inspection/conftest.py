"""Images that are searched."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve noise images of two classes, two of them with the same bytes."""
    rng = np.random.default_rng(0)
    for i in range(12):
        path = tmp_path / "images" / ("light" if i % 2 else "dark") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 100, (32, 32, 3)) + 100 * (i % 2)
        Image.fromarray(noise.astype(np.uint8)).save(path)
    copied = tmp_path / "images" / "dark" / "00.png"
    (tmp_path / "images" / "light" / "copy.png").write_bytes(copied.read_bytes())
    return tmp_path / "images"
