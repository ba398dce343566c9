"""The keys of a store. Each has a folder of that name, which holds the key's spec."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from transferkit import registry
from transferkit.spec import FeatureSpec
from transferkit.store.certificates import Certificate, best
from transferkit.store.index import Snapshot
from transferkit.store.places import StorePlace

__all__ = [
    "KeyInfo",
    "key_info",
    "known_spec",
    "list_keys",
    "read_spec",
    "resolve_key",
    "spec_name",
    "write_spec",
]

MAX_SPEC_BYTES = 1 << 20
KEY_PATTERN = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class KeyInfo:
    """Description of the rows that the store holds under one key.

    Parameters
    ----------
    key : str
        The key.
    spec : FeatureSpec
        What it stands for.
    n_rows : int
        Number of distinct row ids; rows not yet read may still turn out damaged.
    n_shards : int
        Number of readable shards.
    n_bytes : int
        Their size.
    row_shape : tuple of int, or None
        Shape of one row; None if there is no row.
    dtype : str
        Storage type.
    provenance : dict of str, or None
        Of the first shard by name; None if there is no row.
    certificate : Certificate, optional
        What storing the rows in a compressed class has cost, as it was measured on the largest
        sample; None if no shard tells.
    """

    key: str
    spec: FeatureSpec
    n_rows: int
    n_shards: int
    n_bytes: int
    row_shape: tuple[int, ...] | None
    dtype: str
    provenance: Mapping[str, str] | None
    certificate: Certificate | None = None


def key_info(spec: FeatureSpec, snapshot: Snapshot) -> KeyInfo:
    """Describe the rows in a snapshot of a key."""
    return KeyInfo(
        key=spec.key,
        spec=spec,
        n_rows=snapshot.n_ids,
        n_shards=len(snapshot.shards),
        n_bytes=sum(shard.n_bytes for shard in snapshot.shards),
        row_shape=snapshot.row_shape,
        dtype=spec.storage,
        provenance=dict(snapshot.shards[0].metadata) if snapshot.shards else None,
        certificate=best(shard.metadata for shard in snapshot.shards),
    )


def list_keys(place: StorePlace) -> list[str]:
    """List the keys that have a folder in a store, sorted."""
    return [name for name in place.names("") if KEY_PATTERN.fullmatch(name)]


def resolve_key(place: StorePlace, key: str) -> str:
    """Return the one key that begins so.

    Raises
    ------
    ValueError
        If there is none, or several.
    """
    keys = list_keys(place)
    fitting = [k for k in keys if key and k.startswith(key)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError(
            f"key {key!r} stands for several: {', '.join(fitting[:10])}; give more of its digits"
        )
    raise registry.unknown("key", key, keys, f"The store is {place.where()}")


def spec_name(key: str) -> str:
    """Name of the file that holds a key's spec."""
    return f"{key}/spec.json"


def read_spec(place: StorePlace, key: str) -> FeatureSpec:
    """Read a key's spec.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or another key's.
    """
    path = place.where(spec_name(key))
    try:
        text = _spec_text(place, key)
    except OSError as error:
        raise ValueError(
            f"{path} can't be read ({error.strerror}); the next write puts it there if it is "
            "missing"
        ) from error
    try:
        spec = FeatureSpec.from_json(text.decode())
        fits = spec.key == key
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} isn't a spec ({type(error).__name__}); remove that file, and the next "
            "write puts a good one there"
        ) from error
    if not fits:
        raise ValueError(
            f"{path} holds another spec than its folder's name says; remove that file, "
            "and the next write puts the right one there"
        )
    return spec


def known_spec(place: StorePlace, key: str) -> FeatureSpec | None:
    """Read a key's spec as `read_spec` does; None if there is no such file."""
    try:
        return read_spec(place, key)
    except ValueError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise


def _spec_text(place: StorePlace, key: str) -> bytes:
    name = spec_name(key)
    n_bytes, _ = place.size_and_stamp(name)
    return place.read(name, 0, min(n_bytes, MAX_SPEC_BYTES))


def write_spec(place: StorePlace, spec: FeatureSpec) -> None:
    """Write a key's spec, unless it is there already."""
    name = spec_name(spec.key)
    if not place.has(name):
        text = json.dumps(json.loads(spec.to_json()), indent=2, sort_keys=True) + "\n"
        place.write_whole(name, [text.encode()])
