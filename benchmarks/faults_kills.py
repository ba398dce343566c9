"""Processes that are killed at random moments, whatever they are doing.

Each operation is done again and again, and killed; after each kill what was stored before must be
there with its own numbers, and in the end, undisturbed, the operation must come to its usual
result. A share of `--kills` falls to each.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from faults_forks import Outcome, asked, killed_after, moments
from faults_rows import SPEC, SPECS, fill, ids_of, lost_and_wrong
from PIL import Image

from transferkit.benchmark import Results
from transferkit.files import write_whole
from transferkit.store import FeatureStore

__all__ = ["FAULTS"]

N_IMAGES = 160
BACKBONE = {"pretrained": False, "image_size": 64, "device": "cpu"}


def pictures(folder: Path, n: int, n_classes: int = 2) -> None:
    """Write small images of a few classes."""
    rng = np.random.default_rng(0)
    for i in range(n):
        pixels = rng.integers(0, 120, (48, 48, 3), dtype=np.uint8)
        pixels[..., i % n_classes] += 100
        place = folder / "abc"[i % n_classes] / f"{i:04}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)


def extraction(folder: Path, device: str = "cpu", storage: str = "float32") -> dict[str, Any]:
    """Extract all images into a store, in small shards; what it has told, and the rows' digest."""
    import transferkit.extract.writing
    from transferkit import FeatureExtractor

    transferkit.extract.writing.SHARD_ROWS = 16
    options = {**BACKBONE, "device": device, "storage": storage}
    extractor = FeatureExtractor("test_resnet", batch_size=4, store=folder / "store", **options)
    found = extractor.extract(folder / "images")
    rows = found.rows["pre_logits"]
    np.savez(folder / "rows.npz", rows=rows, ids=np.array([list(i) for i in found.ids], np.uint8))
    return {"computed": found.n_computed, "spec": extractor.resolve().to_json()}


def stored(folder: Path, storage: str = "float32") -> dict[str, Any]:
    """Which rows of the images are in the store, and how many of them are wrong."""
    from transferkit import FeatureExtractor

    extractor = FeatureExtractor("test_resnet", storage=storage, **BACKBONE)
    spec = extractor.resolve().feature_spec("pre_logits", storage=storage)
    with np.load(folder / "rows.npz") as calm:
        ids = [bytes(one) for one in calm["ids"]]
        rows = calm["rows"]
    store = FeatureStore(folder / "store")
    _, wrong = lost_and_wrong(store, spec, ids, rows)
    absent = set(store.missing(spec, ids))
    return {"there": [one.hex() for one in ids if one not in absent], "wrong": wrong}


def extracting(device: str, share: float, storage: str = "float32") -> Callable[..., Outcome]:
    """Kill extractions on some devices."""

    def kill(folder: Path, rng: random.Random, *, kills: int, **_: Any) -> Outcome:
        found = Outcome()
        pictures(folder / "images", N_IMAGES)
        times = moments(rng, lambda: extraction(folder, device, storage), int(share * kills) or 1)
        shutil.rmtree(folder / "store")
        before: set[str] = set()
        at_work = 0
        for seconds in times:
            at_work += killed_after(lambda: extraction(folder, device, storage), seconds)
            now = asked(lambda: stored(folder, storage))
            found.count(lost=len(before - set(now["there"])), wrong=now["wrong"])
            before = set(now["there"])
            if len(before) == N_IMAGES:  # begin anew, so that every kill meets work
                shutil.rmtree(folder / "store")
                before = set()
        asked(lambda: extraction(folder, device, storage))
        now = asked(lambda: stored(folder, storage))
        found.rows_lost += N_IMAGES - len(now["there"])
        found.rows_wrong += now["wrong"]
        found.notes = {"killed_at_work": at_work}
        return found

    return kill


def compact(folder: Path) -> None:
    """Bring small shards together."""
    FeatureStore(folder / "store").compact()


def gc(folder: Path) -> None:
    """Remove a key, and what nobody needs."""
    store = FeatureStore(folder / "store")
    store.gc([spec.key for spec in SPECS[1:] if spec in store.specs()])


def merge(folder: Path) -> None:
    """Take another store's rows."""
    FeatureStore(folder / "store").merge(FeatureStore(folder / "other"))


def export(folder: Path) -> None:
    """Write all rows to a file."""
    store = FeatureStore(folder / "store")
    rows = store.read(SPEC, store.ids(SPEC))
    write_whole(folder / "export.bin", [rows.tobytes()])


def maintaining(work: Callable[[Path], None], share: float) -> Callable[..., Outcome]:
    """Kill what looks after a store, of which no row of the first key may go."""
    ids, others = ids_of(range(2000)), ids_of(range(1500, 3000))

    def prepare(folder: Path) -> None:
        shutil.rmtree(folder / "store", ignore_errors=True)
        for spec in SPECS:
            fill(FeatureStore(folder / "store"), spec, ids, 20)

    def check(folder: Path, wanted: list[bytes]) -> tuple[int, int]:
        return lost_and_wrong(FeatureStore(folder / "store"), SPEC, wanted)

    def kill(folder: Path, rng: random.Random, *, kills: int, **_: Any) -> Outcome:
        found, at_work = Outcome(), 0
        fill(FeatureStore(folder / "other"), SPEC, others, 50)
        prepare(folder)
        for seconds in moments(rng, lambda: work(folder), int(share * kills) or 1):
            prepare(folder)
            at_work += killed_after(lambda: work(folder), seconds)
            lost, wrong = asked(lambda: check(folder, ids))
            found.count(lost=lost, wrong=wrong)
        work(folder)
        lost, wrong = check(folder, ids + (others if work is merge else []))
        found.rows_lost, found.rows_wrong = found.rows_lost + lost, found.rows_wrong + wrong
        found.notes = {"killed_at_work": at_work}
        return found

    return kill


def replacing_models(folder: Path, rng: random.Random, *, kills: int, **_: Any) -> Outcome:
    """Kill what saves one model over another: one of the two is always there."""
    found, at_work = Outcome(), 0

    def make() -> dict[str, str]:
        from transferkit import FeatureExtractor, TransferClassifier

        extractor = FeatureExtractor("test_resnet", store=folder / "store", **BACKBONE)
        for name in ("linear", "knn"):
            TransferClassifier(extractor, name).fit(folder / "images").save(folder / name)
        return {name: answers(folder / name) for name in ("linear", "knn")}

    def answers(model: Path) -> str:
        from transferkit.estimators import load_estimator

        loaded = load_estimator(model, store=folder / "store")
        return hashlib.sha256(loaded.predict_proba(folder / "images").tobytes()).hexdigest()

    def save() -> None:
        from transferkit import artifacts

        models = [artifacts.load(folder / name) for name in ("linear", "knn")]
        for i in range(40):
            artifacts.save(folder / "model", models[i % 2], overwrite=True)

    pictures(folder / "images", 40)
    known = asked(make)
    for seconds in moments(rng, save, kills // 10 or 1):
        at_work += killed_after(save, seconds)
        if (folder / "model").exists() or at_work:
            found.count(wrong=asked(lambda: answers(folder / "model")) not in known.values())
    found.notes = {"killed_at_work": at_work, "left": len(list(folder.glob(".*model*")))}
    return found


def writing_results(folder: Path, rng: random.Random, *, kills: int, **_: Any) -> Outcome:
    """Kill what writes rows of a benchmark."""
    found, at_work = Outcome(), 0

    def row(i: int) -> dict[str, Any]:
        return {"cell": f"c{i:05}", "status": "done", "metrics": {"accuracy": i / 7}}

    def write() -> None:
        results = Results(folder / "results")
        n = len(results.rows())
        for i in range(n, n + 50):
            results.add(row(i), np.full(5, i), {"true": np.arange(i % 9)})

    def check() -> tuple[int, int]:
        results = Results(folder / "results")
        rows = results.rows()
        wrong = sum(found != row(i) or (results.values(found["cell"]) != i).any()
                    for i, found in enumerate(rows))  # fmt: skip
        return len(rows), int(wrong)

    before = 0
    for seconds in moments(rng, write, kills // 10 or 1):
        at_work += killed_after(write, seconds)
        now, wrong = asked(check)
        found.count(lost=max(0, before - now), wrong=wrong)
        before = now
    found.notes = {"killed_at_work": at_work, "rows": before}
    return found


def tuning(dense: bool, share: float) -> Callable[..., Outcome]:
    """Kill trainings that go on from their checkpoints, and compare the end with a calm run's."""

    def model(folder: Path, name: str) -> Any:
        from transferkit import FeatureExtractor, FineTuneClassifier
        from transferkit.estimators import TransferSegmenter

        extractor = FeatureExtractor("test_resnet", store=folder / "store", **BACKBONE)
        if dense:
            extractor.set_params(features=["stage1.map", "stage2.map"], crop_mode="squash")
            return TransferSegmenter(
                extractor, "linear", recipe={"epochs": 6}, folder=folder / name
            )
        recipe = {"epochs": 4, "batch_size": 8, "precision": "float32"}
        return FineTuneClassifier(extractor, "full", recipe=recipe, folder=folder / name)

    def train(folder: Path, name: str, resume: bool) -> str:
        fitted = model(folder, name)
        given = [folder / "images"]
        if dense:
            maps = [np.full((48, 48), i % 2) for i in range(24)]
            for one in maps:
                one[:20] = 1 - one[:20]
            given.append(maps)
        fitted.fit(*given, resume=resume)
        answer = json.dumps(fitted.history_)
        (folder / f"{name}.json").write_text(answer)
        return answer

    def kill(folder: Path, rng: random.Random, *, kills: int, **_: Any) -> Outcome:
        found, at_work = Outcome(), 0
        pictures(folder / "images", 24)
        calm = [without_times(asked(lambda: train(folder, "calm", False)))]
        times = moments(rng, lambda: train(folder, "calm", False), int(share * kills) or 1)
        for i, seconds in enumerate(times):
            at_work += killed_after(lambda: train(folder, "killed", resumable(folder)), seconds)
            if rng.random() < 0.3 or i == len(times) - 1:
                end = asked(lambda: train(folder, "killed", resumable(folder)))
                found.count(wrong=without_times(end) != calm[0])
                shutil.rmtree(folder / "killed")
        found.notes = {"killed_at_work": at_work, "kills": len(times)}
        return found

    return kill


def resumable(folder: Path) -> bool:
    """Whether a killed training has left a checkpoint."""
    from transferkit.training import CHECKPOINT

    return (folder / "killed" / CHECKPOINT).exists()


def without_times(history: str) -> list[dict[str, float]]:
    """The history of a training but for the seconds."""
    lines = json.loads(history)
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


FAULTS = {
    "kill extraction": extracting("cpu", 0.2),
    "kill extraction (int8)": extracting("cpu", 0.05, "int8"),
    "kill two processes": extracting("cpu,cpu", 0.03),
    "kill compaction": maintaining(compact, 0.12),
    "kill gc": maintaining(gc, 0.12),
    "kill merge": maintaining(merge, 0.12),
    "kill export": maintaining(export, 0.06),
    "kill saving of models": replacing_models,
    "kill results": writing_results,
    "kill fine-tuning": tuning(False, 0.05),
    "kill dense training": tuning(True, 0.05),
}
