"""Cached maps of the stage below the trained ones, in a plain and some augmented views.

The plain view is an ordinary dense feature, ``stageK.map``, of the store. An augmented view is
the same feature under another view number. The number holds the augmentation's parameters, and
the image's id seeds it; so a view is a value like any other row, computed once.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from transferkit.extract import BATCH_SIZE
from transferkit.extract.decoding import decode
from transferkit.finetune.recipe import Recipe
from transferkit.finetune.samples import augmentation, seed_of
from transferkit.forward import Forward
from transferkit.images import Failure, ImageSet, UnreadableImages
from transferkit.pooling import parse_feature
from transferkit.spec import BackboneSpec, FeatureSpec
from transferkit.store import FeatureStore

__all__ = ["augmented_views", "view_number"]

SHARD_BYTES = 100_000_000


def view_number(recipe: Recipe, n: int) -> int:
    """Number of an augmented view: the view's own, and what it is drawn with.

    Parameters
    ----------
    recipe : Recipe
        Crop, flip, jitter, RandAugment and erasing, each to a hundredth.
    n : int
        1 to 999.

    Examples
    --------
    >>> recipe = Recipe(epochs=1, batch_size=1, crop_scale=0.5, flip=True, jitter=0.2)
    >>> view_number(recipe, 3)
    2005001003
    """
    number = round(100 * recipe.erasing)
    for value, size in (
        (recipe.rand_augment, 100),
        (round(100 * recipe.jitter), 1000),
        (round(100 * recipe.crop_scale), 1000),
        (int(recipe.flip), 100),
        (n, 1000),
    ):
        number = number * size + int(value)
    return number


def augmented_views(
    images: ImageSet,
    ids: Sequence[bytes],
    backbone: BackboneSpec,
    feature: str,
    store: FeatureStore,
    recipe: Recipe,
    *,
    device: str = "auto",
    precision: str = "float32",
    storage: str = "float16",
    progress: bool = False,
) -> list[np.ndarray]:
    """Maps of every image in all augmented views, computed where the store lacks them.

    Parameters
    ----------
    images : ImageSet
        All readable.
    ids : sequence of bytes
        Their row ids.
    backbone : BackboneSpec
        The backbone.
    feature : str
        ``stageK.map``.
    store : FeatureStore
        Where they are kept.
    recipe : Recipe
        The augmentation and how many views.
    device, precision, storage
        As for `transferkit.extract.extract`.
    progress : bool, default=False
        Whether a bar is shown on stderr.

    Returns
    -------
    list of ndarray
        One array ``(n, D, H, W)`` for each view.
    """
    plain = backbone.feature_spec(feature, precision=precision, storage=storage)
    specs = [
        dataclasses.replace(plain, view=view_number(recipe, n + 1)) for n in range(recipe.views)
    ]
    missing = [set(store.missing(spec, list(ids))) for spec in specs]
    first: dict[bytes, int] = {}
    for i, row in enumerate(ids):
        if any(row in rows for rows in missing):
            first.setdefault(row, i)
    if first:
        forward = Forward(backbone, [parse_feature(feature)], device=device, precision=precision)
        filling = _Filling(images, backbone, specs, missing, store, recipe, forward)
        filling.fill(first, progress)
    return [store.read(spec, list(ids)) for spec in specs]


@dataclasses.dataclass
class _Filling:
    """What fills the store with views; `augmented_views` is its door."""

    images: ImageSet
    backbone: BackboneSpec
    specs: list[FeatureSpec]
    missing: list[set[bytes]]
    store: FeatureStore
    recipe: Recipe
    forward: Forward

    def fill(self, first: dict[bytes, int], progress: bool) -> None:
        """Decode each image once, and take all views of it that are missing."""
        from tqdm import tqdm

        size = BATCH_SIZE[self.forward.device.type]
        items = list(first.items())
        n_views = sum(map(len, self.missing))
        with (
            torch.random.fork_rng(devices=[]),
            ThreadPoolExecutor(4) as pool,
            tqdm(
                total=n_views, desc="views", unit=" views", disable=not progress, file=sys.stderr
            ) as bar,
        ):
            block = 64
            kept: list[tuple[list[bytes], list[np.ndarray]]] = [([], []) for _ in self.specs]
            for start in range(0, len(items), block):
                part = items[start : start + block]
                pixels = list(pool.map(self._decode, part))
                for v in range(len(self.specs)):
                    chosen = [
                        (row, p)
                        for (row, _), p in zip(part, pixels, strict=True)
                        if row in self.missing[v]
                    ]
                    for at in range(0, len(chosen), size):
                        self._compute(v, chosen[at : at + size], size, kept[v])
                        bar.update(len(chosen[at : at + size]))
                self._write(kept, SHARD_BYTES)
            self._write(kept, 0)

    def _decode(self, item: tuple[bytes, int]) -> Any:
        row, index = item
        image = decode(self.images, index, self.backbone.preprocess)
        if image.pixels is None:
            failure = Failure(index, self.images.names[index], image.reason)
            raise UnreadableImages([failure], len(self.images))
        if image.row not in (None, row):  # its views would stand under another image's id
            raise RuntimeError(
                f"{self.images.names[index]!r} was changed while views of it were computed; "
                "start again"
            )
        return torch.from_numpy(image.pixels).permute(2, 0, 1)

    def _compute(
        self,
        v: int,
        chosen: list[tuple[bytes, Any]],
        size: int,
        kept: tuple[list[bytes], list[np.ndarray]],
    ) -> None:
        """One batch of one view, padded to the batch size, which a row's bits depend on."""
        augment = augmentation(self.recipe, self.backbone.preprocess.image_size)
        views = []
        for row, pixels in chosen:
            torch.manual_seed(seed_of(row, self.specs[v].view))
            views.append(augment(pixels).permute(1, 2, 0).numpy())
        batch = np.stack(views + [views[-1]] * (size - len(views)))
        rows = next(iter(self.forward.rows(batch).values()))[: len(chosen)]
        kept[0].extend(row for row, _ in chosen)
        kept[1].append(rows.astype(self.specs[v].storage))

    def _write(self, kept: list[tuple[list[bytes], list[np.ndarray]]], least: int) -> None:
        provenance = {**self.forward.provenance(), "view": "augmented"}
        for spec, (ids, rows) in zip(self.specs, kept, strict=True):
            if ids and sum(array.nbytes for array in rows) >= least:
                self.store.write(spec, ids, np.concatenate(rows), provenance=provenance)
                ids.clear()
                rows.clear()
