"""Power cuts: of what was written, only what was flushed to the disk survives.

A process logs every flush of a file or folder, every renaming and every removal, and is killed.
Then files are cut to what they were when they were last flushed, and of the changes of names whose
folder was not flushed since, a random half is undone: file systems may keep either.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults_forks import Outcome, asked, killed_after, moments
from faults_rows import SPEC, fill, ids_of, lost_and_wrong

from transferkit.store import FeatureStore

__all__ = ["FAULTS"]


def log_of_disk(log: Path) -> None:
    """Have this process write down what it flushes, renames and removes."""
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def write(*event: Any) -> None:
        os.write(out, (json.dumps(event) + "\n").encode())

    def logged_fsync(handle: Any) -> None:
        fsync(handle)
        status = os.fstat(handle)
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "file"
        path = Path(f"/proc/self/fd/{int(handle)}").readlink()
        write(kind, str(path), status.st_ino, status.st_size)

    def logged(change: Callable[..., None]) -> Callable[..., None]:
        def renamed(source: Any, target: Any, **options: Any) -> None:
            change(source, target, **options)
            write("name", os.path.abspath(source), os.path.abspath(target))  # noqa: PTH100

        return renamed

    os.fsync, os.replace, os.rename = logged_fsync, logged(replace), logged(rename)


def cut_power(folder: Path, log: Path, rng: random.Random) -> None:
    """Take from a folder what a disk would not have had yet."""
    events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    flushed = {event[2]: event[3] for event in events if event[0] == "file"}
    last = {event[1]: i for i, event in enumerate(events) if event[0] == "folder"}
    for i, event in reversed(list(enumerate(events))):
        if event[0] != "name":
            continue
        target = Path(event[2])
        is_safe = last.get(str(target.parent), -1) > i
        if not is_safe and target.exists() and rng.random() < 0.5:
            target.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            os.truncate(path, min(status.st_size, flushed.get(status.st_ino, 0)))


def writing(folder: Path, rng: random.Random, *, kills: int, **_: Any) -> Outcome:
    """Cut the power while rows are written: those whose shard was said to be written stay."""
    found, at_work = Outcome(), 0
    ids, log, told = ids_of(range(600)), folder / "log", folder / "told"

    def write() -> None:
        log_of_disk(log)
        store = FeatureStore(folder / "store")
        out = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for start in range(0, len(ids), 20):
            fill(store, SPEC, ids[start : start + 20], 20)
            os.write(out, b"%d\n" % start)

    def check() -> tuple[int, int]:
        starts = [int(line) for line in told.read_text().split()] if told.exists() else []
        store = FeatureStore(folder / "store")
        promised = [one for start in starts for one in ids[start : start + 20]]
        lost, _ = lost_and_wrong(store, SPEC, promised)
        _, wrong = lost_and_wrong(store, SPEC, ids)
        return lost, wrong

    for seconds in moments(rng, write, kills // 5 or 1):
        shutil.rmtree(folder / "store", ignore_errors=True)
        for file in (log, told):
            file.unlink(missing_ok=True)
        at_work += killed_after(write, seconds)
        cut_power(folder / "store", log, rng)
        lost, wrong = asked(check)
        found.count(lost=lost, wrong=wrong)
    found.notes = {"cut_at_work": at_work}
    return found


def compacting(folder: Path, rng: random.Random, *, kills: int, **_: Any) -> Outcome:
    """Cut the power while shards are brought together: no row may go."""
    found, at_work = Outcome(), 0
    ids, log = ids_of(range(1000)), folder / "log"

    def prepare() -> None:
        shutil.rmtree(folder / "store", ignore_errors=True)
        fill(FeatureStore(folder / "store"), SPEC, ids, 20)
        for path in (folder / "store").rglob("*"):
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)

    def compact() -> None:
        log_of_disk(log)
        FeatureStore(folder / "store").compact()

    prepare()
    for seconds in moments(rng, compact, kills // 5 or 1):
        prepare()
        log.unlink(missing_ok=True)
        there = {path.stat().st_ino for path in (folder / "store").rglob("*") if path.is_file()}
        at_work += killed_after(compact, seconds)
        keep_flushed(log, folder / "store", there)
        cut_power(folder / "store", log, rng)
        lost, wrong = asked(lambda: lost_and_wrong(FeatureStore(folder / "store"), SPEC, ids))
        found.count(lost=lost, wrong=wrong)
    found.notes = {"cut_at_work": at_work}
    return found


def keep_flushed(log: Path, folder: Path, there: set[int]) -> None:
    """Write into a log that files were flushed before it began."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    with log.open("a") as out:
        for path in files:
            status = path.stat()
            if status.st_ino in there:
                out.write(json.dumps(["file", str(path), status.st_ino, status.st_size]) + "\n")


FAULTS = {"power cut, writing": writing, "power cut, compaction": compacting}
