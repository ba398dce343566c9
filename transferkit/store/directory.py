"""`FeatureStore` keeps rows by spec and id in a place that many processes may use at once."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from transferkit.spec import FeatureSpec
from transferkit.store import compacting, encoding, files, removing, shards, verifying
from transferkit.store.compacting import Compaction
from transferkit.store.index import KeyIndex, shards_folder
from transferkit.store.inputs import checked_provenance, id_array, storable
from transferkit.store.keys import (
    KeyInfo,
    key_info,
    known_spec,
    list_keys,
    read_spec,
    resolve_key,
    spec_name,
    write_spec,
)
from transferkit.store.merging import Merged, merge_key
from transferkit.store.places import StorePlace, open_place
from transferkit.store.removing import Removed
from transferkit.store.rows import StoredRows, read
from transferkit.store.verifying import Fault

__all__ = ["FeatureStore"]

logger = logging.getLogger(__name__)

# People write these when they want no store, and would get a folder of that name.
_NO_FOLDERS = ("", "none", "null", "false", "true", "off", "no", "0")


class _Nothing(Exception):
    """A key's folder exists, but has neither a spec nor rows in it yet."""


class FeatureStore:
    """Rows of features on disk, by spec and row id.

    Parameters
    ----------
    path : str, Path or StorePlace, optional
        The directory, or a URL such as ``s3://bucket/prefix`` (as text; ``gs://``, ``az://``,
        ``memory://`` and ``file://`` too). By default ``$TRANSFERKIT_STORE``, otherwise
        ``store`` in ``$TRANSFERKIT_CACHE`` or in the user's cache directory of transferkit.
        Nothing is created before the first write.

    Attributes
    ----------
    path : Path or str
        The directory, absolute; or the URL.
    place : StorePlace
        What reads and writes there.

    See Also
    --------
    FeatureExtractor : Fills the store, and reads what is there.
    transferkit.FeatureSpec : What a key of the store stands for.

    Notes
    -----
    Any number of threads, processes and machines may read and write at once. Every row is
    checked against its CRC-32 whenever it is read. A damaged row is named in the log and
    counts as missing; if another shard holds a good copy, that is used. Of several good
    copies the one in the shard with the smallest name wins.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from transferkit.spec import FeatureSpec, Preprocess
    >>> preprocess = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
    >>> spec = FeatureSpec("timm:resnet18", "{}", "random:0", preprocess, "pre_logits")
    >>> ids = [bytes([i]) * 16 for i in range(3)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = FeatureStore(folder)
    ...     _ = store.write(spec, ids[:2], np.eye(2))
    ...     print(store.missing(spec, ids) == ids[2:])
    ...     print(store.read(spec, [ids[1], ids[0], ids[1]]))
    True
    [[0. 1.]
     [1. 0.]
     [0. 1.]]
    """

    place: StorePlace
    path: Path | str

    def __init__(self, path: str | Path | StorePlace | None = None) -> None:
        self._indexes: dict[str, KeyIndex] = {}
        if isinstance(path, StorePlace):
            self.place, self.path = path, path.where()
            return
        chosen = files.default_path() if path is None else path
        name = str(chosen if path is None else path)
        if name.strip().lower() in _NO_FOLDERS:
            raise ValueError(
                f"store {name!r} looks like a choice, not like a folder; in Python store="
                f"False keeps nothing and None is the default place; a folder of that name is "
                f"given by its whole path, {str(Path(chosen).absolute())!r}"
            )
        self.place = open_place(chosen)
        self.path = self.place.where()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[StorePlace]]:
        # Copies read the place themselves.
        return type(self), (self.place,)

    def missing(self, spec: FeatureSpec, ids: Sequence[bytes]) -> list[bytes]:
        """Return the ids that have no row in the store. Only ids are read, no rows.

        Parameters
        ----------
        spec : FeatureSpec
            What the rows are.
        ids : sequence of bytes
            Row ids of 16 bytes.

        Returns
        -------
        list of bytes
            Each once, in the order asked. Rows already found damaged are among them.
        """
        snapshot = self._index(spec).snapshot()
        absent = np.flatnonzero(snapshot.find(id_array(ids)) < 0)
        return list(dict.fromkeys(ids[i] for i in absent.tolist()))

    def write(
        self,
        spec: FeatureSpec,
        ids: Sequence[bytes],
        rows: NDArray[Any],
        *,
        provenance: Mapping[str, str] | None = None,
    ) -> Path | str:
        """Write rows as one shard, which exists whole or not at all.

        Parameters
        ----------
        spec : FeatureSpec
            What the rows are.
        ids : sequence of bytes
            Row ids of 16 bytes.
        rows : array of shape (len(ids), ...)
            The rows; cast to ``spec.storage``. For int8 they are vectors ``(len(ids), d)`` or
            maps ``(len(ids), D, H, W)``.
        provenance : dict of str, optional
            Whence they come: versions, device, engine, batch size, ``date``.

        Returns
        -------
        Path or str
            The shard's path, or its URL.

        Raises
        ------
        ValueError
            If rows aren't finite in the storage type, or don't fit the ids or the rows
            that are there.
        """
        row_ids = id_array(ids)
        index = self._index(spec)
        stored = storable(rows, len(ids), spec.storage)
        shape = index.row_shape()
        found = encoding.row_shape(stored)
        if shape not in (None, found):
            raise ValueError(
                f"the rows have shape {found}, those in {self.place.where(spec.key)} {shape}; "
                "one spec has one shape of rows: write these under the spec they belong to"
            )
        write_spec(self.place, spec)
        name = shards.write(
            self.place,
            index.folder,
            row_ids,
            stored,
            key=spec.key,
            storage=spec.storage,
            provenance=checked_provenance(provenance or {}),
        )
        # A damaged shard may just have been replaced by its own content.
        index.forget(name.rpartition("/")[2])
        index.save()
        return self.place.where(name)

    def read(self, spec: FeatureSpec, ids: Sequence[bytes]) -> NDArray[Any]:
        """Read rows in the order of the ids, and check each one.

        Parameters
        ----------
        spec : FeatureSpec
            What the rows are.
        ids : sequence of bytes
            Row ids of 16 bytes; an id may stand several times.

        Returns
        -------
        array of shape (len(ids), ...)
            C-contiguous, in the storage type (float32 where that is int8); above 1 GB a
            temporary memory-mapped file, deleted with the array. Of shape (0, 0) if no rows are
            asked for and none are there.

        Raises
        ------
        CorruptRows
            If every copy of a row is damaged.
        MissingRows
            If a row isn't there; `CorruptRows` is one too.
        """
        return read(self._index(spec), ids)

    def open(self, spec: FeatureSpec, ids: Sequence[bytes]) -> StoredRows:
        """Open rows in the order of the ids. They are read and checked when they are indexed.

        Parameters
        ----------
        spec : FeatureSpec
            What the rows are.
        ids : sequence of bytes
            Row ids of 16 bytes; an id may stand several times.

        Returns
        -------
        StoredRows
            Nothing is copied before a part of it is asked for.

        Raises
        ------
        CorruptRows
            If every copy of a row is known to be damaged; here or when it is read.
        MissingRows
            If a row isn't there; `CorruptRows` is one too.
        """
        return StoredRows(self._index(spec), ids)

    def provenance(self, spec: FeatureSpec) -> dict[str, str] | None:
        """Provenance of the first shard by name; None if there are no rows."""
        snapshot = self._index(spec).snapshot()
        return dict(snapshot.shards[0].metadata) if snapshot.shards else None

    def specs(self) -> list[FeatureSpec]:
        """Every spec with a folder in the store, by key; damaged ones are logged."""
        specs = []
        for key in list_keys(self.place):
            try:
                specs.append(self._spec(key))
            except _Nothing:
                continue
            except ValueError as error:
                logger.warning("%s", error)
        return specs

    def list_keys(self) -> list[KeyInfo]:
        """List the store's content by key. Keys that can't be read are logged."""
        keys = []
        for spec in self.specs():
            try:
                keys.append(key_info(spec, self._index(spec).snapshot()))
            except OSError as error:
                logger.warning("%s can't be read: %s", self.place.where(spec.key), error)
        return keys

    def info(self, key: str) -> KeyInfo:
        """Describe the rows that the store holds under one key.

        Parameters
        ----------
        key : str
            The key or the beginning of it that no other key shares.
        """
        spec = read_spec(self.place, resolve_key(self.place, key))
        return key_info(spec, self._index(spec).snapshot())

    def verify(self, key: str | None = None) -> list[Fault]:
        """Read everything and name every damage.

        Parameters
        ----------
        key : str, optional
            Only this key, or the one that begins so.

        Returns
        -------
        list of Fault
            Empty if all is well. The rows concerned count as missing from now on.
        """
        faults = []
        for name in self._keys(key):
            try:
                _, index = self._opened(name)
            except _Nothing:
                continue
            except ValueError as error:
                faults.append(Fault(name, self.place.where(spec_name(name)), str(error)))
            else:
                faults += verifying.faults(index)
        return faults

    def gc(self, keys: Sequence[str] = (), *, dry_run: bool = False) -> list[Removed]:
        """Remove temporary files, redundant shards and the given keys.

        Parameters
        ----------
        keys : sequence of str
            Keys to remove with all their rows; the beginning of a key is enough.
        dry_run : bool, default=False
            Whether to remove nothing and only say what would go.

        Returns
        -------
        list of Removed
            What was removed, or would be.

        Notes
        -----
        Temporary files are removed if they are older than a day. A shard is redundant if every
        row of it, good or damaged, has a good copy in another shard that stays. So no row is
        lost, and a damaged row without a good copy keeps its shard until the row is computed
        again or `compact` leaves it behind. Unreadable shards stay too.
        """
        place = self.place
        named = [resolve_key(place, key) for key in keys]
        removed = []
        for key in list_keys(place):
            if key in named:
                removed.append(Removed(key, place.where(key), "named", place.folder_bytes(key)))
                if not dry_run:
                    place.remove_folder(key)
                    self._indexes.pop(key, None)
                continue
            for folder in (key, shards_folder(key)):
                removed += removing.remove_temporary(place, key, folder, dry_run=dry_run)
            try:
                _, index = self._opened(key)
            except _Nothing:
                continue
            except ValueError as error:
                logger.warning("%s", error)
            else:
                removed += removing.remove_spare(index, dry_run=dry_run)
        return removed

    def compact(self, key: str | None = None) -> list[Compaction]:
        """Merge small shards into larger ones and leave damaged rows behind.

        The merged shard is written before its sources go. Shards are merged if their
        provenance agrees in everything but ``date``, of which the range is kept.

        Parameters
        ----------
        key : str, optional
            Only this key, or the one that begins so.

        Returns
        -------
        list of Compaction
            What was merged into what.
        """
        done = []
        for name in self._keys(key):
            try:
                _, index = self._opened(name)
            except _Nothing:
                continue
            except ValueError as error:
                if key is not None:
                    raise
                logger.warning("%s", error)
            else:
                done += compacting.compact(index)
        return done

    def ids(self, spec: FeatureSpec) -> list[bytes]:
        """Ids of all rows not known to be bad, each once, sorted."""
        return shards.raw_ids(np.unique(self._index(spec).snapshot().ids))

    def merge(self, other: "FeatureStore", key: str | None = None) -> list[Merged]:
        """Copy the rows of another store that aren't here yet, and verify each one.

        Parameters
        ----------
        other : FeatureStore
            Where they come from; it isn't changed.
        key : str, optional
            One of its keys, or its unambiguous beginning; by default all.

        Returns
        -------
        list of Merged
            One per key; what is damaged is named and not taken, and costs nothing else.

        Raises
        ------
        ValueError
            If `other` has no such key.
        """
        merged = []
        for name in other._keys(key):
            try:
                spec, index = other._opened(name)
            except _Nothing:
                continue
            except ValueError as error:
                fault = Fault(name, other.place.where(spec_name(name)), str(error))
                merged.append(Merged(name, 0, 0, (fault,)))
            else:
                merged.append(merge_key(self, spec, index))
        return merged

    def row_shape(self, spec: FeatureSpec) -> tuple[int, ...] | None:
        """Shape of one row; None if there is none."""
        return self._index(spec).row_shape()

    def _spec(self, key: str) -> FeatureSpec:
        """Return what a key stands for.

        Raises
        ------
        _Nothing
            If there is nothing under it: somebody is about to write its first rows.
        ValueError
            If its spec can't be read.
        """
        try:
            return read_spec(self.place, key)
        except ValueError:
            # The first writer makes the folder, then the spec, then the shards. A reader that sees
            # no spec, and no shard after that, came before the first write.
            has_spec = self.place.has(spec_name(key))
            if not has_spec and not _has_files(self.place, shards_folder(key)):
                raise _Nothing(key) from None
            return read_spec(self.place, key)

    def _opened(self, key: str) -> tuple[FeatureSpec, KeyIndex]:
        """Return what a key stands for and its shards, read afresh; raises as `_spec` does."""
        spec = self._spec(key)
        index = self._fresh_index(spec, reads_all=True)
        try:
            index.snapshot()
        except OSError as error:
            raise ValueError(f"{index.path} can't be read ({error.strerror}); remove it") from error
        return spec, index

    def _keys(self, key: str | None) -> list[str]:
        """Return the one key that begins so, or all."""
        return list_keys(self.place) if key is None else [resolve_key(self.place, key)]

    def _index(self, spec: FeatureSpec) -> KeyIndex:
        key = spec.key
        known = known_spec(self.place, key)
        if known is not None and known.to_json() != spec.to_json():
            raise ValueError(
                f"{self.place.where(spec_name(key))} holds another spec than the one asked for, "
                "under the same key; move that folder away, and its rows are computed again"
            )
        if key not in self._indexes:
            return self._fresh_index(spec)
        return self._indexes[key]

    def _fresh_index(self, spec: FeatureSpec, *, reads_all: bool = False) -> KeyIndex:
        """Return an index that remembers nothing, for those who must read everything."""
        index = KeyIndex(self.place, key=spec.key, storage=spec.storage, reads_all=reads_all)
        self._indexes[spec.key] = index
        return index


def _has_files(place: StorePlace, folder: str) -> bool:
    try:
        return bool(place.names(folder))
    except OSError:
        return True
