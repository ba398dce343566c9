"""Features on disk: immutable shards in one directory per spec, safe to kill, share and copy.

::

    <store>/<key>/spec.json                    what the numbers are
    <store>/<key>/shards/<digest>.safetensors  ids, rows, a CRC-32 per row, provenance

A file appears whole or not at all, on a disk as on object storage (`transferkit.store.places`),
and that is all the store relies on: no lock, no appending, no order of times. Writers never
coordinate, a row that stands twice does no harm, and a row whose checksum fails counts as missing.
"""

from transferkit.store.certificates import Certificate
from transferkit.store.compacting import Compaction
from transferkit.store.directory import FeatureStore
from transferkit.store.exporting import FORMATS, export
from transferkit.store.keys import KeyInfo
from transferkit.store.merging import Merged
from transferkit.store.places import PlaceError
from transferkit.store.removing import Removed
from transferkit.store.rows import CorruptRows, MissingRows, StoredRows
from transferkit.store.verifying import Fault

__all__ = [
    "FORMATS",
    "Certificate",
    "Compaction",
    "CorruptRows",
    "Fault",
    "FeatureStore",
    "KeyInfo",
    "Merged",
    "MissingRows",
    "PlaceError",
    "Removed",
    "StoredRows",
    "export",
]
