"""Training images of the bundled backbone: 17 free photos, procedural images, strong crops.

The photos are the only natural images (Asano & Saeed, 2021); the procedural ones (Baradad et al.,
2021) widen the range of textures and shapes. Everything is drawn from NumPy generators, so a seed
gives the same images.

References
----------
Y. M. Asano, A. Saeed, "Extrapolating from a Single Image to a Thousand Classes using
Distillation", 2021. M. Baradad et al., "Learning to See by Looking at Noise", NeurIPS 2021.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from procedural import draw
from sklearn.datasets import load_sample_images
from torch.nn.functional import affine_grid, grid_sample, interpolate

__all__ = ["CropSource", "Photo", "augment", "load_photos", "mix"]

ATTRIBUTIONS = {
    "china.jpg": "danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035",
    "flower.jpg": "vultilion, https://www.flickr.com/photos/vultilion/6056698931",
}


@dataclass(frozen=True)
class Photo:
    """A training photo.

    Attributes
    ----------
    name : str
        File name.
    licence, attribution : str
        As the distributor states them.
    sha256 : str
        Of the file's bytes, or of the pixels where scikit-learn hands over pixels only.
    pixels : ndarray of shape (height, width, 3), uint8
        RGB.
    """

    name: str
    licence: str
    attribution: str
    sha256: str
    pixels: np.ndarray


def load_photos(data: Path) -> list[Photo]:
    """Photos of ``data/images/free`` and scikit-learn's two sample photos, sorted by name."""
    photos = []
    for path in sorted((data / "images" / "free").iterdir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        photos.append(
            Photo(path.name, "CC0 or public domain", "scikit-image/scikit-image", digest, pixels)
        )
    samples = load_sample_images()
    for file, pixels in zip(samples.filenames, samples.images, strict=True):
        name = Path(file).name
        digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
        photos.append(Photo(name, "CC BY 2.0", ATTRIBUTIONS[name], digest, pixels))
    return photos


def pyramid(pixels: np.ndarray) -> list[torch.Tensor]:
    """Halved again and again, ``(1, 3, H, W)`` float in [0, 1]: minified crops don't alias."""
    level = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255
    levels = [level]
    while min(level.shape[2:]) >= 96:
        level = interpolate(level, scale_factor=0.5, mode="bilinear", antialias=True)
        levels.append(level)
    return levels


class CropSource:
    """An endless source of crops from photos and from a slowly renewed procedural pool.

    Parameters
    ----------
    photos : list of Photo
    generator : numpy.random.Generator
    photo_share : float
        Share of crops taken from photos.
    size : int
        Side of a crop, px.
    pool_size : int
        Procedural images held at once.
    """

    def __init__(
        self,
        photos: list[Photo],
        generator: Generator,
        *,
        photo_share: float,
        size: int,
        pool_size: int = 128,
    ) -> None:
        self.generator = generator
        self.photo_share = photo_share
        self.size = size
        self.pixels = [photo.pixels for photo in photos]
        self.photos = [pyramid(photo.pixels) for photo in photos]
        # Crops in proportion to the square root of the area: big photos have more to show.
        weights = np.array([np.sqrt(p.shape[0] * p.shape[1]) for p in self.pixels])
        self.weights = weights / weights.sum()
        self.pool_size = pool_size if photo_share < 1 else 0
        self.pool: list[list[torch.Tensor]] = []

    def renew(self, n_images: int) -> None:
        """Draw ``n_images`` procedural images (all of them at first), dropping the oldest."""
        if not self.pool_size:
            return
        for _ in range(max(n_images, self.pool_size - len(self.pool))):
            self.pool.append(pyramid(draw(self.generator, self.pixels)))
        self.pool = self.pool[-self.pool_size :]

    def crops(self, n_crops: int) -> torch.Tensor:
        """Random crops, ``(n_crops, 3, size, size)`` float in [0, 1]."""
        self.renew(n_crops // 24)
        rows = []
        for _ in range(n_crops):
            if not self.pool or self.generator.random() < self.photo_share:
                source = self.photos[self.generator.choice(len(self.photos), p=self.weights)]
            else:
                source = self.pool[self.generator.integers(len(self.pool))]
            rows.append(self.crop(source))
        return torch.cat(rows)

    def crop(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """One rotated, stretched, mirrored crop, from a small part to the whole image."""
        rng = self.generator
        height, width = levels[0].shape[2:]
        largest = np.log(min(height, width))
        smallest = min(np.log(48), largest)
        # Log-uniform side with a bias to large crops, which hold whole objects.
        side = np.exp(smallest + (largest - smallest) * rng.random() ** 0.6)
        angle = rng.normal(0, 0.25) if rng.random() < 0.7 else rng.uniform(-np.pi, np.pi)
        stretch = np.exp(rng.uniform(-0.3, 0.3))
        half_w, half_h = side * stretch / 2, side / stretch / 2
        slack_x, slack_y = max(width / 2 - half_w, 0), max(height / 2 - half_h, 0)
        centre_x, centre_y = rng.uniform(-slack_x, slack_x), rng.uniform(-slack_y, slack_y)
        mirror = -1 if rng.random() < 0.5 else 1
        cos, sin = np.cos(angle), np.sin(angle)
        theta = [
            [mirror * cos * half_w * 2 / width, -sin * half_h * 2 / width, centre_x * 2 / width],
            [mirror * sin * half_w * 2 / height, cos * half_h * 2 / height, centre_y * 2 / height],
        ]
        shrink = np.log2(max(side / self.size, 1))
        level = levels[min(int(shrink + 0.3), len(levels) - 1)]
        grid = affine_grid(
            torch.tensor([theta], dtype=torch.float32),
            [1, 3, self.size, self.size],
            align_corners=False,
        )
        return grid_sample(level, grid, padding_mode="reflection", align_corners=False)


def augment(images: torch.Tensor, rng: Generator) -> torch.Tensor:
    """Jitter colour, contrast and sharpness; some grey, inverted, blurred or noisy."""
    n = len(images)

    def column(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32).reshape(n, 1, 1, 1)

    grey = images.mean(dim=1, keepdim=True)
    saturation = np.where(rng.random(n) < 0.15, 0, rng.uniform(0.4, 1.6, n))
    images = grey + (images - grey) * column(saturation)
    mixing = np.eye(3) + rng.normal(0, 0.12, (n, 3, 3)) * (rng.random((n, 1, 1)) < 0.6)
    mixing /= mixing.sum(axis=2, keepdims=True)
    images = torch.einsum("nij,njhw->nihw", torch.tensor(mixing, dtype=torch.float32), images)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * column(np.exp(rng.uniform(-0.5, 0.5, n)))
    images = images * column(np.exp(rng.uniform(-0.4, 0.4, n)))
    images = images.clamp(0, 1)
    inverted = column(rng.random(n) < 0.05)
    images = inverted + (1 - 2 * inverted) * images
    size = images.shape[2]
    for i in np.flatnonzero(rng.random(n) < 0.2):
        small = interpolate(
            images[i : i + 1],
            size=int(rng.integers(size // 8, size)),
            mode="bilinear",
            antialias=True,
        )
        images[i] = interpolate(small, size=size, mode="bicubic")[0]
    noisy = np.flatnonzero(rng.random(n) < 0.1)
    noise = torch.tensor(rng.standard_normal((len(noisy), *images.shape[1:]), dtype=np.float32))
    images[noisy] += noise * 0.06
    return images.clamp(0, 1)


def mix(images: torch.Tensor, rng: Generator, share: float) -> torch.Tensor:
    """CutMix or mixup on about ``share`` of the images; targets come from the mixed image."""
    partners = images[torch.tensor(rng.permutation(len(images)))]
    size = images.shape[2]
    result = images.clone()
    for i in np.flatnonzero(rng.random(len(images)) < share):
        if rng.random() < 0.6:
            height, width = (int(v) for v in rng.integers(size // 4, size * 3 // 4, 2))
            top = int(rng.integers(0, size - height))
            left = int(rng.integers(0, size - width))
            box = (slice(None), slice(top, top + height), slice(left, left + width))
            result[i][box] = partners[i][box]
        else:
            weight = float(rng.beta(1, 1))
            result[i] = weight * images[i] + (1 - weight) * partners[i]
    return result
