"""Which images a model is trained on, and which it is measured with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from transferkit.extract import Extraction
    from transferkit.images import ImageSet

__all__ = ["split_images"]


def split_images(
    listed: ImageSet, extraction: Extraction, test_size: float, seed: int, task: str
) -> tuple[ImageSet, ImageSet | None]:
    """Training images (with their val split) and those to measure with, if there are any.

    Only images that could be read are split.
    """
    images, ids = listed.select(extraction.kept), extraction.ids
    _warn_of_twins(images, ids)
    if "train" in images.split_names:
        test = images.split("test") if "test" in images.split_names else None
        return images, test
    if images.split_names:
        raise ValueError(
            f"the images have splits ({', '.join(images.split_names)}) but no 'train'; add one"
        )
    if test_size == 0 or images.labels is None:
        return images, None
    from sklearn.model_selection import train_test_split

    # Numbers and sets of labels have no classes to draw an equal share of.
    has_sets = any(isinstance(label, tuple) for label in images.labels)
    is_plain = task == "classification" and not has_sets
    try:
        chosen, held = train_test_split(
            range(len(images)),
            test_size=test_size,
            random_state=seed,
            stratify=images.labels if is_plain else None,
        )
    except (ValueError, TypeError) as error:
        if None in images.labels:  # fit says which images have no label
            return images, None
        raise ValueError(
            f"--test-size {test_size} can't hold out a part of every class ({error}); give more "
            f"images, another size, or 0"
        ) from error
    seen = {ids[i] for i in chosen}
    twins = [i for i in held if ids[i] in seen]
    if twins:
        click.echo(
            f"Warning: {len(twins)} of {len(held)} held-out images have the same bytes as training "
            f"images; the model is not measured on them",
            err=True,
        )
        held = [i for i in held if ids[i] not in seen]
    # In the images' order: what a head makes of its rows must not depend on the draw.
    return images.select(sorted(chosen)), images.select(sorted(held)) if held else None


def _warn_of_twins(images: ImageSet, ids: Sequence[bytes]) -> None:
    """Say so where one image has two labels."""
    first: dict[bytes, int] = {}
    twins = []
    for i, row in enumerate(ids if images.labels is not None else ()):
        j = first.setdefault(row, i)
        if images.labels is not None and images.labels[j] != images.labels[i]:
            twins.append((j, i))
    if twins:
        a, b = (images.names[i] for i in twins[0])
        click.echo(
            f"Warning: {len(twins)} images have the same bytes as another with another label (the "
            f"first: {a!r} and {b!r})",
            err=True,
        )
