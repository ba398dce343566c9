"""A folder of small labelled images and a way to call the command line in this process."""

import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.cli import main


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command line sets up logging for its process, which here is everybody's."""
    logger = logging.getLogger("transferkit")
    before = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def run(*args: object) -> Result:
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        captured = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Result(stop.value.code, captured.out, captured.err)

    return run


def jpeg(level: int, seed: int, size: int = 48) -> bytes:
    """A noisy image around a grey level."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size, size, 3))
    file = io.BytesIO()
    Image.fromarray(np.clip(noise + level, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve images of each of two classes."""
    root = tmp_path / "images"
    for name, level in (("dark", 50), ("light", 200)):
        (root / name).mkdir(parents=True)
        for i in range(12):
            (root / name / f"{i:02}.jpg").write_bytes(jpeg(level, seed=level + i))
    return root


@pytest.fixture
def damaged(images: Path) -> Path:
    """The same, with three files among them that can't be read."""
    good = (images / "dark" / "00.jpg").read_bytes()
    (images / "dark" / "05a.jpg").write_bytes(good[: len(good) // 2])
    (images / "light" / "03a.jpg").write_bytes(b"")
    (images / "light" / "07a.png").write_text("no picture")
    return images


BACKBONE = ("--backbone", "test_resnet", "--random", "--image-size", "48")
