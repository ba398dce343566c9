"""Scenes made of photographs, with and without defects whose masks are known.

Things lie in the same place but for a shift of 3 px and a turn of 2°; textures are cut out
anywhere; light, contrast and noise vary. Defects are scratches, parts of the same image in the
wrong place, other colours, blur and foreign matter, 2 to 50 px wide in 256.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ALIGNED = {
    "coffee": ("coffee.png", (100, 0, 500, 400)),
    "coins": ("coins.png", (0, 0, 300, 300)),
    "camera": ("camera.png", (100, 40, 460, 400)),
    "rocket": ("rocket.jpg", (140, 0, 560, 420)),
    "clock": ("clock_motion.png", (50, 0, 350, 300)),
    "retina": ("retina.jpg", (0, 0, 1411, 1411)),
    "ihc": ("ihc.png", (0, 0, 512, 512)),
}
"""Photographs of things, and the square that is taken: left, top, right, bottom, px."""
TEXTURES = {"brick": "brick.png", "gravel": "gravel.png", "grass": "grass.png"}
FOREIGN = ("astronaut.png", "chelsea.png", "hubble_deep_field.jpg", "cell.png")
SIZE = 256


class Scenes(NamedTuple):
    """Images of good scenes to learn from, images to test, and masks of these."""

    train: list[np.ndarray]
    test: list[np.ndarray]
    masks: list[np.ndarray]


def scenes(folder: Path, name: str, n_train: int = 60, n_good: int = 25, n_bad: int = 50) -> Scenes:
    """Make the scenes of one photograph; the seed is that of its name."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    make = _thing if name in ALIGNED else _texture
    train = [make(folder, name, random) for _ in range(n_train)]
    good = [make(folder, name, random) for _ in range(n_good)]
    bad: list[tuple[np.ndarray, np.ndarray]] = []
    while len(bad) < n_bad:
        pixels, mask = _spoilt(folder, make(folder, name, random), random)
        if mask.sum() > 8:
            bad.append((pixels, mask))
    empty = [np.zeros((SIZE, SIZE), bool)] * n_good
    return Scenes(train, good + [pixels for pixels, _ in bad], empty + [mask for _, mask in bad])


def _photo(folder: Path, file: str) -> Image.Image:
    return Image.open(folder / file).convert("RGB")


def _thing(folder: Path, name: str, random: Any) -> np.ndarray:
    file, box = ALIGNED[name]
    image = _photo(folder, file).crop(box).resize((320, 320), Image.Resampling.BICUBIC)
    image = image.rotate(random.uniform(-2, 2), Image.Resampling.BICUBIC)
    dx, dy = random.uniform(-3, 3, 2)
    moved = (1, 0, 32 + dx, 0, 1, 32 + dy)
    image = image.transform((SIZE, SIZE), Image.Transform.AFFINE, moved, Image.Resampling.BICUBIC)
    return _lit(image, random)


def _texture(folder: Path, name: str, random: Any) -> np.ndarray:
    image = _photo(folder, TEXTURES[name])
    x, y = (int(random.integers(0, side - SIZE + 1)) for side in image.size)
    image = image.crop((x, y, x + SIZE, y + SIZE))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _lit(image, random)


def _lit(image: Image.Image, random: Any) -> np.ndarray:
    pixels = np.asarray(image, np.float32) * random.uniform(0.9, 1.1) + random.uniform(-8, 8)
    return (pixels + random.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8)


def _spoilt(folder: Path, pixels: np.ndarray, random: Any) -> tuple[np.ndarray, np.ndarray]:
    """Put one defect into an image; return its mask too."""
    image = Image.fromarray(pixels)
    kind = random.choice(["scratch", "misplaced", "colour", "blur", "foreign"])
    if kind == "scratch":
        mask = _line(random)
        other = Image.new("RGB", image.size, tuple(random.integers(0, 256, 3).tolist()))
    else:
        mask = _blob(random)
        other = _other(folder, kind, pixels, random)
    image.paste(other, (0, 0), mask.filter(ImageFilter.GaussianBlur(0.7)))
    return np.asarray(image), np.asarray(mask) > 0


def _other(folder: Path, kind: str, pixels: np.ndarray, random: Any) -> Image.Image:
    """What shows inside a defect."""
    if kind == "misplaced":
        rolled = np.roll(pixels, tuple(random.integers(40, 200, 2)), (0, 1))
        return Image.fromarray(rolled).rotate(random.uniform(10, 350))
    if kind == "colour":
        tinted = pixels * random.uniform(0.4, 1.6, 3) + random.uniform(-30, 30)
        return Image.fromarray(tinted.clip(0, 255).astype(np.uint8))
    if kind == "blur":
        return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(5))
    foreign = _photo(folder, str(random.choice(FOREIGN))).crop((40, 40, 240, 240))
    return foreign.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def _line(random: Any) -> Image.Image:
    at, angle = random.uniform(40, SIZE - 40, 2), random.uniform(0, 2 * np.pi)
    points = [tuple(at)]
    for _ in range(random.integers(3, 8)):
        angle += random.normal(0, 0.4)
        at = at + 8 * np.array([np.cos(angle), np.sin(angle)])
        points.append(tuple(at))
    return _drawn(lambda draw: draw.line(points, fill=255, width=int(random.integers(2, 5))))


def _blob(random: Any) -> Image.Image:
    height, width = random.uniform(8, 36) / 2, random.uniform(8, 50) / 2
    x, y = random.uniform(40, SIZE - 40, 2)
    turn = random.uniform(0, np.pi)
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radii = random.uniform(0.7, 1.1, 12)
    along, across = radii * width * np.cos(angles), radii * height * np.sin(angles)
    points: Sequence[Any] = list(
        zip(
            x + along * np.cos(turn) - across * np.sin(turn),
            y + along * np.sin(turn) + across * np.cos(turn),
            strict=True,
        )
    )
    return _drawn(lambda draw: draw.polygon(points, fill=255))


def _drawn(what: Any) -> Image.Image:
    mask = Image.new("L", (SIZE, SIZE), 0)
    what(ImageDraw.Draw(mask))
    return mask
