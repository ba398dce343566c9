"""`FeatureExtractor`: images → features, as a scikit-learn transformer."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from transferkit.backbones import Backbone, resolve_backbone
from transferkit.extract import Extraction, Plan, extract, plan
from transferkit.images import list_images
from transferkit.pooling import parse_feature
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore

__all__ = ["FeatureExtractor", "side_by_side"]

# Options that say how a backbone given by name is made, and their defaults.
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
    "arguments": None,
}


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Images → features of a frozen backbone, kept in a store.

    A stateless transformer for `Pipeline` and `GridSearchCV`; copies share the store and
    never reload the network.

    Parameters
    ----------
    backbone : str, Backbone or BackboneSpec
        A name as for `create_backbone`, or a backbone that was made already.
    features : str or sequence of str, default="pre_logits"
        Feature names, ``layer[.pooling]``; several (a list, or with commas between) are put
        side by side.
    pretrained, weights, seed, image_size, crop_pct, crop_mode, interpolation, exif, decode
        As for `transferkit.backbones.resolve_backbone`.
    arguments : mapping, optional
        Creation arguments of the network, such as ``{"output_stride": 16}``.
    store : FeatureStore, path, None or False, default=None
        Where features are kept: None is the default place (``$TRANSFERKIT_STORE``, else
        the user's cache directory), False keeps nothing.
    device : str, default="auto"
        A GPU when there is one, else the CPU; several with commas between have a process
        each, as in ``"cuda:0,cuda:1"``.
    precision : {"float32", "bf16", "fp16"}, default="float32"
        Numeric class of the forward pass.
    storage : {"float32", "float16"}, default="float32"
        Numeric type of the stored rows.
    engine : {"auto", "torch", "compile", "openvino"}, default="auto"
        What computes; see `transferkit.forward.Forward`.
    batch_size : int, optional
        Images per forward pass.
    progress : bool, default=False
        Whether a progress bar is shown on stderr.

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
        arguments: Mapping[str, Any] | None = None,
        store: FeatureStore | str | Path | bool | None = None,
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
        self.arguments = arguments
        self.store = store
        self.device = device
        self.precision = precision
        self.storage = storage
        self.engine = engine
        self.batch_size = batch_size
        self.progress = progress

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, as a list."""
        given = self.features.split(",") if isinstance(self.features, str) else self.features
        return [name.strip() for name in given]

    def fit(self, images: Any, y: Any = None) -> Self:
        """Do nothing but check that the backbone exists.

        Parameters
        ----------
        images, y
            Ignored.
        """
        self.resolve()
        return self

    def resolve(self) -> BackboneSpec:
        """Return the backbone's spec, without building it.

        Raises
        ------
        ValueError
            If the backbone is unknown, or is made already and options are given beside it.
        """
        if isinstance(self.backbone, BackboneSpec | Backbone):
            given = [n for n, default in _FOR_A_NAME.items() if getattr(self, n) != default]
            if given:
                raise ValueError(
                    f"{', '.join(given)} {'was' if len(given) == 1 else 'were'} given beside a "
                    f"{type(self.backbone).__name__}, which is made already; give it there, or "
                    f"give the backbone by name"
                )
            return self.backbone if isinstance(self.backbone, BackboneSpec) else self.backbone.spec
        return resolve_backbone(
            self.backbone,
            self.pretrained,
            weights=self.weights,
            seed=self.seed,
            image_size=self.image_size,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            interpolation=self.interpolation,
            exif=self.exif,
            decode=self.decode,
            **dict(self.arguments or {}),
        )

    def open_store(self) -> FeatureStore | None:
        """Return the store that is used; None if nothing is kept."""
        if self.store is False:
            return None
        if isinstance(self.store, FeatureStore):
            return self.store
        if self.store is True:
            raise ValueError("store is True; give a path, None for the default place, or False")
        return FeatureStore(self.store)

    def extract(
        self, images: Any, *, on_error: str = "raise", keep_rows: bool = True
    ) -> Extraction:
        """Features by name, with what it took to get them.

        Parameters
        ----------
        images
            Anything that `list_images` takes: a folder, a CSV, paths, images, arrays.
        on_error : {"raise", "skip"}, default="raise"
            Whether unreadable images raise, all of them by name, or are left out.
        keep_rows : bool, default=True
            False fills the store and checks every row in it, without gathering them.

        Returns
        -------
        Extraction
            Rows in the images' order.
        """
        spec = self.resolve()
        return extract(
            list_images(images),
            self.backbone if isinstance(self.backbone, Backbone) else spec,
            self.feature_names,
            self.open_store(),
            device=self.device,
            precision=self.precision,
            storage=self.storage,
            engine=self.engine,
            batch_size=self.batch_size,
            on_error=on_error,
            keep_rows=keep_rows,
            progress=self.progress,
        )

    def plan(self, images: Any) -> Plan:
        """What extracting would take, from a few timed batches; nothing is stored.

        Parameters
        ----------
        images
            Anything that `list_images` takes.
        """
        spec = self.resolve()
        with contextlib.ExitStack() as stack:
            store = self.open_store()
            if store is None:
                store = FeatureStore(stack.enter_context(tempfile.TemporaryDirectory()))
            return plan(
                list_images(images),
                self.backbone if isinstance(self.backbone, Backbone) else spec,
                self.feature_names,
                store,
                device=self.device,
                precision=self.precision,
                storage=self.storage,
                engine=self.engine,
                batch_size=self.batch_size,
            )

    def transform(self, images: Any) -> np.ndarray:
        """Features, one row per image.

        Parameters
        ----------
        images
            Anything that `list_images` takes: a folder, a CSV, paths, images, arrays.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the images' order; ``(n, D, H, W)`` for one dense feature.

        Raises
        ------
        UnreadableImages
            If images can't be read; every one is named.
        """
        return side_by_side(self.extract(images))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        return tags


def check_vectors(features: Sequence[str]) -> None:
    """Raise a ValueError if a feature is a map: a head takes vectors."""
    for feature in features:
        name = parse_feature(feature)
        if name.pooling == "map":
            raise ValueError(
                f"feature {str(name)!r} is a map, and a head takes vectors; pool it, as in "
                f"'{name.layer}.avg'"
            )


def side_by_side(extraction: Extraction) -> np.ndarray:
    """Rows of all features as one array.

    Parameters
    ----------
    extraction : Extraction
        One feature, or several pooled ones.

    Raises
    ------
    ValueError
        If a dense feature is to stand beside another one.
    """
    rows = list(extraction.rows.values())
    if len(rows) == 1:
        return rows[0]
    dense = [name for name, array in extraction.rows.items() if array.ndim > 2]
    if dense:
        raise ValueError(
            f"feature {dense[0]!r} is a map and can't stand beside others; pool it, or extract "
            f"it alone"
        )
    return np.concatenate(rows, axis=1)
