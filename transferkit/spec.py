"""Specs hold everything that decides a feature: `Preprocess`, `BackboneSpec`, `FeatureSpec`.

A cache key is a value that can be printed. Everything that can change a feature stands
in a `FeatureSpec`, fully resolved; what only moves it within rounding (device, threads,
batch size, versions) and what merely names it (paths, tags) does not.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, get_args

__all__ = [
    "CROP_MODES",
    "DECODE_MODES",
    "INTERPOLATIONS",
    "LAYOUTS",
    "PRECISIONS",
    "STORAGE_DTYPES",
    "BackboneSpec",
    "FeatureSpec",
    "Preprocess",
    "canonical_json",
]

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")
PRECISIONS = ("float32", "fp16", "bf16")
DECODE_MODES = ("exact", "scaled")
LAYOUTS = ("HWC", "CHW")
STORAGE_DTYPES = ("float32", "float16", "int8")
FORMAT_VERSION = 1
# No network takes more pixels than this; a larger number is a typing error.
MAX_INPUT_PIXELS = 100_000_000


def canonical_json(value: object) -> str:
    """JSON with one spelling per value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


_WORDS = {str: "a text", int: "a whole number", bool: "true or false", float: "a finite number"}


def _check_types(kind: type, values: Mapping[str, Any]) -> None:
    """Raise a ValueError unless values from JSON are of their fields' types.

    A stranger's file may hold anything. Without this check it ends in an error that nobody
    understands, or in none.
    """
    for one in dataclasses.fields(kind):
        if one.name not in values:
            continue
        value, wanted = values[one.name], one.type
        several = get_args(wanted)
        if several and not (isinstance(value, tuple) and all(_is(v, several[0]) for v in value)):
            raise ValueError(f"{one.name} is {value!r:.60}; give a list of numbers")
        if wanted in _WORDS and not _is(value, wanted):
            raise ValueError(f"{one.name} is {value!r:.60}; give {_WORDS[wanted]}")


def _is(value: Any, kind: Any) -> bool:
    # Not isinstance: True is an int.
    if kind is float:
        return type(value) in (int, float) and abs(value) < math.inf
    return type(value) is kind


def _one_of(what: str, given: object, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ValueError(f"{what} is {given!r}; choose one of {', '.join(allowed)}")


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes the network's input, with every setting resolved.

    Parameters
    ----------
    image_size : (int, int)
        Height and width of the network's input, px.
    interpolation : str
        Resampling filter, one of `INTERPOLATIONS`; always antialiased.
    crop_pct : float
        Input size over the size that the image is resized to, in (0, 1].
    crop_mode : {"center", "squash", "border"}
        What happens to the aspect ratio, as timm defines it: crop the centre, squash,
        or add a border of the mean colour.
    mean, std : tuple of float
        Per channel, for pixels scaled to [0, 1].
    decode : {"exact", "scaled"}, default="exact"
        Decode mode: every pixel; or JPEGs at a half, a quarter or an eighth of their size
        where at least twice the resized image's pixels remain, which is quicker for
        photographs of many megapixels and moves features a little.
    exif : bool, default=False
        Whether the EXIF orientation is applied. Published protocols don't apply it.
    value_range : (float, float) or (), default=()
        The values of an image that become 0 and 1; what lies outside is clipped. Empty means 8
        bits, 0 to 255, and images of more bits are refused.
    window : bool, default=False
        Whether a DICOM file's own window is its range instead.
    bands : tuple of int, default=()
        The channels that are taken, in this order, from 1; empty for all.
    layout : {"HWC", "CHW"}, default="HWC"
        Where the channels of an array are: last or first. With ``"CHW"`` the pages of a TIFF are
        channels too.

    Notes
    -----
    The last four are left out of the JSON while they have their defaults, so that keys are what
    they were before these fields existed.
    """

    image_size: tuple[int, int]
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    decode: str = "exact"
    exif: bool = False
    value_range: tuple[float, ...] = ()
    window: bool = False
    bands: tuple[int, ...] = ()
    layout: str = "HWC"

    def __post_init__(self) -> None:
        if len(self.image_size) != 2 or any(
            not isinstance(s, int) or s < 1 for s in self.image_size
        ):
            raise ValueError(
                f"image_size is {self.image_size!r}; give (height, width) in whole pixels above 0"
            )
        if self.image_size[0] * self.image_size[1] > MAX_INPUT_PIXELS:
            raise ValueError(
                f"image_size is {self.image_size[0]} × {self.image_size[1]} px; give at most "
                f"{MAX_INPUT_PIXELS // 10**6} megapixels"
            )
        _one_of("interpolation", self.interpolation, INTERPOLATIONS)
        _one_of("crop_mode", self.crop_mode, CROP_MODES)
        _one_of("decode", self.decode, DECODE_MODES)
        if not 0 < self.crop_pct <= 1:
            raise ValueError(f"crop_pct is {self.crop_pct!r}; give a number above 0 and at most 1")
        if len(self.mean) != len(self.std) or not all(s > 0 for s in self.std):
            raise ValueError(
                f"mean is {self.mean!r} and std {self.std!r}; give one of each per channel, std > 0"
            )
        self._check_values()

    def _check_values(self) -> None:
        """Raise a ValueError if what is said of values and channels can't be."""
        _one_of("layout", self.layout, LAYOUTS)
        is_range = len(self.value_range) == 2 and all(_is(v, float) for v in self.value_range)
        if self.value_range and not (is_range and self.value_range[0] < self.value_range[1]):
            raise ValueError(
                f"value_range is {self.value_range!r}; give two numbers, the smaller first, such "
                f"as (0, 65535)"
            )
        if self.value_range and self.window:
            raise ValueError("value_range and window were both given; give one of them")
        if any(not _is(band, int) or band < 1 for band in self.bands):
            raise ValueError(
                f"bands is {self.bands!r}; give whole numbers from 1, such as (3, 2, 1)"
            )
        is_grey = len(self.bands) == 1 and self.in_chans == 3
        if self.bands and len(self.bands) != self.in_chans and not is_grey:
            raise ValueError(
                f"bands {self.bands!r} are {len(self.bands)} channels, and the backbone takes "
                f"{self.in_chans}; give as many, or in_chans={len(self.bands)}"
            )
        if self.decode == "scaled" and not self.is_rgb:
            raise ValueError(
                "decode 'scaled' is for 8-bit RGB; leave it out where a range, bands, a layout or "
                "another number of channels is given"
            )

    @property
    def in_chans(self) -> int:
        """How many channels the network takes."""
        return len(self.mean)

    @property
    def is_rgb(self) -> bool:
        """Whether images are made 8-bit RGB, whatever they are; else their own values count."""
        own = (self.value_range, self.window, self.bands, self.layout)
        return own == ((), False, (), "HWC") and self.in_chans == 3

    def to_dict(self) -> dict[str, Any]:
        """Values by field; those that were added later only where they aren't the default."""
        values = dataclasses.asdict(self)
        later = {"value_range": (), "window": False, "bands": (), "layout": "HWC"}
        return {n: v for n, v in values.items() if n not in later or v != later[n]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`, for values that came through JSON.

        Raises
        ------
        ValueError
            If a value is of another type than its field.
        TypeError
            If a field is missing, or isn't known.
        """
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        _check_types(cls, fields)
        return cls(**fields)


@dataclass(frozen=True)
class BackboneSpec:
    """Everything that `create_backbone` needs to build a backbone, resolved without building it.

    Parameters
    ----------
    name : str
        Name for display, as the user wrote it. It is not part of the key.
    source : str
        The file of `transferkit.backbones` that builds it.
    architecture : str
        The network's architecture, without tag.
    arguments : dict
        Creation arguments, resolved: a ``config.json``'s own included.
    weights : str
        ``"sha256:…"`` of the weights file, or ``"random:SEED"``.
    preprocess : Preprocess
        How images are made into its input.
    weights_path : str, default=""
        Where the weights file is; empty for random weights.
    loading : dict
        What else the source needs to load the weights; not part of the key.
    """

    name: str
    source: str
    architecture: str
    arguments: Mapping[str, Any]
    weights: str
    preprocess: Preprocess
    weights_path: str = ""
    loading: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`."""
        values = json.loads(text)
        return cls(**values | {"preprocess": Preprocess.from_dict(values["preprocess"])})

    def to_json(self) -> str:
        """Canonical JSON of all fields."""
        return canonical_json(dataclasses.asdict(self) | {"preprocess": self.preprocess.to_dict()})

    @property
    def is_random(self) -> bool:
        """Whether the weights are drawn, not loaded."""
        return self.weights.startswith("random:")

    def feature_spec(
        self, feature: str, *, precision: str = "float32", storage: str = "float32"
    ) -> "FeatureSpec":
        """Return the spec of one of this backbone's features."""
        return FeatureSpec(
            architecture=f"{self.source}:{self.architecture}",
            arguments=canonical_json(self.arguments),
            weights=self.weights,
            preprocess=self.preprocess,
            feature=feature,
            precision=precision,
            storage=storage,
        )


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that decides the numbers in a store's directory.

    Parameters
    ----------
    architecture : str
        ``source:architecture``, such as ``"timm:resnet50"``.
    arguments : str
        Canonical JSON of the resolved creation arguments.
    weights : str
        ``"sha256:…"`` of the weights file, or ``"random:SEED"``.
    preprocess : Preprocess
        How an image becomes the network's input.
    feature : str
        Feature name, ``layer[.pooling]``.
    view : int, default=0
        Augmented view; 0 is none.
    precision : {"float32", "fp16", "bf16"}, default="float32"
        Numeric class of the forward pass.
    storage : {"float32", "float16", "int8"}, default="float32"
        Numeric class of the stored rows. In int8 each value moves by up to 1/254 of the largest
        of its image's channel, or of its 64 neighbours in a vector.
    version : int
        Version of the store's format and of what these fields mean.

    Examples
    --------
    >>> preprocess = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
    >>> spec = FeatureSpec("timm:resnet18", "{}", "random:0", preprocess, "pre_logits")
    >>> len(spec.key)
    16
    >>> FeatureSpec.from_json(spec.to_json()) == spec
    True
    """

    architecture: str
    arguments: str
    weights: str
    preprocess: Preprocess
    feature: str
    view: int = 0
    precision: str = "float32"
    storage: str = "float32"
    version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("storage", self.storage, STORAGE_DTYPES)

    @functools.cached_property
    def key(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Canonical JSON, in which equal specs have equal texts."""
        return canonical_json(dataclasses.asdict(self) | {"preprocess": self.preprocess.to_dict()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`.

        Raises
        ------
        ValueError
            If the text isn't a spec's.
        """
        try:
            values = json.loads(text)
            values["preprocess"] = Preprocess.from_dict(values["preprocess"])
            _check_types(cls, values)
            if not isinstance(json.loads(values["arguments"]), dict):
                raise ValueError("arguments isn't the JSON text of an object")
            return cls(**values)
        except (TypeError, KeyError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a feature spec: {text[:80]!r} ({error})") from error
