"""Oriented boxes from cached maps, and with the whole network live.

    TRANSFERKIT_DATA=FOLDER python benchmarks/oriented.py [SET ...]

``FOLDER`` holds ``images/aerial-infrared`` and ``images/nuclei`` (DOTA's ``labelTxt`` and split
lists ``train.txt``, ``val.txt``) and ``weights/mobilenetv2_100.coral_in1k`` (timm's local-dir
layout). Each set is measured on ``val``, with an empty store and the estimators' own defaults:

- ``cached``: maps are extracted once, of the image and of the views of it, and neck and head are
  trained on them;
- ``lp-ft`` and ``full``: backbone, neck and head are trained on pixels, from the head of
  ``cached`` or from a fresh one. All training images are trained on, and the last epoch is
  measured: nothing is chosen by the images that are measured.

Average precision is DOTA's: the area under the whole curve, a hit overlaps by more than the
threshold, and objects that are ``difficult`` count neither way. CPU seconds are those of this
process: of extraction, of training, of predicting, and of what fine-tuning adds.

Results: ``benchmarks/results/oriented.json``, a row for each set, way, head, seed and settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "oriented.json"
DATA = Path(os.environ.get("TRANSFERKIT_DATA", "data"))
NAME = f"local-dir:{DATA}/weights/mobilenetv2_100.coral_in1k"
SETS = ("aerial-infrared", "nuclei")


def parts(name: str) -> tuple[Any, Any, Any, Any]:
    """Images and annotations of the training part and of the measured part."""
    from transferkit import list_images
    from transferkit.annotations import read_annotations

    root = DATA / "images" / name
    listed = list_images(root / "images", annotated=True, split_lists=root)
    pairs: list[tuple[Any, Any]] = []
    classes = None
    for part in ("train", "val"):
        at = [i for i, split in enumerate(listed.splits or ()) if split == part]
        images = dataclasses.replace(listed.select(at), splits=None)  # all are of one part
        found = read_annotations(root / "labelTxt", images, classes=classes, needs="oriented")
        classes = found.classes
        pairs.append((images, found))
    return (*pairs[0], *pairs[1])


def measured(model: Any, images: Any, annotations: Any) -> dict[str, Any]:
    """Average precision, over all classes and of each, in the images' px, percent."""
    start = time.process_time()
    report = model.measure(images, annotations).to_dict()
    names = {"ap": "average_precision", "ap50": "ap50", "ap75": "ap75"}

    def told(values: dict[str, Any]) -> dict[str, float | None]:
        found = {short: values[name] for short, name in names.items() if name in values}
        return {n: None if v is None else round(100 * v, 2) for n, v in found.items()}

    return {
        "measure_seconds": round(time.process_time() - start, 1),
        **told(report),
        "classes": {row["label"]: told(row) for row in report["classes"]},
    }


def options(store: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Those of an estimator that are given."""
    return {
        "neck": arguments.neck,
        "image_size": tuple(arguments.image_size) if arguments.image_size else None,
        "head_options": dict(arguments.head_option) or None,
        "suppression": dict(arguments.suppression) or None,
        "store": store,
        "device": "cpu",
    }


def cached(name: str, store: str, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train neck and head on maps that are extracted first."""
    from transferkit import TransferOrientedDetector

    images, annotations, test, truth = parts(name)
    recipe = {"seed": seed, **dict(arguments.set)}
    model = TransferOrientedDetector(NAME, recipe=recipe, **options(store, arguments))
    start = time.process_time()
    usable = model.usable(images, annotations)
    for view in model._views(model.extractor_):
        model.maps(images, is_training=True, view=view)
    extracted = time.process_time()
    model.fit_parts(usable, model.divided(usable, 0))
    trained = time.process_time()
    return {
        "seconds": {"extract": extracted - start, "train": trained - extracted},
        **told(model),
        **measured(model, test, truth),
    }


def live(name: str, store: str, arguments: argparse.Namespace, seed: int, way: str) -> Any:
    """Train the whole network. What the store holds already is not extracted again."""
    from transferkit import FineTuneOrientedDetector

    images, annotations, test, truth = parts(name)
    recipe = {"seed": seed, "validation_fraction": 0.0, **dict(arguments.live_set)}
    with tempfile.TemporaryDirectory() as folder:
        model = FineTuneOrientedDetector(
            NAME, way, recipe=recipe, folder=folder, **options(store, arguments)
        )
        start = time.process_time()
        model.fit(images, annotations)
        seconds = time.process_time() - start
        return {"seconds": {"fit": seconds}, **told(model), **measured(model, test, truth)}


def told(model: Any) -> dict[str, Any]:
    """What the defaults came to."""
    return {
        "head": model.head or model._head_name,
        "image_size": list(model.input_size_),
        "features": model.extractor_.feature_names,
        "epochs": model.recipe_.epochs,
    }


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
    parser.add_argument("--ways", nargs="*", default=["cached"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--neck")
    parser.add_argument("--image-size", nargs=2, type=int)
    parser.add_argument("--head-option", nargs="*", type=value, default=[])
    parser.add_argument("--set", nargs="*", type=value, default=[])
    parser.add_argument("--live-set", nargs="*", type=value, default=[])
    parser.add_argument("--suppression", nargs="*", type=value, default=[])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = json.loads(arguments.out.read_text()) if arguments.out.is_file() else []
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as store:
            # The second seed finds all maps in the store: its time of extraction is next to
            # nothing.
            for seed in arguments.seeds:
                for way in arguments.ways:
                    row = measured_row(name, store, way, arguments, seed)
                    rows.append(row)
                    print(json.dumps(row), flush=True)
                    arguments.out.parent.mkdir(parents=True, exist_ok=True)
                    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


def measured_row(
    name: str, store: str, way: str, arguments: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """Train and measure; a line of the results."""
    found = (
        cached(name, store, arguments, seed)
        if way == "cached"
        else live(name, store, arguments, seed, way)
    )
    found["seconds"] = {k: round(v, 1) for k, v in found["seconds"].items()}
    return {
        "set": name,
        "way": way,
        "seed": seed,
        "settings": dict(arguments.set) | dict(arguments.live_set),
        "head_options": dict(arguments.head_option),
        "suppression": dict(arguments.suppression),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        **found,
    }


if __name__ == "__main__":
    main()
