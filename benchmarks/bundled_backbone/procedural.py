"""Procedural images: dead leaves, spectral noise, fractals, strokes and gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["draw"]

SIZE = 256  # px, side of every procedural image


def draw(rng: Generator, photos: list[np.ndarray]) -> np.ndarray:
    """One procedural image of a random kind.

    Parameters
    ----------
    rng : numpy.random.Generator
    photos : list of ndarray of shape (height, width, 3), uint8
        Patches of these fill some shapes.

    Returns
    -------
    ndarray of shape (256, 256, 3), uint8
    """
    kinds: list[tuple[float, Callable[[], Image.Image]]] = [
        (0.35, lambda: dead_leaves(rng, photos)),
        (0.15, lambda: strokes(rng, photos)),
        (0.15, lambda: spectral_noise(rng)),
        (0.15, lambda: fractal(rng, photos)),
        (0.20, lambda: objects(rng, photos)),
    ]
    weights = [weight for weight, _ in kinds]
    image = kinds[rng.choice(len(kinds), p=weights)][1]()
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5)))
    return np.asarray(image)


def colour(rng: Generator) -> tuple[int, int, int]:
    """A random colour, half of the time near grey, as most of the world is."""
    base = rng.uniform(0, 255)
    spread = rng.choice([8, 90])
    red, green, blue = np.clip(base + rng.normal(0, spread, 3), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def spectral_noise(rng: Generator, size: int = SIZE) -> Image.Image:
    """Noise with amplitude 1/f^a, a direction, correlated colours, sometimes thresholded."""
    fy, fx = np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij")
    angle, squeeze = rng.uniform(0, np.pi), np.exp(rng.uniform(0, 1.5))
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = -fx * np.sin(angle) + fy * np.cos(angle)
    frequency = np.sqrt((along * squeeze) ** 2 + across**2) + 1 / size
    amplitude = frequency ** -rng.uniform(0.6, 2.2)
    if rng.random() < 0.3:  # a band: ripples, skin, weave
        centre = np.exp(rng.uniform(np.log(0.02), np.log(0.2)))
        amplitude = np.exp(-(((frequency - centre) / (0.3 * centre)) ** 2))
    phases = np.exp(2j * np.pi * rng.random((3, *frequency.shape)))
    planes = np.fft.irfft2(amplitude * phases, s=(size, size))
    planes /= planes.std(axis=(1, 2), keepdims=True) + 1e-9
    mixing = np.ones((3, 3)) * 0.6 + rng.normal(0, 0.5, (3, 3))
    image = np.einsum("ij,jhw->hwi", mixing, planes)
    if rng.random() < 0.2:
        image = np.tanh(image * rng.uniform(2, 8))
    image = np.array(colour(rng)) + image * rng.uniform(15, 60)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def gradient(rng: Generator, size: int = SIZE) -> Image.Image:
    """A linear gradient between two colours."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    share = np.clip(0.5 + x * np.cos(angle) + y * np.sin(angle), 0, 1)[..., None]
    image = share * np.array(colour(rng)) + (1 - share) * np.array(colour(rng))
    return Image.fromarray(image.astype(np.uint8))


def photo_patch(rng: Generator, photos: list[np.ndarray]) -> Image.Image:
    """A random square of a photo, resized."""
    photo = photos[rng.integers(len(photos))]
    side = int(rng.integers(64, min(photo.shape[:2])))
    top = int(rng.integers(0, photo.shape[0] - side + 1))
    left = int(rng.integers(0, photo.shape[1] - side + 1))
    patch = Image.fromarray(photo[top : top + side, left : left + side])
    return patch.resize((SIZE, SIZE), Image.Resampling.BILINEAR)


def texture(rng: Generator, photos: list[np.ndarray]) -> Image.Image:
    """A filling: plain, gradient, noise or a photo's patch."""
    kind = rng.random()
    if kind < 0.3:
        return Image.new("RGB", (SIZE, SIZE), colour(rng))
    if kind < 0.5:
        return gradient(rng)
    if kind < 0.75:
        return spectral_noise(rng)
    return photo_patch(rng, photos)


def outline(rng: Generator, centre: np.ndarray, radius: float) -> list[tuple[float, float]]:
    """A closed outline: polygon, star, ellipse or smooth blob."""
    kind = rng.integers(4)
    n = int(rng.integers(3, 8)) if kind < 2 else 48
    angles = np.sort(rng.uniform(0, 2 * np.pi, n)) if kind == 0 else np.arange(n) * 2 * np.pi / n
    radii = np.ones(n)
    if kind == 1:
        angles = np.arange(2 * n) * np.pi / n
        radii = np.where(np.arange(2 * n) % 2, rng.uniform(0.3, 1), 1.0)
    if kind == 3:
        for k in range(2, 6):
            radii += rng.normal(0, 0.25 / (k - 1)) * np.cos(k * angles + rng.uniform(0, 6.3))
    turn, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1)
    x, y = radii * np.cos(angles), squeeze * radii * np.sin(angles)
    points = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)
    return [(float(a), float(b)) for a, b in centre + radius * points]


def paste_shape(
    image: Image.Image, rng: Generator, photos: list[np.ndarray], centre: np.ndarray, radius: float
) -> None:
    """Draw one filled shape onto ``image``, sometimes with an edge line."""
    points = outline(rng, centre, radius)
    if rng.random() < 0.5:
        ImageDraw.Draw(image).polygon(points, fill=colour(rng))
    else:
        mask = Image.new("L", image.size, 0)
        ImageDraw.Draw(mask).polygon(points, fill=255)
        image.paste(texture(rng, photos), (0, 0), mask)
    if rng.random() < 0.2:
        edge = colour(rng), int(rng.integers(1, 5))
        ImageDraw.Draw(image).line([*points, points[0]], fill=edge[0], width=edge[1])


def dead_leaves(rng: Generator, photos: list[np.ndarray]) -> Image.Image:
    """Shapes that cover one another, radii with density 1/r³ as in natural scenes."""
    image = texture(rng, photos).copy()
    smallest, largest = rng.uniform(5, 20), rng.uniform(60, 120)
    for _ in range(int(rng.integers(15, 70))):
        u = rng.random()
        radius = 1 / np.sqrt(u / smallest**2 + (1 - u) / largest**2)
        paste_shape(image, rng, photos, rng.uniform(0, SIZE, 2), radius)
    return image


def objects(rng: Generator, photos: list[np.ndarray]) -> Image.Image:
    """A few clustered shapes before a background: something like an object, or a row of them."""
    image = texture(rng, photos).copy()
    if rng.random() < 0.4:  # many alike, as coins, cells, windows
        radius = rng.uniform(8, 28)
        seed = int(rng.integers(2**31))
        for _ in range(int(rng.integers(5, 40))):
            twin = np.random.default_rng(seed)
            paste_shape(image, twin, photos, rng.uniform(0, SIZE, 2), radius)
        return image
    middle, spread = rng.uniform(80, 176, 2), rng.uniform(20, 60)
    for _ in range(int(rng.integers(2, 12))):
        paste_shape(image, rng, photos, middle + rng.normal(0, spread, 2), rng.uniform(12, 70))
    return image


def strokes(rng: Generator, photos: list[np.ndarray]) -> Image.Image:
    """Curved strokes of one pen, as in writing, twigs or hands: a few large or many small."""
    image = texture(rng, photos).copy()
    pen = ImageDraw.Draw(image)
    scale = rng.choice([20, 50, 110])
    ink, width = colour(rng), int(max(2, scale * rng.uniform(0.05, 0.35)))
    for _ in range(int(rng.integers(1, 5) * 110 / scale)):
        start = rng.uniform(20, SIZE - 20, 2)
        turns = np.cumsum(rng.normal(0, rng.uniform(0.05, 0.6), 14)) + rng.uniform(0, 6.3)
        steps = np.stack([np.cos(turns), np.sin(turns)], 1) * scale / 7
        points = [(float(x), float(y)) for x, y in start + np.cumsum(steps, axis=0)]
        if rng.random() < 0.2:
            ink = colour(rng)
        pen.line(points, fill=ink, width=width, joint="curve")
    return image


def fractal(rng: Generator, photos: list[np.ndarray]) -> Image.Image:
    """The attractor of a random iterated function system, on a background (FractalDB-like)."""
    n_maps = int(rng.integers(2, 6))
    linear = rng.uniform(-1, 1, (n_maps, 2, 2))
    # Scale each map to a norm under one, so that the system contracts.
    norms = np.linalg.norm(linear, ord=2, axis=(1, 2))
    linear *= (rng.uniform(0.4, 0.9, n_maps) / norms)[:, None, None]
    offset = rng.uniform(-1, 1, (n_maps, 2))
    points = rng.uniform(-1, 1, (1500, 2))
    trace = []
    for step in range(40):
        chosen = rng.integers(n_maps, size=len(points))
        points = np.einsum("nij,nj->ni", linear[chosen], points) + offset[chosen]
        if step >= 10:
            trace.append(points)
    cloud = np.concatenate(trace)
    low, high = np.quantile(cloud, [0.01, 0.99], axis=0)
    place = np.clip((cloud - low) / (high - low + 1e-9), 0, 1) * (SIZE - 1)
    counts, _, _ = np.histogram2d(place[:, 1], place[:, 0], bins=SIZE, range=[[0, SIZE]] * 2)
    share = np.clip(counts / max(np.quantile(counts[counts > 0], 0.7), 1), 0, 1)
    mask = Image.fromarray((share * 255).astype(np.uint8))
    image = texture(rng, photos).copy()
    image.paste(texture(rng, photos), (0, 0), mask)
    return image
