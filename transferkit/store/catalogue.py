"""A catalogue of a key's shards: the headers and ids of many shards in one file.

It is only a shortcut, read where there are many shards and each would have to be opened, and it
may be deleted at any time. What is in the folder is what the folder's list says: of the catalogue
an entry counts if name, size and stamp (inode and time, or ETag) are those of the list. A header is
checked as if it were read from its shard. And rows are checked with the ids that stand here, so
that a catalogue that lies can cost rows, which are computed again, but never swap any.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from transferkit.store.header import ID_BYTES, Header, check_header
from transferkit.store.places import PlaceError, Stamp, StorePlace
from transferkit.store.shards import ID_TYPE, Shard

__all__ = ["MANY", "Catalogue"]

logger = logging.getLogger(__name__)

MANY = 256
"""Shards that aren't in the catalogue, from which on it is read, and written anew."""

_FORMAT = 1
_DIGEST_BYTES = 32
_SLACK_BYTES = 1 << 16


class Catalogue:
    """The catalogue of one key, and which shards it is known to hold.

    Parameters
    ----------
    place : StorePlace
        Where the store is.
    key, storage : str
        As for `KeyIndex`.
    """

    def __init__(self, place: StorePlace, *, key: str, storage: str) -> None:
        self.place = place
        self.name = f"{key}/shards.catalogue"
        self.key = key
        self.storage = storage
        self._stamp: Stamp | None = None
        self._held: Mapping[str, Shard] = {}

    def find(self, folder: str, listed: Mapping[str, tuple[int, Stamp]]) -> Mapping[str, Shard]:
        """Return the shards of a list that it holds, by name, as if they had been loaded.

        Parameters
        ----------
        folder : str
            The key's folder of shards.
        listed : dict of str to (int, tuple)
            Size and stamp of every shard that is there now.
        """
        try:
            n_bytes, stamp = self.place.size_and_stamp(self.name)
            if stamp != self._stamp:
                # The ids are in the shards too, so it can't be larger than all of them.
                most = sum(size for size, _ in listed.values()) + _SLACK_BYTES
                content = self.place.read(self.name, 0, n_bytes) if n_bytes <= most else b""
                self._held = self._shards(folder, content)
                self._stamp = stamp
        except OSError:
            self._held, self._stamp = {}, None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            logger.info("%s isn't used: %s", self.place.where(self.name), error)
            self._held, self._stamp = {}, stamp
        return {
            name: shard
            for name, shard in self._held.items()
            if listed.get(name) == (shard.n_bytes, shard.stamp)
        }

    def _shards(self, folder: str, content: bytes) -> dict[str, Shard]:
        body = memoryview(content)[_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != content[:_DIGEST_BYTES]:
            raise ValueError("it is damaged")
        length = int.from_bytes(body[:8], "little")
        told: dict[str, Any] = json.loads(bytes(body[8 : 8 + length]))
        ids = np.frombuffer(body[8 + length :], ID_TYPE)
        if told["format"] != _FORMAT:
            raise ValueError("it is of another version")
        headers: dict[tuple[int, int], Header] = {}
        shards, begin = {}, 0
        for name, n_bytes, stamp, number in told["shards"]:
            header = headers.get((number, n_bytes))
            if header is None:
                text = told["headers"][number].encode()
                header = check_header(text, n_bytes, key=self.key, storage=self.storage)
                headers[number, n_bytes] = header
            end = begin + header.n_rows
            if end > len(ids):
                raise ValueError("it has too few ids")
            own, begin = ids[begin:end], end
            path = f"{folder}/{name}"
            shards[str(name)] = Shard(
                self.place, path, own, header, self.storage, n_bytes, tuple(stamp)
            )
        return shards

    def save(self, folder: str, shards: Mapping[str, Shard]) -> None:
        """Write it anew, if it lacks many of these shards; no matter if that can't be done.

        Parameters
        ----------
        folder : str
            The key's folder of shards.
        shards : dict of str to Shard
            Those that are known, by file name.
        """
        if not self._lacks_many(shards):
            return
        # Another writer may have done it meanwhile.
        self.find(folder, {one.file_name: (one.n_bytes, one.stamp) for one in shards.values()})
        if not self._lacks_many(shards):
            return
        try:
            self.place.write_whole(self.name, _encoded(shards.values()))
            self._stamp = self.place.size_and_stamp(self.name)[1]
        except (OSError, PlaceError) as error:
            logger.info("%s can't be written: %s", self.place.where(self.name), error)
        self._held = dict(shards)

    def _lacks_many(self, shards: Mapping[str, Shard]) -> bool:
        # The more there are the more rarely it is written, so that writing it all stays cheap.
        n_held = sum(
            name in self._held and self._held[name].stamp == shard.stamp
            for name, shard in shards.items()
        )
        return len(shards) - n_held >= max(MANY, n_held // 8)


def _encoded(shards: Iterable[Shard]) -> list[bytes]:
    """The parts of the file: digest of all that follows, length of the JSON text, it, the ids."""
    headers: dict[str, int] = {}
    entries, ids = [], []
    for shard in shards:
        number = headers.setdefault(shard.header.text.decode(), len(headers))
        entries.append([shard.file_name, shard.n_bytes, shard.stamp, number])
        ids.append(shard.ids.tobytes())
    told = {"format": _FORMAT, "headers": list(headers), "shards": entries}
    text = json.dumps(told, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ID_BYTES)
    parts = [len(text).to_bytes(8, "little"), text, *ids]
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return [whole.digest(), *parts]
