"""Recognise folders and files by the names that people give to images and to their masks."""

from collections.abc import Collection

__all__ = [
    "IMAGE_SUFFIXES",
    "INSTANCE_FOLDERS",
    "MASK_FOLDERS",
    "MASK_SUFFIXES",
    "is_image_folder",
    "is_instance_folder",
    "is_mask_folder",
    "without",
]

MASK_FOLDERS = (
    *("masks", "mask", "SegmentationClass", "SegmentationClassAug", "segmentation"),
    *("segmentations", "ground_truth", "groundtruth", "gt", "labels", "label", "annotations"),
    *("annotation", "labelsTr", "GTs", "targets"),
)
"""Usual names of folders of masks, in any case; the first ones are looked at first."""

INSTANCE_FOLDERS = (
    *("instance_masks", "instances", "instance", "instance_labels", "instance_maps"),
    *("masks_instances", "SegmentationObject", "SegmentationObjects"),
)
"""Usual names of folders of masks with one number per object, in any case."""

MASK_SUFFIXES = (
    *("_mask", "-mask", "_masks", "_seg", "_segmentation", "_label", "_labels", "_gt", "_GT"),
    *("_L", "_groundtruth", "_annotation", "_target", ".mask", "_lab", "_manual1"),
)
"""What stands behind an image's stem in the name of its mask."""

IMAGE_SUFFIXES = ("_image", "_img", "_sat", "_rgb", "-image", "_im")
"""What stands behind a stem in an image's name, and not in its mask's."""

_IMAGE_FOLDERS = frozenset(
    (
        *("images", "image", "img", "imgs", "jpegimages", "photos", "pictures", "rgb"),
        *("inputs", "input", "imagestr", "original", "originals"),
    )
)
_INSTANCE_FOLDERS = frozenset(name.casefold() for name in INSTANCE_FOLDERS)
_MASK_FOLDERS = frozenset(name.casefold() for name in (*MASK_FOLDERS, "labelTxt"))


def is_mask_folder(name: str) -> bool:
    """Whether a folder is called as one that holds masks.

    Examples
    --------
    >>> [is_mask_folder(name) for name in ("SegmentationClass", "instance_masks", "masked")]
    [True, True, False]
    """
    plain = name.casefold()
    return plain in _MASK_FOLDERS | _INSTANCE_FOLDERS or plain.endswith(("mask", "masks"))


def is_instance_folder(name: str) -> bool:
    """Whether a folder is called as one that holds masks with one number per object.

    Examples
    --------
    >>> [is_instance_folder(name) for name in ("instance_masks", "SegmentationObject", "masks")]
    [True, True, False]
    """
    return name.casefold() in _INSTANCE_FOLDERS


def is_image_folder(name: str) -> bool:
    """Whether a folder's name says that images are in it, and nothing else about them.

    Examples
    --------
    >>> [is_image_folder(name) for name in ("JPEGImages", "images", "cats")]
    [True, True, False]
    """
    return name.casefold() in _IMAGE_FOLDERS


def without(stem: str, suffixes: Collection[str]) -> str | None:
    """Return a stem without the suffix that it ends in; None if it ends in none."""
    return next((stem[: -len(s)] for s in suffixes if stem.endswith(s) and stem != s), None)
