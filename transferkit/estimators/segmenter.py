"""`TransferSegmenter`: a class for every pixel, from the maps of a frozen backbone."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from transferkit import artifacts
from transferkit.annotations import (
    Annotations,
    AnnotationSet,
    FaultyAnnotations,
    annotation_faults,
    read_annotations,
)
from transferkit.backbones import Backbone
from transferkit.datasets import Division, keep_apart
from transferkit.dense.fitting import choose_segmentation_recipe, fit_network
from transferkit.dense.network import SegmentationNetwork
from transferkit.dense.resampling import classes_in_image
from transferkit.dense.samples import DenseSamples, class_maps
from transferkit.dense.segmentation import default_neck
from transferkit.estimators._dense import DenseEstimator, Usable
from transferkit.estimators._tiles import Box, map_of_tiles
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.extract import View, mirrored
from transferkit.forward import choose_device
from transferkit.images import Frame, ImageSet, Tiling, joined
from transferkit.metrics import SegmentationReport, segmentation_report
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore
from transferkit.training import CHECKPOINT, Processes, warn_of_checkpoint

__all__ = ["TransferSegmenter"]


class TransferSegmenter(DenseEstimator):
    """Segment images with a neck and a head that are trained on a frozen backbone's maps.

    The network runs once over each image, and over its mirror image for training; then the
    head trains on the stored maps.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor
        As for `FeatureExtractor`. One that is given by name sees the whole image, squashed to
        its input size, and its maps are stored as float16.
    head : str, default="unet"
        One of `transferkit.dense.segmentation.segmentation_heads`.
    neck : str, optional
        One of `transferkit.necks.neck_names`; by default the one that suits the head.
    features : str or sequence of str, optional
        Layers whose maps are taken, fine to coarse, such as ``"stage1,stage2"``; by default the
        last of each stride from 4 to 32 px.
    image_size : int or (int, int), optional
        Height and width of the network's input, px, of a backbone that is given by name; by
        default near the images' median size, with a longer side of 256 to 512.
    head_options, neck_options : mapping, optional
        Options of the head and the neck, such as ``{"width": 128}``.
    recipe : mapping, optional
        Fields of `transferkit.dense.fitting.SegmentationRecipe`, such as ``{"epochs": 20}``.
    tiles : str or (int, int), optional
        Cuts large images into overlapping tiles: ``"2x3"`` (rows and columns) or their height
        and width in px, such as ``"512px"``; see `transferkit.images.Tiling`. Then `image_size` is
        that of a tile.
    store, device, batch_size, progress
        As for `FeatureExtractor`.
    folder : path, optional
        For checkpoint and curves of the training; by default they are not kept.

    Attributes
    ----------
    classes_ : tuple of str
        Names of the classes, by number.
    network_ : SegmentationNetwork
        The trained neck and head.
    history_ : list of dict
        One line for each epoch.

    See Also
    --------
    read_annotations : Reads masks of files.
    AnomalyDetector : Learns from good images alone, without masks.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((6, 64, 64, 3), dtype=np.uint8)
    >>> images[:, :, 32:] = 255  # the right half is white
    >>> maps = [(image[:, :, 0] > 0).astype(int) for image in images]
    >>> extractor = FeatureExtractor(
    ...     "resnet18", pretrained=False, image_size=64, crop_pct=1.0, store=False
    ... )
    >>> recipe = {"epochs": 20, "learning_rate": 0.01}
    >>> segmenter = TransferSegmenter(extractor, "linear", recipe=recipe)
    >>> segmenter.fit(images, maps).predict(images)[0].map[0, [0, 63]].tolist()
    [0, 1]
    """

    task_name = "segmentation"

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor,
        head: str = "unet",
        *,
        neck: str | None = None,
        features: str | Sequence[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
        head_options: Mapping[str, Any] | None = None,
        neck_options: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        tiles: Tiling | str | tuple[int, int] | None = None,
        store: FeatureStore | str | Path | bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        progress: bool = False,
        folder: str | Path | None = None,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.neck = neck
        self.features = features
        self.image_size = image_size
        self.head_options = head_options
        self.neck_options = neck_options
        self.recipe = recipe
        self.tiles = tiles
        self.store = store
        self.device = device
        self.batch_size = batch_size
        self.progress = progress
        self.folder = folder

    # ---- fit ----

    def fit(
        self,
        images: Any,
        annotations: Any = None,
        *,
        validation: tuple[Any, Any] | None = None,
        on_error: str = "raise",
        resume: bool = False,
    ) -> Self:
        """Extract maps and train neck and head.

        Parameters
        ----------
        images
            Anything that `list_images` takes. If they have splits, ``train`` is trained on and,
            where there is a ``test`` split too, ``val`` chooses the best epoch.
        annotations
            Anything that `read_annotations` takes: a folder of masks, a COCO file, an
            `AnnotationSet`, or one class map ``(height, width)`` for each image. By default they
            are looked for beside the images.
        validation : (images, annotations), optional
            What the best epoch is chosen by; those of the training images' bytes are left out.
        on_error : {"raise", "skip"}, default="raise"
            Whether unreadable images and bad masks raise an error, all of them by name, or are
            left out and kept in ``failures_``.
        resume : bool, default=False
            Whether to go on from the checkpoint in `folder`.

        Returns
        -------
        self

        Raises
        ------
        UnreadableImages, FaultyAnnotations
            If `on_error` is ``"raise"``; every one is named.
        ValueError
            If there are no annotations, or a parameter isn't allowed.
        """
        listed = self._listed(images)
        found = read_annotations(annotations, listed)
        held_from = None
        if validation is not None:
            held_from = len(listed)
            held = self._listed(validation[0])
            given = read_annotations(validation[1], held, classes=found.classes)
            listed, found = joined(listed, held), found.joined(given)
        with self._as_before_on_error():
            usable = self.usable(listed, found, on_error)
            self.fit_parts(usable, self._division(usable, held_from), resume=resume)
            self.failures_ = usable.failures
        return self

    def _division(self, usable: Usable, held_from: int | None) -> Division:
        """All images are trained on, but for the splits and the validation part."""
        if held_from is None:
            return self.divided(usable, 0)
        n_train = held_from - sum(f.index < held_from for f in usable.failures)
        at = np.arange(len(usable.images))
        held, left_out = keep_apart(at[:n_train], at[n_train:], usable.ids)
        return Division(at[:n_train], held, at[:0], left_out=left_out)

    def fit_parts(self, usable: Usable, parts: Division, *, resume: bool = False) -> Self:
        """Train on one part of some images, and choose the best epoch on another.

        Parameters
        ----------
        usable : Usable
            From `usable`, with annotations.
        parts : Division
            Positions of both among them.
        resume : bool, default=False
            Whether to go on from the checkpoint in `folder`.
        """
        with contextlib.ExitStack() as stack:
            folder = Path(self.folder or stack.enter_context(tempfile.TemporaryDirectory()))
            folder.mkdir(parents=True, exist_ok=True)
            if not resume:
                warn_of_checkpoint(folder)
            self._train_head(usable, parts, folder, resume=resume)
            (folder / CHECKPOINT).unlink(missing_ok=True)
        return self

    def _train_head(
        self, usable: Usable, parts: Division, folder: Path, *, resume: bool = False
    ) -> None:
        """Train neck and head on stored maps; the checkpoint stays in the folder."""
        assert usable.annotations is not None
        self.classes_ = usable.annotations.classes
        self.failures_, self.facts_ = usable.failures, {}
        recipe = choose_segmentation_recipe(self._head_settings(), len(parts.train))
        network = self._new_network(recipe.seed)
        train = self._samples(*usable.select(parts.train), mirror=recipe.mirrored)
        held = None
        if len(parts.validation):
            held = self._samples(*usable.select(parts.validation), mirror=False)
        trained = [usable.ids[i] for i in parts.train]
        self._keep_ids(trained)
        self.history_ = fit_network(
            network,
            train,
            held,
            recipe,
            Processes(choose_device(self.extractor_.device.partition(",")[0])),
            folder,
            keys=[self.extractor_.resolve().to_json(), *(row.hex() for row in trained)],
            resume=resume,
            draws=self.folder is not None,
            progress=self.extractor_.progress,
        )
        self.recipe_ = recipe
        self.network_ = network.cpu().eval()

    def _head_settings(self) -> Mapping[str, Any]:
        """What the user sets of the recipe of neck and head."""
        return self.recipe or {}

    def _views(self, extractor: FeatureExtractor) -> list[View | None]:
        recipe = choose_segmentation_recipe(self._head_settings(), 1)
        return [None, *([mirrored(extractor.resolve().preprocess)] if recipe.mirrored else [])]

    def _new_network(self, seed: int) -> SegmentationNetwork:
        """Neck and head with random weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SegmentationNetwork(
                self._levels(self.extractor_),
                len(self.classes_),
                head=self.head,
                neck=default_neck(self.head) if self.neck is None else self.neck,
                head_options=self.head_options,
                neck_options=self.neck_options,
            )

    def _samples(
        self, images: ImageSet, annotations: AnnotationSet | None, *, mirror: bool
    ) -> DenseSamples:
        """Maps of the images and, if wanted, of their mirror images, with their targets."""
        assert annotations is not None
        maps = self.maps(images, is_training=True)
        views = [maps.levels]
        if mirror:
            view = mirrored(self.extractor_.resolve().preprocess)
            views.append(self.maps(images, is_training=True, view=view).levels)
        targets = class_maps(maps.of_rows(annotations), maps.frames, self.input_size_)
        return DenseSamples(views, targets)

    def description(self) -> str:
        """What was trained, in a few words."""
        names = self.network_.arguments
        neck = "" if names["neck"] == "none" else f" on neck {names['neck']}"
        n_parameters = sum(p.numel() for p in self.network_.parameters())
        return f"{names['head']}{neck} ({n_parameters:,} parameters)"

    # ---- predict and measure ----

    def _annotated(
        self, levels: list[Tensor], frames: list[Frame], sizes: list[tuple[int, int]]
    ) -> list[Annotations]:
        network = self.network_.to(levels[0].device)
        scores = network(levels)
        sure = scores.softmax(1).amax(1).mean((1, 2)).tolist()
        return [
            Annotations(
                size,
                map=classes_in_image(scores[i], frame, self.input_size_, size),
                score=sure[i],
            )
            for i, (frame, size) in enumerate(zip(frames, sizes, strict=True))
        ]

    def _merged(
        self, found: Sequence[Annotations], boxes: Sequence[Box], size: tuple[int, int]
    ) -> Annotations:
        return map_of_tiles(found, boxes, size)

    def measure(
        self, images: Any, annotations: Any = None, *, on_error: str = "raise"
    ) -> SegmentationReport:
        """Compare predictions with the true classes of the pixels, in the images' px.

        Parameters
        ----------
        images, annotations, on_error
            As for `fit`. Classes are matched by name.

        Raises
        ------
        ValueError
            If no image has annotations.
        """
        listed = self._listed(images)
        found = read_annotations(annotations, listed, classes=self.classes_)
        faults = annotation_faults(found, listed)
        if faults and (on_error == "raise" or len(faults) == len(listed)):
            raise FaultyAnnotations(faults, len(listed))
        bad = {fault.index for fault in faults}
        good = [i for i in range(len(listed)) if i not in bad]
        maps = self.maps(listed.select(good), on_error)
        true = found.select(np.array(good)[maps.extraction.kept])
        predicted = (annotations for _, annotations in self.predictions(maps))
        return segmentation_report(true, predicted, self.classes_)

    def line(self, annotations: Annotations | None) -> dict[str, Any]:
        """Confidence of an image's classes, and the share of the pixels that each has."""
        if annotations is None or annotations.map is None:
            return {"confidence": None, "share": dict.fromkeys(self.classes_)}
        known = annotations.map[annotations.map >= 0]
        counts = np.bincount(known, minlength=len(self.classes_))
        shares = (counts / max(len(known), 1)).tolist()
        return {
            "confidence": annotations.score,
            "share": dict(zip(self.classes_, shares, strict=True)),
        }

    def score(self, images: Any, annotations: Any = None) -> float:
        """Mean IoU of the predictions.

        Parameters
        ----------
        images, annotations
            As for `fit`.
        """
        value = self.measure(images, annotations).value("mean_iou")
        return float("nan") if value is None else value

    # ---- files ----

    def _head_to_save(self) -> artifacts.ModuleHead:
        tensors = {n: t.detach().cpu().numpy() for n, t in self.network_.state_dict().items()}
        arguments = self.network_.arguments
        return artifacts.ModuleHead(arguments["head"], arguments, tensors)

    def _restore(self, head: artifacts.ModuleHead) -> None:
        network = SegmentationNetwork.restored(head.arguments, head.tensors)
        if network.arguments["n_classes"] != len(self.classes_):
            raise ValueError("it has another number of classes")
        self.network_ = network
        for name in ("head", "neck", "head_options", "neck_options"):
            setattr(self, name, head.arguments[name])
