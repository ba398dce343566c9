"""Planted copies and wrong labels: how many are found, and how much of what is named is right.

    TRANSFERKIT_DATA=… PYTHONPATH=. python benchmarks/inspection.py [--seeds 0,1,2]

In a copy of sign-digits, divided into train and test, 20 copies of each kind are planted across
the parts (recompressed, cropped, mirrored) and 20 labels are changed. Beside the inspection stand
cleanlab's label issues on the same out-of-fold probabilities (where cleanlab is installed, or else
by --cleanlab PYTHON in an environment of its own), and for copies one threshold on the cosine of
the same features: the one that names as many pairs as were planted. Also what is found in
sign-digits and blood-cells as they are. Results: ``benchmarks/results/inspection.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inspection_planting import KINDS, Planted, plant
from transferkit.estimators import FeatureExtractor
from transferkit.inspection import Inspection, inspect_dataset, labels

RESULTS = Path(__file__).parent / "results" / "inspection.json"
# Reads probabilities and labels, and writes the positions that each of its rules names.
CLEANLAB = """
import json, sys, numpy, cleanlab
from cleanlab.filter import find_label_issues
known = numpy.load(sys.argv[1])
rules = ("prune_by_noise_rate", "confident_learning", "both")
named = {r: find_label_issues(known["codes"], known["p"], filter_by=r,
         return_indices_ranked_by="self_confidence").tolist() for r in rules}
print(json.dumps({"version": cleanlab.__version__, "named": named}))
"""


def main() -> None:
    """Run all of it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--cleanlab", default="python", help="A Python that has cleanlab.")
    options = parser.parse_args()
    data = Path(os.environ["TRANSFERKIT_DATA"])
    weights = f"local-dir:{data / 'weights' / 'mobilenetv2_035.keras_in1k'}"
    results: dict[str, Any] = {"backbone": "mobilenetv2_035.keras_in1k", "planted": []}
    with tempfile.TemporaryDirectory() as folder:
        extractor = FeatureExtractor(weights, store=options.store or Path(folder) / "store")
        for seed in map(int, filter(None, options.seeds.split(","))):
            place = Path(folder) / f"planted{seed}"
            planted = plant(data / "images" / "sign-digits", place, seed)
            results["planted"].append(one(place, planted, seed, extractor, options.cleanlab))
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            print(results["planted"][-1], flush=True)
    for name in ("sign-digits", "blood-cells/JPEGImages"):
        started = time.perf_counter()
        found = inspect_dataset(data / "images" / name, extractor)
        results[name] = described(found) | {"seconds": round(time.perf_counter() - started, 1)}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def one(
    folder: Path, planted: Planted, seed: int, extractor: FeatureExtractor, cleanlab: str
) -> dict[str, Any]:
    """Inspect a folder in which copies and wrong labels were planted."""
    extractor.extract(folder)  # not a part of the time
    known: dict[str, Any] = {}
    plain = labels.out_of_fold

    def remembered(rows: Any, targets: Any, **options: Any) -> Any:
        known["p"], known["codes"] = plain(rows, targets, **options), targets
        return known["p"]

    labels.out_of_fold = remembered
    started, cpu = time.perf_counter(), time.process_time()
    try:
        found = inspect_dataset(folder, extractor)
    finally:
        labels.out_of_fold = plain
    seconds = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    names = found.images.names
    wrong = {names.index(name) for name in planted.flips}
    return {
        "seed": seed,
        "images": len(names),
        "seconds": {what: round(value, 1) for what, value in seconds.items()},
        "copies": copies_found(found, planted),
        "cosine": cosine_threshold(extractor, found, planted),
        "labels": labels_found([one.image for one in found.of("label")], wrong),
        "all_by_self_confidence": ranked(known, wrong),
        "cleanlab": beside(known, wrong, cleanlab),
    }


def pairs_of(planted: Planted) -> dict[frozenset[str], str]:
    """Names of each planted pair, and its kind."""
    return {frozenset((name, other)): kind for name, (kind, other) in planted.copies.items()}


def copies_found(found: Inspection, planted: Planted) -> dict[str, Any]:
    """Of each kind of copies those that were found, and how many of those named are planted."""
    names, true = found.images.names, pairs_of(planted)
    named = [frozenset((names[f.image], names[f.other])) for f in found.of("near duplicate")]
    right = [pair for pair in named if pair in true]
    return {
        "planted": len(true),
        "named": len(named),
        "right": len(right),
        "others": sorted(map(sorted, set(named) - set(true))),
        **{kind: sum(true[pair] == kind for pair in right) for kind in KINDS},
    }


def cosine_threshold(
    extractor: FeatureExtractor, found: Inspection, planted: Planted
) -> dict[str, Any]:
    """The pairs of largest cosine, as many as were planted."""
    rows = extractor.transform(found.images)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = np.triu(rows @ rows.T, 1)
    true, names = pairs_of(planted), found.images.names
    # Exact duplicates aren't looked for here.
    cosine[cosine > 1 - 1e-6] = 0
    order = np.argsort(-cosine, axis=None)[: len(true)]
    pairs = [frozenset(names[i] for i in np.unravel_index(at, cosine.shape)) for at in order]
    right = [pair for pair in pairs if pair in true]
    kinds = {kind: sum(true[pair] == kind for pair in right) for kind in KINDS}
    return {"named": len(pairs), "right": len(right), **kinds}


def labels_found(named: list[int], wrong: set[int]) -> dict[str, int]:
    """How many of the named are right, and of the first of them as many as were planted."""
    first = named[: len(wrong)]
    return {
        "planted": len(wrong),
        "named": len(named),
        "right": len(wrong & set(named)),
        f"right_of_first_{len(wrong)}": len(wrong & set(first)),
    }


def ranked(known: dict[str, Any], wrong: set[int]) -> dict[str, int]:
    """The least self-confident of all images, without any rule that names them."""
    own = known["p"][np.arange(len(known["codes"])), known["codes"]]
    return labels_found(np.argsort(own, kind="stable")[: len(wrong)].tolist(), wrong)


def beside(known: dict[str, Any], wrong: set[int], python: str) -> dict[str, Any] | None:
    """Label issues by cleanlab on the same probabilities; None without cleanlab."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "known.npz"
        np.savez(file, **known)
        command = [python, "-c", CLEANLAB, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print("cleanlab isn't there:", done.stderr.strip().splitlines()[-1:])
        return None
    told = json.loads(done.stdout)
    rules = {rule: labels_found(named, wrong) for rule, named in told["named"].items()}
    return {"version": told["version"], **rules}


def described(found: Inspection) -> dict[str, Any]:
    """Number of findings of each kind, and the first twenty."""
    kinds = dict.fromkeys(one.kind for one in found.findings)
    lines = found.lines()
    return {
        kind: {
            "named": len(found.of(kind)),
            "first": [
                {key: line[key] for key in ("path", "other", "score", "suggestion", "reason")}
                for line in lines
                if line["kind"] == kind
            ][:20],
        }
        for kind in kinds
    }


if __name__ == "__main__":
    main()
