"""Base class of the estimators of dense tasks: maps, frames, predicting, saving and loading."""

from __future__ import annotations

import abc
import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from transferkit import artifacts
from transferkit.annotations import (
    Annotations,
    AnnotationSet,
    FaultyAnnotations,
    inspected,
)
from transferkit.backbones import Backbone, layers_of
from transferkit.datasets import Division, divide, roles_of
from transferkit.dense.network import Level
from transferkit.dense.pyramid import check_image_size, pyramid_layers
from transferkit.digests import ID_BYTES
from transferkit.estimators._maps import Maps, Rows, Usable
from transferkit.estimators._tiles import Box, ExtractedTiles, cut, extract_tiles
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.extract import Estimate, Extraction, View
from transferkit.forward import choose_device
from transferkit.images import (
    Failure,
    Frame,
    ImageSet,
    Tiling,
    frame_of,
    list_images,
    typical_size,
)
from transferkit.pooling import parse_feature
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore
from transferkit.tasks.dense import DenseTask, dense_task_of
from transferkit.training import Processes

__all__ = ["DenseEstimator", "suited_size"]


def suited_size(extractor: FeatureExtractor, images: ImageSet, **bounds: int) -> tuple[int, int]:
    """Input size that suits some images and the network's strides, height and width in px.

    Parameters
    ----------
    extractor : FeatureExtractor
        Of a backbone that is given by name.
    images : ImageSet
        What is extracted, of which a few hundred headers are read.
    **bounds
        Of the longer side, as `typical_size` takes them.
    """
    layers = layers_of(extractor.resolve()).values()
    coarsest = int(max((layer.stride for layer in layers), default=1))
    # Strides are powers of two, but for patches of 14 px and their like.
    unit = 32 if 32 % max(coarsest, 1) == 0 else coarsest
    return typical_size(images.items, unit=unit, **bounds)


class DenseEstimator(BaseEstimator, abc.ABC):
    """Base class: a head is trained on the maps of a frozen backbone, and predicts annotations."""

    task_name: ClassVar[str]
    strides: ClassVar[tuple[int, ...]] = (4, 8, 16, 32)
    # How a backbone that is given by name sees the whole image.
    crop_mode: ClassVar[str] = "squash"
    tiles: Tiling | str | tuple[int, int] | None = None
    # Whether the input of an extractor of no size gets one that suits the images, as that of a
    # backbone by name does. The command line, which makes an extractor of its options, asks for it.
    suits_input: bool = False

    backbone: str | Backbone | BackboneSpec | FeatureExtractor
    head: str | None
    features: str | Sequence[str] | None
    image_size: int | tuple[int, int] | None
    store: FeatureStore | str | Path | bool | None
    device: str | None
    batch_size: int | None
    progress: bool

    @property
    def task_(self) -> DenseTask:
        """The task."""
        return dense_task_of(self.task_name)

    @property
    def _needs(self) -> str | None:
        """What annotations of images have to hold."""
        return self.task_.needs if self.task_.has_network else None

    @property
    def tiling_(self) -> Tiling | None:
        """How images are cut into tiles; None if they aren't."""
        return None if self.tiles is None else Tiling.of(self.tiles)

    def processes(self) -> Processes:
        """Device of this process, and the other processes of the run."""
        device = self.device or getattr(self.backbone, "device", None) or "auto"
        return Processes(choose_device(str(device).partition(",")[0]))

    # ---- maps ----

    def _extractor(self, images: ImageSet) -> FeatureExtractor:
        """Extractor of maps of the whole image: nothing is cropped away by default."""
        if isinstance(self.backbone, FeatureExtractor):
            extractor: FeatureExtractor = clone(self.backbone)
        elif isinstance(self.backbone, str):
            extractor = FeatureExtractor(
                self.backbone,
                image_size=self.image_size,
                crop_mode=self.crop_mode,
                crop_pct=1.0,
                storage="float16",
            )
        else:
            extractor = FeatureExtractor(self.backbone, storage="float16")
        if not isinstance(self.backbone, str) and self.image_size is not None:
            raise ValueError(
                f"image_size was given beside a {type(self.backbone).__name__}, which has one; "
                "give it there, or give the backbone by name"
            )
        if extractor.image_size is None and (self.suits_input or isinstance(self.backbone, str)):
            parts = images if self.tiling_ is None else cut(extractor, images, self.tiling_).images
            extractor.image_size = self._suited_size(extractor, parts)
        given = {name: getattr(self, name) for name in ("store", "device", "batch_size")}
        extractor.set_params(**{n: v for n, v in given.items() if v is not None})
        extractor.progress = extractor.progress or self.progress
        preprocess = extractor.resolve().preprocess
        check_image_size(preprocess.image_size)
        if preprocess.layout != "HWC":
            raise ValueError(
                f"layout is {preprocess.layout!r}, and annotations are read for images whose "
                "channels come last; save the images as (H, W, C) or TIFFs of one page"
            )
        extractor.features = self._map_features(extractor)
        return extractor

    def _suited_size(self, extractor: FeatureExtractor, images: ImageSet) -> tuple[int, int]:
        """Height and width of the input, px, if the user gives none."""
        return suited_size(extractor, images)

    def _map_features(self, extractor: FeatureExtractor) -> list[str]:
        """Names of the maps: those that were asked for, else the last layer of each stride."""
        layers = self._layers(extractor)
        if self.features is not None:
            asked = self.features.split(",") if isinstance(self.features, str) else self.features
            names = [name.strip() for name in asked]
            names = [name if "." in name else f"{name}.map" for name in names]
            for name in names:
                if parse_feature(name).pooling != "map":
                    raise ValueError(
                        f"feature {name!r} is pooled, and a head of {self.task_name} takes maps; "
                        f"write {parse_feature(name).layer}.map"
                    )
            return names
        asked = extractor.feature_names
        if all(name.endswith(".map") for name in asked):
            return list(asked)
        strides = self._strides_for(extractor.resolve().preprocess.image_size)
        return [f"{layer}.map" for layer in pyramid_layers(layers, strides)]

    def _look_at(self, annotations: AnnotationSet | None) -> None:
        """Note what annotations tell about the maps that are wanted."""

    def _strides_for(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        """Strides of the maps that are taken if the user names none."""
        return self.strides

    def _layers(self, extractor: FeatureExtractor) -> Mapping[str, Any]:
        backbone = extractor.backbone
        return backbone.layers if isinstance(backbone, Backbone) else layers_of(extractor.resolve())

    def _levels(self, extractor: FeatureExtractor) -> list[Level]:
        """The maps that the head is given, fine to coarse."""
        layers = self._layers(extractor)
        named = [parse_feature(name).layer for name in extractor.feature_names]
        return [Level(name, layers[name].channels, layers[name].stride) for name in named]

    def maps(
        self,
        images: Any,
        on_error: str = "raise",
        *,
        is_training: bool = False,
        view: View | None = None,
    ) -> Maps:
        """Extract maps. They stay in the store until they are asked for.

        Parameters
        ----------
        images
            Anything that `list_images` takes.
        on_error : {"raise", "skip"}, default="raise"
            Whether unreadable images raise, or are left out.
        is_training : bool, default=False
            Whether maps of images in memory are kept in this process.
        view : View, optional
            An augmented view instead of the images themselves.
        """
        listed = self._listed(images)
        found = self._extracted(listed, on_error, remember=is_training, view=view)
        extraction = found.tiles if isinstance(found, ExtractedTiles) else found
        rows: Mapping[str, Rows] = extraction.stored or extraction.rows
        sizes = [(int(h), int(w)) for h, w in extraction.sizes]
        preprocess = self.extractor_.resolve().preprocess
        flip = [] if view is None or view.frame is None else [view.frame(i) for i in extraction.ids]
        frames = [
            frame_of(size, preprocess, flip[i] if flip else None) for i, size in enumerate(sizes)
        ]
        levels = [rows[str(parse_feature(name))] for name in self.extractor_.feature_names]
        if not isinstance(found, ExtractedTiles):
            return Maps(extraction, levels, frames, sizes)
        of_images = [(int(h), int(w)) for h, w in found.images.sizes]
        frames = [
            Frame((1, 1), (-left, -top)).then(frame)
            for frame, (left, top, _, _) in zip(frames, found.boxes, strict=True)
        ]
        sizes = [of_images[i] for i in found.image_of]
        return Maps(found.images, levels, frames, sizes, found.image_of, found.boxes)

    def _n_rows(self, images: ImageSet) -> int:
        """How many images, or tiles of them, are seen one by one."""
        if self.tiling_ is None:
            return len(images)
        return len(cut(self.extractor_, images, self.tiling_).images)

    def _extracted(
        self, images: ImageSet, on_error: str, *, remember: bool, view: View | None = None
    ) -> Extraction | ExtractedTiles:
        """Extract maps of images, or of their tiles, and leave them in the store."""
        options: dict[str, Any] = {"keep_rows": "stored", "remember": remember, "view": view}
        if self.tiling_ is None:
            return self.extractor_.extract(images, on_error=on_error, **options)
        return extract_tiles(self.extractor_, images, self.tiling_, on_error=on_error, **options)

    def _listed(self, images: Any) -> ImageSet:
        listed = list_images(images)
        if (listed.n_images != 1).any():
            raise ValueError(
                f"an item has several images, and {self.task_name} annotates images one by one; "
                "list them one by one"
            )
        return listed

    @property
    def input_size_(self) -> tuple[int, int]:
        """Height and width of the network's input, px."""
        height, width = self.extractor_.resolve().preprocess.image_size
        return height, width

    # ---- what is trained on ----

    def usable(
        self, images: ImageSet, annotations: AnnotationSet | None, on_error: str = "raise"
    ) -> Usable:
        """Find the images that can be read and whose annotations are good, and extract their maps.

        Parameters
        ----------
        images : ImageSet
            From `list_images`.
        annotations : AnnotationSet or None
            Theirs.
        on_error : {"raise", "skip"}, default="raise"
            Whether the others raise an error that names all of them, or are left out.
        """
        faults: list[Failure] = []
        remarks: list[Failure] = []
        if annotations is not None:
            faults, remarks = inspected(annotations, images, needs=self._needs)
        if faults and (on_error == "raise" or len(faults) == len(images)):
            raise FaultyAnnotations(faults, len(images))
        bad = {fault.index for fault in faults}
        good = np.array([i for i in range(len(images)) if i not in bad], dtype=np.intp)
        self._look_at(None if annotations is None else annotations.select(good))
        self.extractor_ = self._extractor(images)
        found = self._extracted(images.select(good), on_error, remember=True)
        extraction = found.images if isinstance(found, ExtractedTiles) else found
        self.summary_ = extraction.summary()
        kept = good[extraction.kept]
        unreadable = [replace(f, index=int(good[f.index])) for f in extraction.failures]
        return Usable(
            images.select(kept),
            None if annotations is None else annotations.select(kept),
            extraction.ids,
            sorted([*faults, *unreadable], key=lambda failure: failure.index),
            remarks,
        )

    def divided(self, usable: Usable, share: float, seed: int = 0) -> Division:
        """Divide images by their splits; where there are none, hold out a share of them.

        Parameters
        ----------
        usable : Usable
            From `usable`.
        share : float
            Share that is held out to be measured; 0 for none.
        seed : int, default=0
            Of the draw.
        """
        images = usable.images
        return divide(
            images.splits,
            usable.ids,
            [""] * len(images),
            images.groups,
            is_classes=False,
            share=share,
            seed=seed,
            roles=roles_of(images.split_names) if images.split_names else None,
        )

    @abc.abstractmethod
    def fit_parts(self, usable: Usable, parts: Division, *, resume: bool = False) -> Self:
        """Train on one part of some images, and choose on another.

        Parameters
        ----------
        usable : Usable
            From `usable`.
        parts : Division
            Positions of both among them.
        resume : bool, default=False
            Whether to go on from a checkpoint.
        """

    def plan(self, images: Any, annotations: AnnotationSet | None = None) -> Estimate:
        """Estimate what extracting would take, by timing a few batches. Nothing is stored.

        Parameters
        ----------
        images
            Anything that `list_images` takes.
        annotations : AnnotationSet, optional
            Theirs; with small objects more is extracted.
        """
        listed = self._listed(images)
        if annotations is not None:
            faults, _ = inspected(annotations, listed, needs=self._needs)
            bad = {fault.index for fault in faults}
            self._look_at(annotations.select(i for i in range(len(listed)) if i not in bad))
        extractor = self._extractor(listed)
        if self.tiling_ is not None:
            listed = cut(extractor, listed, self.tiling_).images
        return extractor.plan(listed, views=self._views(extractor))

    def _views(self, extractor: FeatureExtractor) -> list[View | None]:
        """The views of training images that are extracted; None is the image itself."""
        return [None]

    # ---- predict ----

    def predict(self, images: Any) -> list[Annotations]:
        """Annotate every image, in its own px.

        Parameters
        ----------
        images
            Anything that `list_images` takes.

        Returns
        -------
        list of Annotations
            One for each image, in their order.

        Raises
        ------
        UnreadableImages
            If images can't be read; every one is named.
        """
        check_is_fitted(self, "extractor_")
        return [annotations for _, annotations in self.predictions(self.maps(images))]

    def predictions(self, maps: Maps) -> Iterator[tuple[int, Annotations]]:
        """Yield the position and the annotations of each image, a few in memory at a time.

        Parameters
        ----------
        maps : Maps
            Of the images, from this estimator's own extractor.
        """
        rows = self._annotated_rows(maps)
        if maps.image_of is None:
            yield from rows
            return
        image_of = maps.image_of
        for image, own in itertools.groupby(rows, lambda row: int(image_of[row[0]])):
            at, found = zip(*own, strict=True)
            boxes = [maps.boxes[i] for i in at]
            yield image, self._merged(found, boxes, maps.sizes[at[0]])

    def _annotated_rows(self, maps: Maps) -> Iterator[tuple[int, Annotations]]:
        """Yield the position and the annotations of each image, or of each tile in its own px."""
        device = choose_device(self.extractor_.device.partition(",")[0])
        for at, levels in maps.batches():
            frames, sizes = zip(*(maps.frame_of_row(i) for i in at), strict=True)
            with torch.inference_mode():
                found = self._annotated(
                    [level.to(device) for level in levels], list(frames), list(sizes)
                )
            yield from zip(at, found, strict=True)

    def _merged(
        self, found: Sequence[Annotations], boxes: Sequence[Box], size: tuple[int, int]
    ) -> Annotations:
        """Make of what is on the tiles of an image, in their px, what is on the image."""
        raise ValueError(f"{self.task_name} doesn't take tiles; leave tiles out")

    def believed(self, annotations: Annotations) -> Annotations:
        """What of a prediction is worth showing: of detections, those of a high enough score."""
        return annotations

    @abc.abstractmethod
    def line(self, annotations: Annotations | None) -> dict[str, Any]:
        """Tell of an image in values that a table takes; None is an image that wasn't read."""

    @abc.abstractmethod
    def _annotated(
        self, levels: list[Tensor], frames: list[Frame], sizes: list[tuple[int, int]]
    ) -> list[Annotations]:
        """Annotate the images of a batch."""

    # ---- files ----

    def save(
        self, path: str | Path, *, overwrite: bool = False, include_weights: bool | None = None
    ) -> Path:
        """Save the trained model as a folder that loads on another machine.

        Parameters
        ----------
        path, overwrite, include_weights
            As for `TransferClassifier.save`.

        Returns
        -------
        Path
            The folder.
        """
        check_is_fitted(self, "extractor_")
        model = artifacts.Model(
            task=self.task_name,
            backbone=self.extractor_.resolve(),
            features=tuple(self.extractor_.feature_names),
            precision=self.extractor_.precision,
            storage=self.extractor_.storage,
            classes=np.array(self.classes_),
            head=self._head_to_save(),
            train_ids=self.train_ids_,
            facts={**self.facts_, **({"tiles": str(self.tiling_)} if self.tiling_ else {})},
        )
        return artifacts.save(path, model, overwrite=overwrite, include_weights=include_weights)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        store: FeatureStore | str | Path | bool | None = None,
        device: str = "auto",
        engine: str = "auto",
        batch_size: int | None = None,
        progress: bool = False,
    ) -> Self:
        """Load a saved model. Nothing in its folder can run code.

        Parameters
        ----------
        path : path
            The folder that `save` wrote.
        store, device, engine, batch_size, progress
            As for `FeatureExtractor`.

        Raises
        ------
        ValueError
            If it isn't a model of this task, is damaged, or its backbone's weights have changed.
        """
        model = artifacts.load(path)
        if model.task != cls.task_name:
            raise ValueError(
                f"model {str(path)!r} was trained for {model.task}; load it with "
                "transferkit.load_estimator"
            )
        extractor = FeatureExtractor(
            model.backbone,
            list(model.features),
            precision=model.precision,
            storage=model.storage,
            store=store,
            device=device,
            engine=engine,
            batch_size=batch_size,
            progress=progress,
        )
        estimator = cls(extractor)
        estimator.extractor_ = extractor
        estimator.classes_ = tuple(str(name) for name in model.classes.tolist())
        estimator.train_ids_ = model.train_ids
        estimator.failures_ = []
        estimator.facts_ = dict(model.facts)
        try:
            estimator.tiles = estimator.facts_.pop("tiles", None)
            estimator._restore(model.head)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(
                f"model {str(path)!r} can't be used: its files make no head of {cls.task_name} "
                f"({error}); copy it again, or train it again"
            ) from error
        return estimator

    @abc.abstractmethod
    def _head_to_save(self) -> artifacts.ModuleHead:
        """The trained head as tensors and arguments."""

    @abc.abstractmethod
    def _restore(self, head: artifacts.ModuleHead) -> None:
        """Make the head again that `_head_to_save` gave."""

    # ---- state ----

    extractor_: FeatureExtractor
    classes_: tuple[str, ...]
    train_ids_: NDArray[np.uint8]
    failures_: list[Failure]
    facts_: dict[str, Any]
    summary_: str

    @property
    def output_names_(self) -> np.ndarray:
        """Names of the classes."""
        return np.array(self.classes_)

    def _keep_ids(self, ids: Sequence[bytes]) -> None:
        self.train_ids_ = np.frombuffer(b"".join(ids), np.uint8).reshape(len(ids), ID_BYTES)

    @contextlib.contextmanager
    def _as_before_on_error(self) -> Iterator[None]:
        """Restore the state before a fit that failed, so that a trained model stays usable."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        return tags
