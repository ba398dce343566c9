"""`AnomalyDetector` learns from maps of good images, and finds what isn't like them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit import artifacts
from transferkit.annotations import (
    Annotations,
    AnnotationSet,
    FaultyAnnotations,
    NoAnnotations,
    annotation_faults,
    read_annotations,
)
from transferkit.backbones import Backbone
from transferkit.datasets import Division, blocks_of, keep_apart
from transferkit.dense.anomaly import (
    AnomalyMethod,
    Choice,
    anomaly_methods,
    choose_method,
    create_anomaly_method,
    f1_threshold,
    false_alarm_threshold,
)
from transferkit.dense.network import Level
from transferkit.dense.resampling import scores_in_image
from transferkit.estimators._dense import DenseEstimator
from transferkit.estimators._goodness import CLASSES, are_anomalous, told
from transferkit.estimators._maps import Maps, Usable
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.forward import choose_device
from transferkit.images import Frame, ImageSet, joined, list_images
from transferkit.maps import FeatureMaps
from transferkit.metrics import (
    AnomalyReport,
    AnomalyScores,
    anomaly_report,
    gather_scores,
    report_of_scores,
)
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore

__all__ = ["AnomalyDetector", "method_of"]

logger = logging.getLogger(__name__)

# Images whose maps are learnt from at a time.
_AT_ONCE = 8
# Name of the scores among the tensors of a saved model.
_HELD_OUT = "held_out_scores"


class AnomalyDetector(DenseEstimator):
    """Learn what good images look like, and tell how strange others are, and where.

    The method learns from the maps of good images only. Thresholds are set on good images that
    were held out: the training images are learnt from in folds, and each is scored by a
    detector that hasn't seen it. So a stated rate of false alarms is kept for images like
    these.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor
        As for `TransferSegmenter`: of one that is given by name, the whole image is squashed to
        `image_size`, and the maps are stored in float16.
    head : str, default="auto"
        The method, one of `transferkit.dense.anomaly.anomaly_methods`. ``"auto"`` is ``padim``
        if the good images show the same content in the same place, else ``patchcore``; see
        `transferkit.dense.anomaly.choose_method`.
    features : str or sequence of str, optional
        Maps that it learns from, such as ``["stage2", "stage3"]``; by default the last of each
        stride from 4 to 16 px.
    image_size : int or (int, int), optional
        Height and width of the network's input, px; as for `TransferSegmenter`. Small defects
        need a fine input.
    head_options : mapping, optional
        Options of the method, such as ``{"share": 0.02}`` of ``patchcore``.
    false_alarms : float, default=0.05
        Share of good images that may be said to be anomalous. The same share may have a pixel
        that is said to be anomalous.
    threshold : {"auto", "good", "f1"} or float, default="auto"
        How the images' threshold is set: by the good images (``"good"``), by the best F1 on the
        validation images (``"f1"``), or the number itself. ``"auto"`` is ``"f1"`` if there are
        anomalous validation images.
    folds : int, default=5
        Parts of the training images, each of which is held out once.
    seed : int, default=0
        Of whatever is drawn.
    store, device, batch_size, progress
        As for `FeatureExtractor`.

    Attributes
    ----------
    method_ : AnomalyMethod
        The method that has learnt from all good training images.
    choice_ : Choice
        Name of the method and, with ``head="auto"``, the alignment of the good images that
        it was chosen by.
    threshold_, pixel_threshold_ : float
        Images and pixels with a larger score are said to be anomalous.
    false_alarms_ : float or None
        Rate of false alarms that the images' threshold promises; None if it was set otherwise.
    held_out_scores_ : ndarray
        Scores of the good images by detectors that hadn't seen them.
    classes_ : tuple of str
        ``("good", "anomalous")``, the classes of a predicted map.

    See Also
    --------
    transferkit.metrics.anomaly_report : Measures predictions.
    TransferSegmenter : Learns from masks.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> good = random.integers(90, 110, (12, 64, 64, 3), dtype=np.uint8)
    >>> strange = good[:1].copy()
    >>> strange[0, 20:40, 20:40] = 255
    >>> detector = AnomalyDetector(
    ...     FeatureExtractor("resnet18", pretrained=False, image_size=64, store=False)
    ... )
    >>> detector.fit(good).is_anomalous(strange)
    array([ True])
    >>> bool(detector.predict(strange)[0].score_map[30, 30] > detector.pixel_threshold_)
    True
    """

    task_name = "anomaly"

    head: str
    strides = (4, 8, 16)

    method_: AnomalyMethod
    choice_: Choice
    threshold_: float
    pixel_threshold_: float
    false_alarms_: float | None
    held_out_scores_: NDArray[np.float64]

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor,
        head: str = "auto",
        *,
        features: str | Sequence[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
        head_options: Mapping[str, Any] | None = None,
        false_alarms: float = 0.05,
        threshold: str | float = "auto",
        folds: int = 5,
        seed: int = 0,
        store: FeatureStore | str | Path | bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.features = features
        self.image_size = image_size
        self.head_options = head_options
        self.false_alarms = false_alarms
        self.threshold = threshold
        self.folds = folds
        self.seed = seed
        self.store = store
        self.device = device
        self.batch_size = batch_size
        self.progress = progress

    # ---- fit ----

    def fit(
        self,
        images: Any,
        y: Any = None,
        *,
        validation: Any = None,
        on_error: str = "raise",
    ) -> Self:
        """Extract maps, learn from those of good images, and set the thresholds.

        Parameters
        ----------
        images
            Anything that `list_images` takes, good images only. If they have splits, ``train``
            is learnt from, and ``val`` is the validation part where there is a ``test`` split.
        y : sequence of str, bool or int, optional
            For each image ``"good"`` (``"normal"``, ``"ok"``) or what is wrong with it; or 0
            and 1. By default folders of these names tell it, and images without any label are
            good.
        validation : images, or (images, y), optional
            Images that aren't learnt from. Good ones help to set the thresholds; with anomalous
            ones the images' threshold is that of the best F1.
        on_error : {"raise", "skip"}, default="raise"
            Whether unreadable images raise an error, all of them by name, or are left out and
            kept in ``failures_``.

        Returns
        -------
        self

        Raises
        ------
        UnreadableImages
            If `on_error` is ``"raise"``; every one is named.
        ValueError
            If anomalous images are among those to learn from, or a parameter isn't allowed.
        """
        self._check_parameters()
        listed = told(self._listed(images), y)
        held_from = None
        if validation is not None:
            held_from = len(listed)
            listed = _with_validation(listed, *self._validation(validation))
        with self._as_before_on_error():
            usable = self.usable(listed, None, on_error)
            self.fit_parts(usable, self._parts(usable, held_from))
            self.failures_ = usable.failures
        return self

    def _validation(self, given: Any) -> tuple[ImageSet, NDArray[np.bool_]]:
        """Images and whether they are anomalous."""
        images, y = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        listed = told(self._listed(images), y)
        return listed, are_anomalous(listed, None)

    def _check_parameters(self) -> None:
        if self.head != "auto":
            create_anomaly_method(self.head, **self._options())
        elif self.head_options:
            raise ValueError(
                f"head_options are given for head='auto', which chooses one of "
                f"{', '.join(anomaly_methods())}; name the method that they are for"
            )
        if not 0 < self.false_alarms < 1:
            raise ValueError(
                f"false_alarms is {self.false_alarms!r}; give a share above 0 and below 1, such "
                "as 0.05"
            )
        is_number = isinstance(self.threshold, int | float) and np.isfinite(self.threshold)
        if not is_number and self.threshold not in ("auto", "good", "f1"):
            raise ValueError(
                f"threshold is {self.threshold!r}; give 'auto', 'good', 'f1' or a number"
            )
        if self.folds < 2:
            raise ValueError(
                f"folds is {self.folds!r}; give at least 2, so that images are held out"
            )

    def _options(self) -> dict[str, Any]:
        return {"seed": self.seed, **dict(self.head_options or {})}

    def _listed(self, images: Any) -> ImageSet:
        # Masks beside the images of an annotated folder are no images.
        is_folder = isinstance(images, str | Path) and Path(images).is_dir()
        return super()._listed(list_images(images, annotated=True) if is_folder else images)

    def usable(
        self, images: ImageSet, annotations: AnnotationSet | None, on_error: str = "raise"
    ) -> Usable:
        """Find the images that can be read, and extract their maps.

        Parameters
        ----------
        images, annotations, on_error
            As for `DenseEstimator.usable`. An image without annotations is usable too.
        """
        if annotations is None:
            return super().usable(images, None, on_error)
        known = np.flatnonzero(annotations.is_annotated)
        faults = [
            replace(fault, index=int(known[fault.index]))
            for fault in annotation_faults(annotations.select(known), images.select(known))
        ]
        bad = {fault.index for fault in faults}
        if faults and (on_error == "raise" or len(faults) == len(images)):
            raise FaultyAnnotations(faults, len(images))
        good = np.array([i for i in range(len(images)) if i not in bad], dtype=np.intp)
        usable = super().usable(images.select(good), None, on_error)
        unread = {failure.index for failure in usable.failures}
        kept = good[[i for i in range(len(good)) if i not in unread]]
        failures = [replace(f, index=int(good[f.index])) for f in usable.failures]
        return replace(
            usable,
            annotations=annotations.select(kept),
            failures=sorted([*faults, *failures], key=lambda failure: failure.index),
        )

    def divided(self, usable: Usable, share: float, seed: int = 0) -> Division:
        """Divide images by their splits; where there are none, hold out a share of the good ones.

        Parameters
        ----------
        usable, share, seed
            As for `DenseEstimator.divided`. Without splits all anomalous images are measured.
        """
        parts = super().divided(usable, share, seed)
        if parts.roles is not None:
            return parts
        anomalous = are_anomalous(usable.images, usable.annotations)
        strange = np.flatnonzero(anomalous)
        good = parts.measured[~anomalous[parts.measured]]
        measured = np.sort(np.concatenate([good, strange]))
        train = parts.train[~anomalous[parts.train]]
        return replace(parts, train=train, measured=measured)

    def _parts(self, usable: Usable, held_from: int | None) -> Division:
        """All images are learnt from, but for the splits and the validation part."""
        if held_from is None:
            if usable.images.splits is not None and any(usable.images.splits):
                return super().divided(usable, 0)
            at = np.arange(len(usable.images))
            return Division(at, at[:0], at[:0])
        n_train = held_from - sum(f.index < held_from for f in usable.failures)
        at = np.arange(len(usable.images))
        held, left_out = keep_apart(at[:n_train], at[n_train:], usable.ids)
        return Division(at[:n_train], held, at[:0], left_out=left_out)

    def fit_parts(self, usable: Usable, parts: Division, *, resume: bool = False) -> Self:
        """Learn from one part of some images, and set the thresholds on another too.

        Parameters
        ----------
        usable : Usable
            From `usable`.
        parts : Division
            Positions of both among them.
        resume : bool, default=False
            Ignored: there is nothing to go on from.

        Raises
        ------
        ValueError
            If anomalous images are among those to learn from.
        """
        self._check_parameters()
        anomalous = are_anomalous(usable.images, usable.annotations)
        self._refuse(usable.images, parts.train[anomalous[parts.train]], len(parts.train))
        self.classes_, self.failures_, self.facts_ = CLASSES, usable.failures, {}
        train = self.maps(usable.images.select(parts.train), is_training=True)
        self._keep_ids(train.extraction.ids)
        batches = self._batches(train)
        self.choice_ = Choice(self.head, None)
        if self.head == "auto":
            self.choice_ = choose_method(batches(None), seed=self.seed)
        self.method_ = self._learnt(batches(None))
        scores = self._held_out(train, batches)
        strange = scores[:0]
        if len(parts.validation):
            held = self.maps(usable.images.select(parts.validation), is_training=True)
            found = self._scored(self.method_, self._batches(held)(None))
            is_strange = anomalous[parts.validation]
            scores, strange = np.concatenate([scores, found[~is_strange]]), found[is_strange]
        self._set_thresholds(scores, strange)
        self.method_.cpu()
        return self

    def _refuse(self, images: ImageSet, strange: NDArray[np.intp], n: int) -> None:
        if len(strange):
            shown = ", ".join(repr(images.names[i]) for i in strange[:3])
            raise ValueError(
                f"{len(strange):,} of the {n:,} images to learn from are anomalous ({shown}); "
                "learn from good ones, and give the others as validation"
            )
        if not n:
            raise ValueError("there are no good images to learn from; give at least one")

    def _batches(self, maps: Maps) -> Callable[[NDArray[np.intp] | None], _Batches]:
        """Batches of some of the images' maps; of all for None."""
        names = self._levels(self.extractor_)
        device = choose_device(self.extractor_.device.partition(",")[0])
        return lambda at: _Batches(maps, names, device, at)

    def _learnt(self, batches: _Batches) -> AnomalyMethod:
        method = create_anomaly_method(self.choice_.method, **self._options())
        return method.fit(batches).eval()

    def _held_out(
        self, train: Maps, batches: Callable[[NDArray[np.intp] | None], _Batches]
    ) -> NDArray[np.float64]:
        """Scores of each training image and its strangest patch, by others than itself."""
        n, images = len(train), train.extraction.images
        groups = None
        if images is not None and images.groups is not None:
            groups = [images.groups[i] for i in train.extraction.kept]
        blocks = blocks_of(train.extraction.ids, groups)
        numbers = np.arange(n) if blocks is None else np.unique(blocks, return_inverse=True)[1]
        n_blocks = int(numbers.max()) + 1
        if n_blocks < 2:
            logger.warning(
                "the thresholds are set on the images that were learnt from, which is too low: "
                "%s can't be held out; give more good images, or some as validation",
                f"{n:,} images that are one" if n > 1 else "one image",
            )
            return self._scored(self.method_, batches(None))
        random = np.random.default_rng(self.seed)
        fold = (random.permutation(n_blocks) % min(self.folds, n_blocks))[numbers]
        scores = np.empty((n, 2))
        for part in range(int(fold.max()) + 1):
            held = np.flatnonzero(fold == part)
            method = self._learnt(batches(np.flatnonzero(fold != part)))
            scores[held] = self._scored(method, batches(held))
        return scores

    def _scored(self, method: AnomalyMethod, batches: _Batches) -> NDArray[np.float64]:
        """Score of each image and of its strangest patch, ``(n, 2)``."""
        found = []
        with torch.inference_mode():
            for maps in batches():
                patches, images = method(maps)
                found.append(torch.stack([images, patches.flatten(1).amax(1)], dim=1).cpu())
        return np.asarray(torch.cat(found).numpy(), dtype=np.float64)

    def _set_thresholds(self, good: NDArray[np.float64], strange: NDArray[np.float64]) -> None:
        """Set them from scores of images and strangest patches, of good and anomalous ones."""
        self.held_out_scores_ = good[:, 0]
        self.pixel_threshold_, _ = false_alarm_threshold(good[:, 1], self.false_alarms)
        self.threshold_, self.false_alarms_ = false_alarm_threshold(good[:, 0], self.false_alarms)
        rule = self.threshold
        if rule == "auto":
            rule = "f1" if len(strange) else "good"
        if rule == "f1":
            if not len(strange):
                raise ValueError(
                    "threshold is 'f1', but no validation image is anomalous; give some, or "
                    "threshold='good'"
                )
            both = np.concatenate([good[:, 0], strange[:, 0]])
            self.threshold_ = f1_threshold(both, np.arange(len(both)) >= len(good))
            self.false_alarms_ = None
        elif isinstance(rule, int | float):
            self.threshold_, self.false_alarms_ = float(rule), None
        elif self.false_alarms_ > self.false_alarms:
            logger.warning(
                "%s good images can't promise %.1f %% of false alarms; the thresholds promise "
                "%.1f %%",
                f"{len(good):,}", 100 * self.false_alarms, 100 * self.false_alarms_,
            )  # fmt: skip

    def description(self) -> str:
        """What was learnt, in a few words."""
        text = self.choice_.method
        if self.choice_.alignment is not None:
            text += f" (chosen for an alignment of {self.choice_.alignment:.2f})"
        text += f", threshold {self.threshold_:.4g}"
        if self.false_alarms_ is not None:
            text += f" for at most {100 * self.false_alarms_:.1f} % of false alarms"
        return text

    # ---- predict and measure ----

    def _annotated(
        self, levels: list[Tensor], frames: list[Frame], sizes: list[tuple[int, int]]
    ) -> list[Annotations]:
        method = self.method_.to(levels[0].device)
        patches, images = method(_feature_maps(levels, self._levels(self.extractor_)))
        found = []
        for i, (frame, size) in enumerate(zip(frames, sizes, strict=True)):
            scores = scores_in_image(patches[i], frame, self.input_size_, size)
            marked = (scores > self.pixel_threshold_).astype(np.int16)
            found.append(Annotations(size, map=marked, score=float(images[i]), score_map=scores))
        return found

    def scores(self, images: Any) -> NDArray[np.float64]:
        """Score of every image: the larger, the stranger.

        Parameters
        ----------
        images
            As for `predict`. No maps are made in the images' px, so it is quicker.

        Returns
        -------
        ndarray of shape (n_images,)
        """
        maps = self.maps(images)
        if not len(maps):
            return np.empty(0)
        batches = self._batches(maps)(None)
        return self._scored(self.method_.to(batches.device), batches)[:, 0]

    def is_anomalous(self, images: Any) -> NDArray[np.bool_]:
        """Tell whether each image's score is above the threshold.

        Parameters
        ----------
        images
            As for `predict`.

        Returns
        -------
        ndarray of bool, shape (n_images,)
        """
        flagged: NDArray[np.bool_] = self.scores(images) > self.threshold_
        return flagged

    def measure(
        self, images: Any, annotations: Any = None, *, y: Any = None, on_error: str = "raise"
    ) -> AnomalyReport:
        """Compare scores with the truth, in the images' px.

        Parameters
        ----------
        images
            Anything that `list_images` takes.
        annotations
            Anything that `read_annotations` takes: masks in which 0 is good. By default they are
            looked for beside the images, and without them images alone are measured.
        y
            As for `fit`.
        on_error : {"raise", "skip"}, default="raise"
            Whether unreadable images raise, or are left out.
        """
        return self.report_of(self.counted(images, annotations, y=y, on_error=on_error))

    def counted(
        self, images: Any, annotations: Any = None, *, y: Any = None, on_error: str = "raise"
    ) -> AnomalyScores:
        """Gather the scores beside the truth, of one image after the other; see `report_of`.

        Parameters
        ----------
        images, annotations, y, on_error
            As for `measure`.
        """
        listed = told(self._listed(images), y)
        found = _annotations_of(listed, annotations)
        maps = self.maps(listed, on_error)
        kept = maps.extraction.kept
        strange = are_anomalous(listed, found)[kept]
        truth = (
            found[i] if found is not None and found.items[i] is not None else None
            for i in kept.tolist()
        )  # fmt: skip
        predicted = (annotations for _, annotations in self.predictions(maps))
        return gather_scores(truth, predicted, strange, self.threshold_)

    def report_of(self, counts: AnomalyScores) -> AnomalyReport:
        """Make the report of scores that are gathered."""
        return report_of_scores(counts)

    def score(self, images: Any, y: Any = None) -> float:
        """Image AUROC of the scores.

        Parameters
        ----------
        images, y
            As for `fit`; there must be good and anomalous images.
        """
        listed = told(self._listed(images), y)
        strange = are_anomalous(listed, _annotations_of(listed, None))
        found = self.scores(listed)
        blank = (Annotations((1, 1), score=float(score)) for score in found)
        value = anomaly_report([None] * len(found), blank, strange).image_auroc
        return float("nan") if value is None else value

    def line(self, annotations: Annotations | None) -> dict[str, Any]:
        """Score of an image, whether it is anomalous, and the share of pixels that are."""
        if annotations is None or annotations.map is None or annotations.score is None:
            return {"score": None, "is_anomalous": None, "share": None}
        return {
            "score": annotations.score,
            "is_anomalous": bool(annotations.score > self.threshold_),
            "share": float((annotations.map == 1).mean()),
        }

    # ---- files ----

    def _head_to_save(self) -> artifacts.ModuleHead:
        tensors = {n: t.detach().cpu().numpy() for n, t in self.method_.state_dict().items()}
        arguments = {
            "method": self.choice_.method,
            "options": self.method_.options,
            "alignment": self.choice_.alignment,
            "threshold": self.threshold_,
            "pixel_threshold": self.pixel_threshold_,
            "false_alarms": self.false_alarms_,
        }
        tensors[_HELD_OUT] = self.held_out_scores_
        return artifacts.ModuleHead(self.choice_.method, arguments, tensors)

    def _restore(self, head: artifacts.ModuleHead) -> None:
        told_of = dict(head.arguments)
        self.held_out_scores_ = np.asarray(head.tensors[_HELD_OUT], dtype=np.float64)
        self.method_ = method_of(head)
        if self.method_.patches.n_levels != len(self.extractor_.feature_names):
            raise ValueError("it has learnt from another number of maps")
        self.choice_ = Choice(str(told_of["method"]), _number(told_of["alignment"]))
        self.threshold_ = float(told_of["threshold"])
        self.pixel_threshold_ = float(told_of["pixel_threshold"])
        self.false_alarms_ = _number(told_of["false_alarms"])
        self.head = self.choice_.method
        self.head_options = told_of["options"]


def method_of(head: artifacts.ModuleHead) -> AnomalyMethod:
    """Make the method again that a saved detector has.

    Parameters
    ----------
    head : ModuleHead
        Of the saved model.

    Raises
    ------
    ValueError
        If its tensors and its arguments don't belong together.
    """
    told_of = head.arguments
    method = create_anomaly_method(str(told_of["method"]), **told_of["options"])
    tensors = {n: torch.from_numpy(t) for n, t in head.tensors.items() if n != _HELD_OUT}
    return method.restore(tensors).eval()


class _Batches:
    """Maps of some images as the methods take them: a batch at a time, as often as asked."""

    def __init__(
        self,
        maps: Maps,
        levels: Sequence[Level],
        device: torch.device,
        at: NDArray[np.intp] | None,
    ) -> None:
        self.maps, self.levels, self.device = maps, levels, device
        self.at = np.arange(len(maps)) if at is None else at

    def __call__(self) -> Iterator[FeatureMaps]:
        for start in range(0, len(self.at), _AT_ONCE):
            at = self.at[start : start + _AT_ONCE]
            rows = [torch.from_numpy(np.asarray(level[at])) for level in self.maps.levels]
            yield _feature_maps([row.to(self.device) for row in rows], self.levels)


def _feature_maps(rows: Sequence[Tensor], levels: Sequence[Level]) -> FeatureMaps:
    maps = {level.name: row for level, row in zip(levels, rows, strict=True)}
    return FeatureMaps(maps, {level.name: level.stride for level in levels})


def _with_validation(train: ImageSet, held: ImageSet, is_strange: NDArray[np.bool_]) -> ImageSet:
    """Both, one after the other, labelled by whether they are good."""
    strange = np.concatenate([are_anomalous(train, None), is_strange])
    labels = tuple(CLASSES[int(one)] for one in strange)
    return replace(joined(train, held), labels=labels)


def _annotations_of(images: ImageSet, given: Any) -> AnnotationSet | None:
    """Annotations that are given or found beside the images; None if there are none."""
    if given is not None:
        return read_annotations(given, images)
    try:
        return read_annotations(None, images)
    except NoAnnotations:
        return None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
