"""Files of each format that isn't PIL's, made of an array `(H, W, C)`."""

import io

import numpy as np
import pydicom
import tifffile
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

__all__ = ["MAKERS", "dicom", "npy", "tiff"]


def npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def tiff(values, **options):
    file = io.BytesIO()
    given = {"photometric": "minisblack", "planarconfig": "contig"} | options
    if given["planarconfig"] is None:
        del given["planarconfig"]
    tifffile.imwrite(file, values, **given)
    return file.getvalue()


def dicom(values, *, kind="MONOCHROME2", **tags):
    """One grey frame, or more as the last axis; RGB if it is asked for."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    made.Rows, made.Columns = values.shape[:2]
    made.SamplesPerPixel = 3 if kind == "RGB" else 1
    if kind == "RGB":
        made.PlanarConfiguration = 0
    n_frames = values.shape[2] if values.ndim == 3 and kind != "RGB" else 1
    if n_frames > 1:
        made.NumberOfFrames = n_frames
        values = np.moveaxis(values, 2, 0)
    made.PhotometricInterpretation = kind
    made.BitsAllocated = made.BitsStored = 8 * values.dtype.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    made.PixelData = np.ascontiguousarray(values).tobytes()
    for name, value in tags.items():
        setattr(made, name, value)
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


# What each makes of 8-bit RGB `(H, W, 3)`, by the format's name.
MAKERS = {
    "dicom": lambda pixels: dicom(pixels, kind="RGB"),
    "npy": npy,
    "tiff": lambda pixels: tiff(pixels, photometric="rgb"),
}
