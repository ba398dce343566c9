"""Instance segmentation from cached maps, and with the whole network live.

    TRANSFERKIT_DATA=FOLDER python benchmarks/instances.py [--ways cached lp-ft] [--seeds 0 1]

``FOLDER`` holds ``images/nuclei`` (with ``instances_{train,val}.json`` and its split lists) and
``weights/mobilenetv2_100.coral_in1k`` (timm's local-dir layout). All settings are the estimators'
defaults unless ``--set``, ``--live-set``, ``--suppression`` or ``--size`` say otherwise:

- ``cached``: maps are extracted once, of the image, its mirror image and zoomed ones, and neck
  and head are trained on them;
- ``lp-ft`` and ``full``: backbone, neck and head are trained on pixels, from the head of
  ``cached`` or from a fresh one. All training images are trained on, and the last epoch is
  measured: nothing is chosen by the images that are measured.

CPU seconds are those of this process, of all its threads: of extraction, of training, of what
fine-tuning adds, and of predicting the measured images. Each seed starts with an empty store.

Results: ``benchmarks/results/instances.json``, a row for each way, head, seed and settings.
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

RESULTS = Path(__file__).parent / "results" / "instances.json"
DATA = Path(os.environ.get("TRANSFERKIT_DATA", "data"))
NAME = f"local-dir:{DATA}/weights/mobilenetv2_100.coral_in1k"


def parts() -> tuple[Any, Any, Any, Any]:
    """Images and annotations of the training part and of the measured part."""
    from transferkit import list_images, read_annotations

    root = DATA / "images" / "nuclei"
    listed = list_images(root / "images", annotated=True, split_lists=root)
    pairs: list[tuple[Any, Any]] = []
    classes = None
    for part in ("train", "val"):
        at = [i for i, split in enumerate(listed.splits or ()) if split == part]
        images = dataclasses.replace(listed.select(at), splits=None)  # all are of one part
        found = read_annotations(
            root / f"instances_{part}.json", images, classes=classes, needs="masks"
        )
        classes = found.classes
        pairs.append((images, found))
    return (*pairs[0], *pairs[1])


def measured(model: Any, images: Any, annotations: Any) -> dict[str, Any]:
    """Average precision of boxes and masks, and panoptic quality, in percent."""
    start = time.process_time()
    report = model.measure(images, annotations).to_dict()
    seconds = time.process_time() - start
    names = {
        "mask": ("average_precision", "ap50", "ap75"),
        "box": ("box_average_precision", "box_ap50", "box_ap75"),
        "panoptic": ("panoptic_quality",),
    }
    found = {
        kind: {n.removeprefix("box_"): percent(report[n]) for n in own if n in report}
        for kind, own in names.items()
    }
    return {**found, "measure": round(seconds, 1)}


def percent(value: float | None) -> float | None:
    """A share in percent; None where it is undefined."""
    return None if value is None else round(100 * value, 2)


def cached(store: str, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train neck and head on maps that are extracted first."""
    from transferkit import TransferInstanceSegmenter

    images, annotations, test, truth = parts()
    model = TransferInstanceSegmenter(
        NAME,
        arguments.head,
        recipe={"seed": seed, **dict(arguments.set)},
        **common(store, arguments),
    )
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


def live(store: str, arguments: argparse.Namespace, seed: int, way: str) -> dict[str, Any]:
    """Train the whole network. What the store holds already is not extracted again."""
    from transferkit import FineTuneInstanceSegmenter

    images, annotations, test, truth = parts()
    settings = {**dict(arguments.set), **dict(arguments.live_set)}
    with tempfile.TemporaryDirectory() as folder:
        model = FineTuneInstanceSegmenter(
            NAME,
            way,
            head=arguments.head,
            recipe={"seed": seed, "validation_fraction": 0.0, **settings},
            folder=folder,
            **common(store, arguments),
        )
        start = time.process_time()
        model.fit(images, annotations)
        seconds = time.process_time() - start
        return {"seconds": {"fit": seconds}, **told(model), **measured(model, test, truth)}


def common(store: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What both estimators are given."""
    return {
        "image_size": arguments.size,
        "head_options": dict(arguments.head_set) or None,
        "suppression": dict(arguments.suppression) or None,
        "store": store,
        "device": "cpu",
    }


def told(model: Any) -> dict[str, Any]:
    """What was chosen by default."""
    return {
        "epochs": model.recipe_.epochs,
        "input": list(model.input_size_),
        "features": list(model.extractor_.feature_names),
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
    parser.add_argument("--ways", nargs="*", default=["cached"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--head", default="mask-rcnn")
    parser.add_argument("--size", type=int, help="height and width of the input, px")
    parser.add_argument("--set", nargs="*", type=value, default=[])
    parser.add_argument("--live-set", nargs="*", type=value, default=[])
    parser.add_argument("--head-set", nargs="*", type=value, default=[])
    parser.add_argument("--suppression", nargs="*", type=value, default=[])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = json.loads(arguments.out.read_text()) if arguments.out.is_file() else []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as store:
            for way in arguments.ways:
                rows.append(measured_row(store, way, arguments, seed))
                print(json.dumps(rows[-1]), flush=True)
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


def measured_row(store: str, way: str, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train and measure; a line of the results."""
    found = cached(store, arguments, seed) if way == "cached" else live(store, arguments, seed, way)
    found["seconds"] = {k: round(v, 1) for k, v in found["seconds"].items()}
    found["seconds"]["measure"] = found.pop("measure")
    return {
        "set": "nuclei",
        "way": way,
        "head": arguments.head,
        "seed": seed,
        "settings": dict(arguments.set) | (dict(arguments.live_set) if way != "cached" else {}),
        "head_options": dict(arguments.head_set),
        "suppression": dict(arguments.suppression),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        **found,
    }


if __name__ == "__main__":
    main()
