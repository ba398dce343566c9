"""Tars and Parquet files as people pack them."""

import io
import tarfile
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

__all__ = ["pack_parquet", "pack_tar"]


def pack_tar(path, members, **options):
    """Write a tar of (name, content) or of whole headers with their content."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = member.size or len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def pack_parquet(path, columns, rows=2, **options):
    """Write columns in row groups of some rows."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path, row_group_size=rows, **options)
    return Path(path)
