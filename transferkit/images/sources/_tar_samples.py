"""Samples of a tar file: images with what its other members of the same names tell of them."""

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transferkit.images.blobs import Blob
from transferkit.images.sources._containers import safe_name
from transferkit.images.sources.folder import ARRAYS, EXTENSIONS
from transferkit.images.tars import TarReader

__all__ = ["TarSample", "TarSamples", "read_samples"]

# The largest member that is read for a label.
_MOST_TEXT_BYTES = 1 << 20
_TEXTS = ("cls", "json", "txt")


@dataclass(frozen=True)
class TarSample:
    """One image of a tar file.

    Parameters
    ----------
    name : str
        Its key: its path up to the first dot of the file's name.
    at, n : int
        Where it begins, and its bytes.
    values : sequence of str or None
        What was asked for: the values of some columns.
    """

    name: str
    at: int
    n: int
    values: Sequence[str | None]


@dataclass
class TarSamples:
    """All images of a tar file, and what was left out.

    Parameters
    ----------
    samples : list of TarSample
        In the file's order.
    left_out : dict of str to list of str
        Names of members that are none, by the reason.
    """

    samples: list[TarSample] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class _Key:
    """Members of one key."""

    images: list[tuple[str, int, int]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


def read_samples(blob: Blob, columns: Sequence[str]) -> TarSamples:
    """Read the headers of a tar file, and its small members that tell of its images.

    Parameters
    ----------
    blob : Blob
        The file.
    columns : sequence of str
        What is wanted of each image: a key of its ``.json``. Of ``"label"`` there may be a
        ``.cls`` or ``.txt`` instead.

    Raises
    ------
    ValueError
        If it is no tar file, is damaged, or what it tells is no single value.
    """
    reader = TarReader(blob)
    found = TarSamples()
    keys: dict[str, _Key] = {}
    for member in reader.members():
        if member.isdir():
            continue
        name = safe_name(member.name)
        if reason := _unusable(member, name):
            found.left_out.setdefault(reason, []).append(member.name)
            continue
        assert name is not None
        if any(part.startswith(".") for part in name.split("/")):
            continue
        folder, slash, file = name.rpartition("/")
        stem, _, kind = file.partition(".")
        own = keys.setdefault(f"{folder}{slash}{stem}", _Key())
        if f".{kind.lower().rpartition('.')[2]}" in EXTENSIONS:
            own.images.append((kind, member.offset_data, member.size))
        elif kind.lower() in _TEXTS:
            own.texts[kind.lower()] = _text(reader, member)
    # As in a folder: arrays are images where there are no others.
    has_others = any(not _is_array(kind) for own in keys.values() for kind, _, _ in own.images)
    for key, own in keys.items():
        own.images = [one for one in own.images if not (has_others and _is_array(one[0]))]
        if not own.images:
            found.left_out.setdefault("of no image", []).append(key)
            continue
        values = [_value(own.texts, column, f"{blob.where}: {key}") for column in columns]
        # An image beside others, such as a mask, has more than its kind behind its key.
        plain = [image for image in own.images if "." not in image[0]] or own.images
        for kind, at, n in plain:
            name = key if len(plain) == 1 else f"{key}.{kind}"
            found.samples.append(TarSample(name, at, n, values))
    return found


def _is_array(kind: str) -> bool:
    return f".{kind.lower().rpartition('.')[2]}" in ARRAYS


def _unusable(member: tarfile.TarInfo, name: str | None) -> str:
    """Reason why a member isn't taken; empty if it is."""
    if not member.isreg() or member.issparse():
        return "links, sparse files or devices"
    return "of a name that leads elsewhere" if name is None else ""


def _text(reader: TarReader, member: tarfile.TarInfo) -> str:
    """Content of a small member."""
    where = f"{reader.blob.where}: {member.name}"
    if member.size > _MOST_TEXT_BYTES:
        raise ValueError(
            f"{where!r} has {member.size:,} bytes, which is too much for a label; leave it out"
        )
    content = reader.content(member.offset_data, member.size)
    if len(content) < member.size:
        raise ValueError(f"{where!r} is cut off; make the tar file anew, or leave it out")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where!r} isn't UTF-8 ({error}); save it as UTF-8") from error


def _value(texts: dict[str, str], column: str, where: str) -> str | None:
    """What an image's members tell of one column; None if nothing."""
    if column == "label" and "cls" in texts:
        return texts["cls"].strip() or None
    if "json" in texts:
        try:
            told = json.loads(texts["json"])
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where!r}: its .json can't be read ({error})") from error
        if isinstance(told, dict) and told.get(column) is not None:
            return _single(told[column], column, where)
    if column == "label" and "txt" in texts:
        return texts["txt"].strip() or None
    return None


def _single(value: Any, column: str, where: str) -> str | None:
    if not isinstance(value, str | int | float):
        raise ValueError(
            f"{where!r}: {column!r} in its .json is a {type(value).__name__}; give one text or "
            "number per image"
        )
    return str(value) if str(value).strip() else None
