"""Detection of small objects with and without tiles, from cached maps.

    TRANSFERKIT_DATA=FOLDER python benchmarks/detection_tiles.py --sets pcb aerial-infrared

``FOLDER`` holds ``images/pcb`` (``defects.json`` beside ``test/defect``; 60 images of 640 px, of
which 40 are drawn by seed 0 to train on), ``images/aerial-infrared`` (``oriented_{train,val}.json``
and ``val.txt``, upright boxes; 640 × 512 px) and ``weights/mobilenetv2_100.coral_in1k``. Each row
is one setting of ``--settings``, written as ``TILES:SIZE:EPOCHS``, such as ``none:auto:30`` or
``2x2:352:16``; images of a step and epochs are of tiles where there are tiles. The last epoch is
measured: nothing is chosen by the images that are measured.

CPU seconds are those of this process, of all its threads: of extraction and training together,
where the store (``--store``, a temporary folder by default) doesn't have the maps.

Results: ``benchmarks/results/detection_tiles.json``, a row for each set, setting and seed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "detection_tiles.json"
DATA = Path(os.environ.get("TRANSFERKIT_DATA", "data"))
NAME = f"local-dir:{DATA}/weights/mobilenetv2_100.coral_in1k"
SETTINGS = ("none:auto:30", "none:640:30", "2x2:auto:16")


def pcb() -> tuple[Any, Any, Any, Any]:
    """Training images and their annotations, and those that are measured."""
    from transferkit import list_images, read_annotations

    root = DATA / "images" / "pcb"
    images = list_images(root / "test" / "defect")
    found = read_annotations(root / "defects.json", images)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = np.sort(order[:40]), np.sort(order[40:])
    return images.select(train), found.select(train), images.select(test), found.select(test)


def aerial_infrared() -> tuple[Any, Any, Any, Any]:
    """Training images and their annotations, and those that are measured."""
    from transferkit import list_images, read_annotations

    root = DATA / "images" / "aerial-infrared"
    images = list_images(root / "images")
    found = read_annotations([root / f"oriented_{p}.json" for p in ("train", "val")], images)
    held = set((root / "val.txt").read_text().split())
    is_held = np.array([Path(name).name in held for name in images.names])
    train, test = np.flatnonzero(~is_held), np.flatnonzero(is_held)
    return images.select(train), found.select(train), images.select(test), found.select(test)


SETS = {"pcb": pcb, "aerial-infrared": aerial_infrared}


def measured(name: str, setting: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one setting."""
    from transferkit import TransferDetector

    tiles, size, epochs = setting.split(":")
    images, annotations, test, truth = SETS[name]()
    model = TransferDetector(
        NAME,
        arguments.head,
        image_size=None if size == "auto" else int(size),
        tiles=None if tiles == "none" else tiles,
        recipe={"epochs": int(epochs), "seed": seed, "zoomed": not arguments.no_zoom},
        store=arguments.store,
        device="cpu",
    )
    start = time.process_time()
    model.fit(images, annotations)
    fitted = time.process_time()
    report = model.measure(test, truth)
    return {
        "set": name,
        "tiles": tiles,
        "image_size": list(model.input_size_),
        "epochs": int(epochs),
        "zoomed": not arguments.no_zoom,
        "head": arguments.head,
        "seed": seed,
        "ap": round(100 * report.average_precision, 1),
        "ap50": round(100 * report.ap50, 1),
        "fit_cpu_seconds": round(fitted - start, 1),
        "predict_cpu_seconds": round(time.process_time() - fitted, 1),
    }


def main() -> None:
    """Measure what the command line asks for, and add it to the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sets", nargs="+", default=["pcb"], choices=list(SETS))
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS))
    parser.add_argument("--head", default="fcos")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--no-zoom", action="store_true", help="only images and mirror images")
    parser.add_argument("--store", help="keeps the maps for another run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments.store = arguments.store or folder
        for name in arguments.sets:
            for setting in arguments.settings:
                for seed in range(arguments.seeds):
                    row = measured(name, setting, seed, arguments)
                    print(json.dumps(row), flush=True)
                    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
                    RESULTS.write_text(json.dumps([*rows, row], indent=1) + "\n")


if __name__ == "__main__":
    main()
