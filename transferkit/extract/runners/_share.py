"""The share of an extraction that another process computes, as it is sent there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from transferkit.backbones import Backbone
from transferkit.extract.identities import Identities
from transferkit.extract.job import ExtractionJob
from transferkit.extract.views import View
from transferkit.images import ImagePart, ImageSet, Item, read_rgb
from transferkit.spec import BackboneSpec, FeatureSpec
from transferkit.store import FeatureStore

__all__ = ["ShareOfImages", "share_of"]


@dataclass(frozen=True)
class ShareOfImages:
    """The share of the work that one process gets. It holds no tensors and no weights.

    Parameters
    ----------
    images, backbone, specs, device, engine, batch_size, n_sharing, view
        As for `ExtractionJob`.
    ids : tuple of bytes
        Row ids of the images.
    store : Path or str
        Where the store is.
    n_images : int
        Images of all shares.
    n_threads : int
        Threads of PyTorch that all processes of the machine share.
    pixel_limit : int or None
        PIL's, of the process that sends this.
    """

    images: ImageSet
    ids: tuple[bytes, ...]
    backbone: BackboneSpec
    specs: dict[str, FeatureSpec]
    store: Path | str
    device: str
    engine: str
    batch_size: int
    n_images: int
    n_sharing: int
    n_threads: int
    pixel_limit: int | None
    view: View | None

    def job(self, bar: Callable[[int], Any]) -> ExtractionJob:
        """Return the job that computes this share, in the process that got it.

        Parameters
        ----------
        bar : callable
            As for `ExtractionJob`.
        """
        torch.set_num_threads(self.n_threads)
        Image.MAX_IMAGE_PIXELS = self.pixel_limit
        return ExtractionJob(
            self.images,
            self.backbone,
            self.specs,
            FeatureStore(self.store),
            Identities(self.images, exif=False, ids=self.ids),
            self.device,
            self.engine,
            self.batch_size,
            bar,
            self.n_sharing,
            self.n_images,
            view=self.view,
        )


def share_of(
    job: ExtractionJob,
    positions: Sequence[int],
    specs: dict[str, FeatureSpec],
    *,
    device: str,
    n_images: int,
    n_sharing: int,
    n_threads: int,
) -> ShareOfImages:
    """Return the share of a job that consists of the images at these positions.

    Parameters
    ----------
    job : ExtractionJob
        The whole.
    positions : sequence of int
        Of images that have a row id.
    specs : dict of str to FeatureSpec
        Features that are computed.
    device, n_images, n_sharing, n_threads
        See `ShareOfImages`.
    """
    backbone, ids = job.backbone, job.identities.ids
    return ShareOfImages(
        _sendable(job.images.select(positions), exif=job.preprocess.exif),
        tuple(row for i in positions if (row := ids[i]) is not None),
        backbone.spec if isinstance(backbone, Backbone) else backbone,
        specs,
        job.store.path,
        device,
        job.engine,
        job.chosen_batch_size(),
        n_images,
        n_sharing,
        n_threads,
        Image.MAX_IMAGE_PIXELS,
        job.view,
    )


def _sendable(images: ImageSet, *, exif: bool) -> ImageSet:
    """Images alone, without labels; those in memory as pixels, and paths from the root.

    Pickled PIL images lose palette and format, and others run in other folders.
    """

    def sendable(item: Item) -> Item:
        if isinstance(item, ImagePart):
            if not item.is_in_memory:
                return dataclasses.replace(item, whole=sendable(item.whole))
            item = item.read()
        if isinstance(item, Path):
            return item.absolute()
        if not isinstance(item, Image.Image):
            return item
        pixels = np.asarray(read_rgb(item, exif=exif))
        # Grey stays one channel, for backbones that take one.
        return pixels[:, :, 0] if item.mode in ("1", "L", "LA", "La") else pixels

    return ImageSet(tuple(map(sendable, images.items)), images.names)
