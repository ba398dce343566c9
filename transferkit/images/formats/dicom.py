"""DICOM files, through pydicom: rescaled values, with the window that the file gives."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.images.decode import ImageError, reason_of
from transferkit.images.values import ImageValues, arranged, check_size

__all__ = ["IS_PIL_FIRST", "SUFFIXES", "accepts", "read", "shape"]

SUFFIXES = (".dcm", ".dicom")
IS_PIL_FIRST = False

_MAGIC_AT, _MAGIC = 128, b"DICM"
# Its data set as a whole is compressed, to any size, and pydicom unpacks it before anything is
# known of it.
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_KINDS = ("MONOCHROME1", "MONOCHROME2", "RGB")


def accepts(data: bytes) -> bool:
    """Whether a file's bytes are of this format."""
    return data[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC


def shape(data: bytes, layout: str) -> tuple[int, int, int]:
    """Height, width and number of channels, those of all frames together."""
    found = _opened(data)
    n_channels = int(found.SamplesPerPixel) * int(found.get("NumberOfFrames") or 1)
    return int(found.Rows), int(found.Columns), n_channels


def read(data: bytes, layout: str) -> ImageValues:
    """Decode a file's bytes; with ``layout="CHW"`` its frames are channels."""
    found = _opened(data)
    try:
        _check(found, layout)
        values = _rescaled(_pixels(found), found)
        n_frames = int(found.get("NumberOfFrames") or 1)
        window = _window(found)
    except ImageError:
        raise
    except Exception as error:  # of any kind, on damaged or hostile bytes
        raise ImageError(reason_of(error)) from error
    is_inverted = found.PhotometricInterpretation == "MONOCHROME1"
    return ImageValues(arranged(values, "CHW" if n_frames > 1 else "HWC"), window, is_inverted)


def _opened(data: bytes) -> Any:
    """Parse a file's bytes, and check what its header says of the pixels."""
    try:
        import pydicom
    except ImportError as error:
        raise ImageError(
            "DICOM files need pydicom, which isn't installed; run pip install 'transferkit[dicom]'"
        ) from error
    if _DEFLATED in data:
        raise ImageError("a DICOM file that is deflated as a whole; save it uncompressed")
    try:
        found = pydicom.dcmread(io.BytesIO(data))
        shape = (found.Rows, found.Columns, found.SamplesPerPixel, found.get("NumberOfFrames") or 1)
        sides = tuple(map(int, shape))
    except Exception as error:
        raise ImageError(f"a DICOM file without an image ({reason_of(error)})") from error
    if min(sides) < 1:
        raise ImageError(f"no pixels (size {sides[1]} × {sides[0]})")
    check_size(sides)
    return found


def _check(found: Any, layout: str) -> None:
    """Raise an ImageError unless a file is of a kind that is read, and whole."""
    kind = str(found.PhotometricInterpretation)
    if kind not in _KINDS:
        raise ImageError(f"pixels of kind {kind}; {', '.join(_KINDS)} are read")
    n_frames = int(found.get("NumberOfFrames") or 1)
    if n_frames > 1 and (layout != "CHW" or int(found.SamplesPerPixel) != 1):
        raise ImageError(
            f"{n_frames:,} frames; if they are channels of one image, say so with layout='CHW' "
            "(--layout CHW), or save each in a file"
        )
    if "ModalityLUTSequence" in found:
        raise ImageError("values behind a table (ModalityLUTSequence); save them plainly")
    syntax = found.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        from pydicom.pixels.utils import get_expected_length

        if len(found.PixelData) < get_expected_length(found):
            raise ImageError("truncated: fewer bytes than its pixels take")


def _pixels(found: Any) -> NDArray[Any]:
    try:
        values: NDArray[Any] = found.pixel_array
    except (RuntimeError, NotImplementedError, ImportError) as error:
        syntax = found.file_meta.TransferSyntaxUID
        if not syntax.is_encapsulated:
            raise
        raise ImageError(
            f"compressed as {syntax.name}, which pydicom reads with a plug-in only, or which is "
            "damaged: run pip install pylibjpeg[all], or save it uncompressed"
        ) from error
    return values


def _rescaled(values: NDArray[Any], found: Any) -> NDArray[Any]:
    """Values in the file's own unit, such as Hounsfield's."""
    slope = float(found.get("RescaleSlope", 1) or 1)
    intercept = float(found.get("RescaleIntercept", 0) or 0)
    return values if (slope, intercept) == (1, 0) else values * slope + intercept


def _window(found: Any) -> tuple[float, float] | None:
    """Values that the file says are shown as 0 and 1; of several windows the first.

    References
    ----------
    DICOM PS3.3, C.11.2.1.2 (windows): a linear one is half a value off centre.
    """
    if found.get("WindowCenter") is None or found.get("WindowWidth") is None:
        return None
    centre, width = (
        float(np.atleast_1d(np.asarray(found[name].value, dtype=float))[0])
        for name in ("WindowCenter", "WindowWidth")
    )
    function = str(found.get("VOILUTFunction") or "LINEAR")
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        return None
    return (centre - width / 2, centre + width / 2) if width > 0 else None
