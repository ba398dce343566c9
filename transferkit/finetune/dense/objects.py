"""Decoded images with their objects, changed at random together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transferkit.annotations import AnnotationSet
from transferkit.dense.detection import Target
from transferkit.dense.kinds import ObjectKind
from transferkit.dense.objects import joined_targets
from transferkit.finetune.augmentation import color_jitter
from transferkit.finetune.dense.recipe import LiveDetectionRecipe
from transferkit.finetune.samples import decoded_pixels
from transferkit.images import Frame, ImageSet, warped
from transferkit.spec import Preprocess
from transferkit.training import Samples
from transferkit.training.batches import Key

__all__ = ["ObjectPixels"]

# The four tiles of a mosaic meet in this middle part of the image's height and width.
_MEETING = (0.3, 0.7)


class ObjectPixels(Samples):
    """Images at the network's input size, each with its objects.

    They are decoded once. What moves an image moves its objects too, by the rules of the
    kind's target: an object of which a change leaves too little is ignored.

    Parameters
    ----------
    images : ImageSet
        All readable.
    annotations : AnnotationSet
        Theirs, with objects of the kind.
    frames : sequence of Frame
        From each image's px to the input's.
    preprocess : Preprocess
        Of the backbone; its mean colour fills what is bare.
    recipe : LiveDetectionRecipe
        The random changes.
    kind : ObjectKind
        What the task makes of annotations.

    Attributes
    ----------
    objects : list of list of Target
        The objects of every image, unchanged: the only view.
    """

    def __init__(
        self,
        images: ImageSet,
        annotations: AnnotationSet,
        frames: Sequence[Frame],
        preprocess: Preprocess,
        recipe: LiveDetectionRecipe,
        kind: ObjectKind,
    ) -> None:
        self.pixels = decoded_pixels(images, preprocess)
        self.size, self.frames, self.recipe = preprocess.image_size, list(frames), recipe
        # Files are read once, and not in every epoch.
        self.kind, self.annotations = kind, [kind.held(one) for one in annotations]
        self.is_rgb = preprocess.is_rgb
        self.colour = tuple(round(255 * value) for value in preprocess.mean)
        self.objects = [[self._target(i, Frame(), self.size) for i in range(len(self))]]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: Key) -> tuple[Tensor, Target]:
        index, seed = key
        if seed < 0:
            return _channels_first(self.pixels[index]), self.objects[0][index]
        rng = np.random.default_rng(seed)
        if self.recipe.mosaic and rng.random() < self.recipe.mosaic:
            pixels, target = self._mosaic(index, rng)
        else:
            pixels, target = self._changed(index, self.size, self._zoom(rng), rng)
        image = _channels_first(pixels)
        return self._coloured(image, seed), target

    @property
    def most_objects(self) -> int:
        """Objects of the fullest image, ignored ones too."""
        return max((len(target["labels"]) for target in self.objects[0]), default=0)

    @property
    def n_objects(self) -> int:
        """Objects of all images that are learnt."""
        return sum(int((target["labels"] > 0).sum()) for target in self.objects[0])

    def truth(self) -> Iterator[NDArray[Any]]:
        """Yield all that is true of the images, as arrays: what the result depends on."""
        target: Any
        for target in self.objects[0]:
            yield from (values.numpy() for values in target.values())

    # ---- changes ----

    def _zoom(self, rng: np.random.Generator) -> float:
        """Draw a factor, even on a logarithmic scale; 1 if nothing is zoomed."""
        recipe = self.recipe
        if not recipe.zoomed:
            return 1.0
        return math.exp(rng.uniform(math.log(recipe.zoom_out), math.log(recipe.zoom_in)))

    def _changed(
        self, index: int, size: tuple[int, int], factor: float, rng: np.random.Generator
    ) -> tuple[NDArray[Any], Target]:
        """An image that is turned or mirrored, resized by a factor and put at a random place."""
        (height, width), (own_height, own_width), change = size, self.size, Frame()
        if self.recipe.turned:
            quarters = int(rng.integers(4))
            change = Frame.turn(quarters, self.size)
            if quarters % 2:
                own_height, own_width = own_width, own_height
        left = rng.uniform() * (width - factor * own_width)
        top = rng.uniform() * (height - factor * own_height)
        change = change.then(Frame((factor, factor), (left, top)))
        if self.recipe.mirrored and rng.random() < 0.5:
            change = change.then(Frame.flip(width))
        return self._drawn(index, change, size), self._target(index, change, size)

    def _mosaic(self, index: int, rng: np.random.Generator) -> tuple[NDArray[Any], Target]:
        """The image and three others, each in a corner, smaller than they are."""
        height, width = self.size
        low, high = _MEETING
        y, x = round(height * rng.uniform(low, high)), round(width * rng.uniform(low, high))
        others = rng.integers(len(self), size=3).tolist()
        canvas = np.empty((height, width, self.pixels.shape[3]), dtype=self.pixels.dtype)
        found: list[Target] = []
        corners = [(0, 0, y, x), (0, x, y, width), (y, 0, height, x), (y, x, height, width)]
        order = rng.permutation(4).tolist()
        for one, at in zip([index, *others], order, strict=True):
            top, left, bottom, right = corners[at]
            size = bottom - top, right - left
            # It fills its corner at least along one side, and isn't enlarged.
            share = size[0] / height, size[1] / width
            factor = min(1.0, rng.uniform(min(share), 1.25 * max(share)))
            canvas[top:bottom, left:right], target = self._changed(one, size, factor, rng)
            found.append(self.kind.shifted(target, left, top, size))
        return canvas, joined_targets(found)

    def _target(self, index: int, change: Frame, size: tuple[int, int]) -> Target:
        frame = self.frames[index].then(change)
        target: Target = self.kind.target(self.annotations[index], frame, size)
        return target

    def _drawn(self, index: int, change: Frame, size: tuple[int, int]) -> NDArray[Any]:
        """The input's px where a frame puts them."""
        pixels: NDArray[Any] = self.pixels[index]
        if change == Frame() and size == self.size:
            return pixels
        return warped(pixels, change, size, self.colour, resample=Image.Resampling.BILINEAR)

    def _coloured(self, image: Tensor, seed: int) -> Tensor:
        if not self.recipe.jitter:
            return image
        torch.manual_seed(seed)
        changed = color_jitter(self.recipe.jitter, is_rgb=self.is_rgb)(image)
        assert isinstance(changed, Tensor)
        return changed


def _channels_first(pixels: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
