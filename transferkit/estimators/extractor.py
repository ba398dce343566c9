"""`FeatureExtractor` turns images into features, as a scikit-learn transformer."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from transferkit.backbones import Backbone, resolve_backbone
from transferkit.datasets import RowsSideBySide, chosen_rows
from transferkit.estimators._memory import known_in_process, process_store
from transferkit.extract import Estimate, Extraction, View, extract, plan
from transferkit.extract.bags import check_reduction, failures_of_items, reduced
from transferkit.extract.identities import Identities
from transferkit.extract.job import specs_of
from transferkit.extract.result import feature_columns
from transferkit.images import ImageSet, UnreadableImages, list_images
from transferkit.pooling import parse_feature
from transferkit.spec import BackboneSpec, FeatureSpec
from transferkit.store import FeatureStore

__all__ = ["FeatureExtractor", "side_by_side"]

# Options for making a backbone from its name, and their defaults.
_FOR_A_NAME = {
    "pretrained": True,
    "weights": None,
    "seed": 0,
    "image_size": None,
    "crop_pct": None,
    "crop_mode": None,
    "interpolation": None,
    "exif": False,
    "decode": "exact",
    "in_chans": None,
    "mean": None,
    "std": None,
    "value_range": None,
    "window": False,
    "bands": None,
    "layout": "HWC",
    "arguments": None,
}

# Row shapes of the features that this process has seen, by the feature's key.
_ROW_SHAPES: dict[str, tuple[int, ...]] = {}


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Turn images into features of a frozen backbone, which are kept in a store.

    This is a stateless transformer for `Pipeline`, `ColumnTransformer` and `GridSearchCV`. Its
    copies share the store and never reload the network.

    Parameters
    ----------
    backbone : str, Backbone or BackboneSpec
        A name as for `create_backbone`, or a backbone that was made already.
    features : str or sequence of str, default="pre_logits"
        Feature names, ``layer[.pooling]``, as a list or a text with commas. The rows of several
        features are joined side by side.
    pretrained, weights, seed, image_size, crop_pct, crop_mode, interpolation, exif, decode
        As for `transferkit.backbones.resolve_backbone`.
    in_chans, mean, std, value_range, window, bands, layout
        What the images' channels and values are, if not 8-bit RGB; likewise.
    arguments : mapping, optional
        Creation arguments of the network, such as ``{"output_stride": 16}``.
    reduce : {"mean", "max", "concat"}, default="mean"
        How the features of an item's several images become its one row: their mean, their
        maximum, or all of them side by side. The store keeps a row of every single image.
    store : FeatureStore, path, URL, None or False, default=None
        Where features are kept. None is the default store (``$TRANSFERKIT_STORE``, else a
        folder in the user's cache directory); False keeps nothing. The default store never
        holds features of images in memory (bytes, open files, PIL images, arrays), nor any of
        a call that has one among its images. Such features are kept until the process ends if
        a ``fit`` computes them, and not at all if ``transform`` or ``predict`` does. A store
        that is given here keeps them too.
    on : str, default="local"
        ``"local"`` is this machine, ``"ray"`` or ``"ray:ADDRESS"`` a cluster of Ray's, whose nodes
        see the same files and the same store; see `transferkit.extract.extract`.
    device : str, default="auto"
        ``"auto"`` is a GPU if there is one, else the CPU. Several devices, such as
        ``"cuda:0,cuda:1"``, run in a process each.
    precision : {"float32", "bf16", "fp16"}, default="float32"
        Numeric class of the forward pass.
    storage : {"float32", "float16", "int8"}, default="float32"
        Numeric class of the stored rows. int8 takes a quarter of float32's bytes: each value
        moves by up to 1/254 of the largest of its image's channel, or of its 64 neighbours in a
        vector. What that costs is measured on a sample (`transferkit.store.Certificate`).
    engine : {"auto", "torch", "compile", "openvino"}, default="auto"
        Library that runs the network; see `transferkit.forward.Forward`.
    batch_size : int, optional
        Images per forward pass.
    progress : bool, default=False
        Whether a progress bar is shown on stderr.

    See Also
    --------
    TransferClassifier : Trains a head on the features.
    list_images : Lists images as every method here takes them.
    FeatureStore : Keeps the features.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("resnet18", pretrained=False, image_size=64, store=False)
    >>> extractor.transform(images).shape
    (4, 512)
    """

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec,
        features: str | Sequence[str] = "pre_logits",
        *,
        pretrained: bool = True,
        weights: str | Path | None = None,
        seed: int = 0,
        image_size: int | tuple[int, int] | None = None,
        crop_pct: float | None = None,
        crop_mode: str | None = None,
        interpolation: str | None = None,
        exif: bool = False,
        decode: str = "exact",
        in_chans: int | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        value_range: Sequence[float] | None = None,
        window: bool = False,
        bands: Sequence[int] | None = None,
        layout: str = "HWC",
        arguments: Mapping[str, Any] | None = None,
        reduce: str = "mean",
        store: FeatureStore | str | Path | bool | None = None,
        on: str = "local",
        device: str = "auto",
        precision: str = "float32",
        storage: str = "float32",
        engine: str = "auto",
        batch_size: int | None = None,
        progress: bool = False,
    ) -> None:
        self.backbone = backbone
        self.features = features
        self.pretrained = pretrained
        self.weights = weights
        self.seed = seed
        self.image_size = image_size
        self.crop_pct = crop_pct
        self.crop_mode = crop_mode
        self.interpolation = interpolation
        self.exif = exif
        self.decode = decode
        self.in_chans = in_chans
        self.mean = mean
        self.std = std
        self.value_range = value_range
        self.window = window
        self.bands = bands
        self.layout = layout
        self.arguments = arguments
        self.reduce = reduce
        self.store = store
        self.on = on
        self.device = device
        self.precision = precision
        self.storage = storage
        self.engine = engine
        self.batch_size = batch_size
        self.progress = progress

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, as a list."""
        names = self.features.split(",") if isinstance(self.features, str) else self.features
        return [name.strip() for name in names]

    def fit(self, images: Any, y: Any = None) -> Self:
        """Check that the backbone exists. Nothing is learnt.

        Parameters
        ----------
        images
            Looked at only if rows are to stand side by side (``reduce="concat"``): later
            items must have as many images.
        y
            Ignored.
        """
        self.resolve()
        if self.reduce == "concat" and images is not None:
            listed = list_images(images)
            check_reduction(listed, self.reduce)
            self.n_images_ = int(listed.n_images[0])
        return self

    def fit_transform(self, images: Any, y: Any = None) -> np.ndarray:
        """Extract features, one row per item. Those of images in memory are kept in this process.

        Parameters
        ----------
        images
            Anything that `list_images` takes.
        y
            Ignored.
        """
        listed = list_images(images)
        return np.asarray(side_by_side(self.fit(listed).extract(listed, remember=True)))

    def resolve(self) -> BackboneSpec:
        """Return the backbone's spec, without building it.

        Raises
        ------
        ValueError
            If the backbone is unknown, or is made already and options are given beside it.
        """
        if isinstance(self.backbone, BackboneSpec | Backbone):
            named = [n for n, default in _FOR_A_NAME.items() if getattr(self, n) != default]
            if named:
                raise ValueError(
                    f"{', '.join(named)} {'was' if len(named) == 1 else 'were'} given beside a "
                    f"{type(self.backbone).__name__}, which is made already; give it there, or "
                    f"give the backbone by name"
                )
            return self.backbone if isinstance(self.backbone, BackboneSpec) else self.backbone.spec
        options = {name: getattr(self, name) for name in _FOR_A_NAME if name != "arguments"}
        arguments = dict(self.arguments or {})
        if twice := [name for name in arguments if name in options]:
            raise ValueError(
                f"argument {twice[0]!r} is an option of its own: {twice[0]} "
                f"(--{twice[0].replace('_', '-')})"
            )
        return resolve_backbone(self.backbone, **options, **arguments)

    def open_store(self) -> FeatureStore | None:
        """Return the store of this extractor, or None if it keeps nothing."""
        if self.store is False:
            return None
        if isinstance(self.store, FeatureStore):
            return self.store
        if self.store is True:
            raise ValueError("store is True; give a path, None for the default place, or False")
        return FeatureStore(self.store)

    def store_for(
        self, images: ImageSet, *, remember: bool = False, view: View | None = None
    ) -> FeatureStore | None:
        """Return the store for the features of these images, or None if they aren't kept.

        Parameters
        ----------
        images : ImageSet
            If one is in memory and no store was chosen, it isn't the default one.
        remember : bool, default=False
            Whether features of images in memory are kept in this process.
        view : View, optional
            Of which the features are.
        """
        if self.store is not None or not images.is_in_memory:
            return self.open_store()
        if remember:
            return process_store()
        store = known_in_process()
        if store is None:
            return None
        specs = self._specs(view)
        exif = next(iter(specs.values())).preprocess.exif
        ids = Identities(images.singles(), exif=exif).readable_ids
        is_whole = not any(store.missing(spec, ids) for spec in specs.values())
        return store if is_whole else None

    def extract(
        self,
        images: Any,
        *,
        on_error: str = "raise",
        keep_rows: bool | Literal["stored", "fitting"] = True,
        remember: bool = False,
        view: View | None = None,
    ) -> Extraction:
        """Extract features by name, with statistics of the work.

        Parameters
        ----------
        images
            Anything that `list_images` takes: a folder, a CSV, paths, images, arrays, data
            sets; lists of lists where an item has several images.
        on_error : {"raise", "skip"}, default="raise"
            Whether unreadable images raise, all of them by name, or are left out. An item of
            several images is left out if one of them can't be read.
        keep_rows : bool, "stored" or "fitting", default=True
            False fills the store and checks every row in it, without gathering them. With
            ``"stored"`` they are left there to be read from ``Extraction.stored``, where there
            is a store and every item has one image. With ``"fitting"`` they are gathered if
            they fit well into memory, and else are checked and left there.
        remember : bool, default=False
            Whether features of images in memory are kept in this process if no store was
            chosen, as ``fit`` does.
        view : View, optional
            A view of the images, such as `transferkit.extract.mirrored`, whose rows are
            returned instead of the plain ones.

        Returns
        -------
        Extraction
            Rows in the images' order.
        """
        listed = list_images(images)
        check_reduction(listed, self.reduce)
        self._check_number(listed)
        store = self.store_for(listed, remember=remember, view=view)
        if (listed.n_images == 1).all():
            extraction = self._extract(listed, store, on_error, keep_rows, view)
            paths = tuple(listed.names[i] for i in extraction.kept)
            return dataclasses.replace(extraction, paths=paths)
        skip = "skip" if on_error == "raise" else on_error
        try:
            extraction = self._extract(listed.singles(), store, skip, bool(keep_rows), view)
        except UnreadableImages as error:  # not one could be read
            failures = failures_of_items(error.failures, listed)
            raise UnreadableImages(failures, len(listed)) from None
        extraction = reduced(extraction, listed, self.reduce)
        if extraction.failures and (on_error == "raise" or not len(extraction.kept)):
            raise UnreadableImages(extraction.failures, len(listed))
        return extraction

    def _extract(
        self,
        images: ImageSet,
        store: FeatureStore | None,
        on_error: str,
        keep_rows: bool | Literal["stored", "fitting"],
        view: View | None = None,
        on: str | None = None,
    ) -> Extraction:
        extraction = extract(
            images,
            self._network(),
            self.feature_names,
            store,
            **self._forward_options(),
            on=on or self.on,
            on_error=on_error,
            keep_rows=keep_rows,
            progress=self.progress,
            view=view,
        )
        for name, spec in self._specs().items():
            _ROW_SHAPES[spec.key] = extraction.rows[name].shape[1:]
        return extraction

    def _network(self) -> Backbone | BackboneSpec:
        """The network that was given, or what it takes to build it."""
        return self.backbone if isinstance(self.backbone, Backbone) else self.resolve()

    def _forward_options(self) -> dict[str, Any]:
        """How rows are computed and stored, as options of `extract` and `plan`."""
        names = ("device", "precision", "storage", "engine", "batch_size")
        return {name: getattr(self, name) for name in names}

    def _specs(self, view: View | None = None) -> dict[str, FeatureSpec]:
        """Specs of the features, by canonical name."""
        return specs_of(
            self.resolve(),
            self.feature_names,
            precision=self.precision,
            storage=self.storage,
            view=0 if view is None else view.number,
        )

    def _check_number(self, images: ImageSet) -> None:
        """Raise a ValueError if concatenated rows would have another length than in `fit`."""
        n_fitted = getattr(self, "n_images_", None)
        n_now = int(images.n_images[0])
        if self.reduce == "concat" and n_fitted not in (None, n_now):
            raise ValueError(
                f"the items have {n_now} image{'s' * (n_now != 1)} each, and those of fit had "
                f"{n_fitted}; side by side (reduce='concat') they must be as many: give {n_fitted}"
            )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of `transform`, such as ``stage3.avg_17``.

        Parameters
        ----------
        input_features
            Ignored.

        Returns
        -------
        ndarray of str objects

        Raises
        ------
        ValueError
            If a feature is a map; or if rows are put side by side, and how many isn't known
            before ``fit``.
        """
        specs = self._specs()
        if any(spec.key not in _ROW_SHAPES for spec in specs.values()):
            one = list_images(np.zeros((1, 64, 64, 3), np.uint8))
            self._extract(one, None, "raise", True, on="local")
        shapes = {name: _ROW_SHAPES[spec.key] for name, spec in specs.items()}
        if self.reduce == "concat":
            n_images = getattr(self, "n_images_", None)
            if n_images is None:
                raise ValueError(
                    "with reduce='concat' the columns are known after fit: call fit(images) first"
                )
            shapes = {n: (n_images * shape[0], *shape[1:]) for n, shape in shapes.items()}
        return np.array(feature_columns(shapes), dtype=object)

    def plan(self, images: Any, *, views: Sequence[View | None] = (None,)) -> Estimate:
        """Estimate what extracting would take, by timing a few batches. Nothing is stored.

        Parameters
        ----------
        images
            Anything that `list_images` takes.
        views : sequence of View or None, default=(None,)
            The views that would be extracted; None is the plain images.
        """
        self.resolve()  # says now what is wrong with the backbone
        listed = list_images(images)
        with contextlib.ExitStack() as stack:
            store = self.store_for(listed)
            if store is None:
                store = FeatureStore(stack.enter_context(tempfile.TemporaryDirectory()))
            return plan(
                listed.singles(),
                self._network(),
                self.feature_names,
                store,
                **self._forward_options(),
                views=views,
            )

    def transform(self, images: Any) -> np.ndarray:
        """Extract features, one row per item.

        Parameters
        ----------
        images
            Anything that `list_images` takes: a folder, a CSV, paths, images, arrays. Images
            in memory are computed at every call, unless `store` says where to keep them.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the images' order; ``(n, D, H, W)`` for one dense feature.

        Raises
        ------
        UnreadableImages
            If images can't be read; every one is named.
        """
        return np.asarray(side_by_side(self.extract(images)))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        return tags


def check_vectors(features: Sequence[str]) -> None:
    """Raise a ValueError if a feature is a map, because a head takes vectors."""
    for feature in features:
        name = parse_feature(feature)
        if name.pooling == "map":
            raise ValueError(
                f"feature {str(name)!r} is a map, and a head takes vectors; pool it, as in "
                f"'{name.layer}.avg'"
            )


def side_by_side(
    extraction: Extraction,
    positions: Sequence[int] | np.ndarray | None = None,
    *,
    memory: int | None = None,
) -> Any:
    """Join the rows of all features side by side.

    Parameters
    ----------
    extraction : Extraction
        One feature, or several pooled ones.
    positions : sequence of int, optional
        Which of the kept images, in the order wanted; by default all. Rows that the extraction
        left in the store are read from there, straight into the array.
    memory : int, optional
        Bytes; rows in the store that take more stay there, as `UnreadRows` or `StoredRows`.

    Returns
    -------
    ndarray or unread rows
        Of shape ``(n, d)``, or that of the only feature.

    Raises
    ------
    ValueError
        If a dense feature is to stand beside another one.
    """
    is_gathered = all(len(rows) == len(extraction.ids) for rows in extraction.rows.values())
    sources: list[Any] = list((extraction.rows if is_gathered else extraction.stored).values())
    at = slice(None) if positions is None else np.asarray(positions, dtype=np.intp)
    if len(sources) > 1:
        dense = [name for name, array in extraction.rows.items() if array.ndim > 2]
        if dense:
            raise ValueError(
                f"feature {dense[0]!r} is a map and can't stand beside others; pool it, or extract "
                f"it alone"
            )
    if is_gathered:
        chosen = sources if positions is None else [source[at] for source in sources]
        return chosen[0] if len(chosen) == 1 else np.concatenate(chosen, axis=1)
    unread = chosen_rows(sources[0] if len(sources) == 1 else RowsSideBySide(sources), at)
    return unread if memory is not None and unread.nbytes > memory else np.asarray(unread)
