"""Segmentation from cached maps, and with the whole network live.

    TRANSFERKIT_DATA=FOLDER python benchmarks/segmentation.py [SET ...] --ways cached lp-ft full

``FOLDER`` holds ``images/nuclei`` and ``images/blood-cells`` with their masks and split lists,
and ``weights/mobilenetv2_100.coral_in1k`` (timm's local-dir layout). Each set is measured on the
part that the reference numbers are of, with an empty store:

- ``cached``: maps are extracted once, plain and mirrored, and neck and head are trained on them;
- ``lp-ft`` and ``full``: backbone, neck and head are trained on pixels, from the head of
  ``cached`` or from a fresh one. All training images are trained on, and the last epoch is
  measured: nothing is chosen by the images that are measured.

CPU seconds are those of this process, of all its threads: of extraction, of training, and of
what fine-tuning adds. ``--set`` and ``--live-set`` change settings of the two recipes.

Results: ``benchmarks/results/segmentation.json``, a row for each set, way, seed and settings.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "segmentation.json"
DATA = Path(os.environ.get("TRANSFERKIT_DATA", "data"))
NAME = f"local-dir:{DATA}/weights/mobilenetv2_100.coral_in1k"
# Images, masks, lists of a split, the part that is measured, input size (height, width), px.
SETS: dict[str, tuple[str, str, str, str, tuple[int, int]]] = {
    "nuclei": ("nuclei/images", "nuclei/masks", "nuclei", "val", (256, 256)),
    "blood-cells": (
        "blood-cells/JPEGImages",
        "blood-cells/SegmentationClass",
        "blood-cells/ImageSets/Segmentation",
        "test",
        (240, 320),
    ),
}


def parts(name: str) -> tuple[Any, Any, Any, Any]:
    """Images and annotations of the training part and of the measured part."""
    from transferkit import list_images
    from transferkit.annotations import read_annotations

    images, masks, lists, measured, _ = SETS[name]
    root = DATA / "images"
    listed = list_images(root / images, annotated=True, split_lists=root / lists)
    found = read_annotations(root / masks, listed)
    at = [
        [i for i, s in enumerate(listed.splits or ()) if s == part] for part in ("train", measured)
    ]
    pairs = [(_without_splits(listed.select(i)), found.select(i)) for i in at]
    return (*pairs[0], *pairs[1])


def _without_splits(images: Any) -> Any:
    """The images, all of one part."""
    import dataclasses

    return dataclasses.replace(images, splits=None)


def extractor(name: str, store: str, storage: str) -> Any:
    """Maps of the whole image."""
    from transferkit import FeatureExtractor

    return FeatureExtractor(
        NAME,
        image_size=SETS[name][4],
        crop_mode="squash",
        crop_pct=1.0,
        storage=storage,
        store=store,
        device="cpu",
    )


def measured(model: Any, images: Any, annotations: Any) -> dict[str, Any]:
    """Mean IoU and that of each class, in the images' px."""
    report = model.measure(images, annotations).to_dict()
    return {
        "mean_iou": round(100 * report["mean_iou"], 2),
        "iou": {row["label"]: round(100 * (row["iou"] or 0), 2) for row in report["classes"]},
        "boundary_f": report["boundary_f"],
    }


def cached(name: str, store: str, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train neck and head on maps that are extracted first."""
    from transferkit import TransferSegmenter
    from transferkit.extract import mirrored

    images, annotations, test, truth = parts(name)
    model = TransferSegmenter(
        extractor(name, store, arguments.storage),
        arguments.head,
        neck=arguments.neck,
        recipe={"seed": seed, **dict(arguments.set)},
    )
    start = time.process_time()
    usable = model.usable(images, annotations)
    model.maps(images, is_training=True, view=mirrored(model.extractor_.resolve().preprocess))
    extracted = time.process_time()
    model.fit_parts(usable, model.divided(usable, 0))
    trained = time.process_time()
    return {
        "seconds": {"extract": extracted - start, "train": trained - extracted},
        **measured(model, test, truth),
    }


def live(name: str, store: str, arguments: argparse.Namespace, seed: int, way: str) -> Any:
    """Train the whole network. What the store holds already is not extracted again."""
    from transferkit import FineTuneSegmenter

    images, annotations, test, truth = parts(name)
    with tempfile.TemporaryDirectory() as folder:
        model = FineTuneSegmenter(
            extractor(name, store, arguments.storage),
            way,
            head=arguments.head,
            neck=arguments.neck,
            recipe={
                "seed": seed,
                "validation_fraction": 0.0,
                **dict(arguments.set),
                **dict(arguments.live_set),
            },
            folder=folder,
        )
        start = time.process_time()
        model.fit(images, annotations)
        seconds = time.process_time() - start
        return {"seconds": {"fit": seconds}, **measured(model, test, truth)}


def value(text: str) -> tuple[str, Any]:
    """A setting NAME=VALUE."""
    name, _, given = text.partition("=")
    try:
        return name, json.loads(given)
    except ValueError:
        return name, given


def main() -> None:
    """Measure what was asked for and add it to the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--ways", nargs="*", default=["cached", "lp-ft"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--head", default="unet")
    parser.add_argument("--neck")
    parser.add_argument("--storage", default="float16")
    parser.add_argument("--set", nargs="*", type=value, default=[])
    parser.add_argument("--live-set", nargs="*", type=value, default=[])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = json.loads(arguments.out.read_text()) if arguments.out.is_file() else []
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as store:
            for way in arguments.ways:
                for seed in arguments.seeds:
                    measure = cached if way == "cached" else live
                    extra = () if way == "cached" else (way,)
                    row = {
                        "set": name,
                        "way": way,
                        "seed": seed,
                        "head": arguments.head,
                        "neck": arguments.neck,
                        "storage": arguments.storage,
                        "settings": dict(arguments.set) | dict(arguments.live_set),
                        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
                        **measure(name, store, arguments, seed, *extra),
                    }
                    row["seconds"] = {k: round(v, 1) for k, v in row["seconds"].items()}
                    rows.append(row)
                    print(json.dumps(row), flush=True)
                    arguments.out.parent.mkdir(parents=True, exist_ok=True)
                    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
