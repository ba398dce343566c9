"""A store of many small shards: seconds to open it, and requests of an object store.

    python benchmarks/store_many_shards.py [--shards 10000] [--rows 20] [--s3-shards 1000]

Shards are made by plain writes, one after the other. Then a new process asks for what is missing
and reads 1,000 scattered rows: as the writes left the store; with the catalogue that a writer
leaves who has asked what is missing, as every extraction does; and after its shards were compacted.
On S3 (moto's server, in a process of its own, which takes most of the time) every request is
counted. ``cpu`` is this process's own time, which tells more than wall time on a machine that
others use too. Results: ``benchmarks/results/store_many_shards.json``.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.spec import FeatureSpec, Preprocess
from transferkit.store import FeatureStore

RESULTS = Path(__file__).parent / "results" / "store_many_shards.json"
PREPROCESS = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
SPEC = FeatureSpec("timm:resnet18", "{}", "random:0", PREPROCESS, "pre_logits")
WIDTH = 64


def row_ids(numbers: range) -> list[bytes]:
    """Ids that follow from numbers, scattered as digests are."""
    return [(n * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big") + b"row-" * 2 for n in numbers]


def rows_of(ids: list[bytes]) -> np.ndarray:
    """Rows that follow from their ids."""
    halves = np.frombuffer(b"".join(ids), np.uint8).reshape(len(ids), 16)
    return np.tile(halves, (1, WIDTH // 16)).astype(np.float32)


def fill(place: str, n_shards: int, n_rows: int) -> float:
    """Write the shards; return seconds."""
    os.fsync = lambda handle: None  # the disk isn't what is measured
    store, start = FeatureStore(place), time.perf_counter()
    for n in range(n_shards):
        ids = row_ids(range(n * n_rows, (n + 1) * n_rows))
        run = {"device": "cpu", "batch_size": "8", "date": f"2026-01-01T00:{n // 60 % 60:02}"}
        store.write(SPEC, ids, rows_of(ids), provenance=run)
    return time.perf_counter() - start


def opened(place: str, n_rows: int) -> dict[str, Any]:
    """Ask and read in this process, twice; return seconds, and requests by kind."""
    requests: collections.Counter[str] = collections.Counter()
    if place.startswith("s3:"):
        count_requests(requests)
    store, ids = FeatureStore(place), row_ids(range(n_rows + 5))
    chosen = np.random.default_rng(0).permutation(n_rows)[:1000].tolist()
    told: dict[str, Any] = {}
    for when in ("cold", "warm"):
        with measuring(f"{when}_missing", told, requests):
            missing = store.missing(SPEC, ids)
        with measuring(f"{when}_read_1000", told, requests):
            rows = store.read(SPEC, [ids[i] for i in chosen])
        if missing != ids[n_rows:] or not (rows == rows_of([ids[i] for i in chosen])).all():
            raise AssertionError("wrong rows")
    return told


@contextlib.contextmanager
def measuring(
    what: str, told: dict[str, Any], requests: collections.Counter[str]
) -> Iterator[None]:
    """Note seconds, and requests by kind."""
    requests.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    told[what] = {
        "seconds": round(time.perf_counter() - wall, 3),
        "cpu": round(time.process_time() - cpu, 3),
        "requests": dict(requests),
    }


def count_requests(requests: collections.Counter[str]) -> None:
    """Count what is sent, by botocore's own hook."""
    from aiobotocore.client import AioBaseClient

    send = AioBaseClient._make_api_call

    async def counted(self: Any, name: str, given: Any) -> Any:
        requests[name] += 1
        return await send(self, name, given)

    AioBaseClient._make_api_call = counted


def in_new_process(*arguments: object) -> dict[str, Any]:
    """Open it in a process that knows nothing."""
    told = [sys.executable, __file__, "--open", *map(str, arguments)]
    return dict(json.loads(subprocess.run(told, check=True, capture_output=True).stdout))


def measured(place: str, n_shards: int, n_rows: int) -> dict[str, Any]:
    """One place."""
    told: dict[str, Any] = {"shards": n_shards, "rows": n_shards * n_rows}
    told["write_seconds"] = round(fill(place, n_shards, n_rows), 1)
    told["as_written"] = in_new_process(place, n_shards * n_rows)
    store, more = FeatureStore(place), row_ids(range(n_shards * n_rows, n_shards * n_rows + 1))
    store.missing(SPEC, more)
    store.write(SPEC, row_ids(range(-1, 0)), rows_of(more))
    [info] = store.list_keys()
    told["bytes"] = info.n_bytes
    told["catalogue_bytes"] = store.place.size_and_stamp(f"{SPEC.key}/shards.catalogue")[0]
    told["with_catalogue"] = in_new_process(place, n_shards * n_rows)
    start = time.perf_counter()
    FeatureStore(place).compact()
    told["compact_seconds"] = round(time.perf_counter() - start, 1)
    told["compacted"] = in_new_process(place, n_shards * n_rows)
    return told


def on_s3(n_shards: int, n_rows: int) -> dict[str, Any]:
    """Moto's server on this machine."""
    import boto3
    from botocore.exceptions import EndpointConnectionError

    secret = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    port = 5600 + os.getpid() % 1000
    os.environ |= secret | {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                boto3.client("s3").create_bucket(Bucket="bucket")
                break
            except EndpointConnectionError:  # it hasn't started yet
                time.sleep(0.3)
        else:
            raise RuntimeError("the server of S3 doesn't start")
        return measured("s3://bucket/store", n_shards, n_rows)
    finally:
        server.terminate()


def main() -> None:
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--s3-shards", type=int, default=0)
    parser.add_argument("--open", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(opened(options.open[0], int(options.open[1]))))
        return
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.shards:
        with tempfile.TemporaryDirectory() as folder:
            results["local"] = measured(folder, options.shards, options.rows)
            print("local", results["local"], flush=True)
    if options.s3_shards:
        results["s3"] = on_s3(options.s3_shards, options.rows)
        print("s3", results["s3"], flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
