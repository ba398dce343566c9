"""Detection from cached maps, and with the whole network live.

    TRANSFERKIT_DATA=FOLDER python benchmarks/detection.py [SET ...] --heads faster-rcnn fcos

``FOLDER`` holds ``images/raccoon`` (with ``instances_{train,val}.json`` and its split lists),
``images/blood-cells`` (VOC) and ``weights/mobilenetv2_100.coral_in1k`` (timm's local-dir layout).
Each set is measured on the part that the reference numbers are of, with an empty store:

- ``cached``: maps are extracted once, of the image, its mirror image and zoomed ones, and neck
  and head are trained on them;
- ``lp-ft`` and ``full``: backbone, neck and head are trained on pixels, from the head of
  ``cached`` or from a fresh one. All training images are trained on, and the last epoch is
  measured: nothing is chosen by the images that are measured.

CPU seconds are those of this process, of all its threads: of extraction, of training, and of
what fine-tuning adds. ``--set`` and ``--live-set`` change settings of the two recipes.

Results: ``benchmarks/results/detection.json``, a row for each set, way, head, seed and settings.
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

RESULTS = Path(__file__).parent / "results" / "detection.json"
DATA = Path(os.environ.get("TRANSFERKIT_DATA", "data"))
NAME = f"local-dir:{DATA}/weights/mobilenetv2_100.coral_in1k"
HEADS = ("faster-rcnn", "fcos", "retinanet", "ssd")


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Where images are, the lists of their split, the annotations of each part, and the input.

    Parameters
    ----------
    images, lists : str
        Folders below ``images``.
    annotations : str
        File or folder; ``{}`` stands for the part's name.
    measured : str
        The part that is measured.
    size : (int, int)
        Height and width of the network's input, px.
    """

    images: str
    lists: str
    annotations: str
    measured: str
    size: tuple[int, int]


SETS = {
    "raccoon": DataSet("raccoon/images", "raccoon", "raccoon/instances_{}.json", "val", (320, 320)),
    "blood-cells": DataSet(
        "blood-cells/JPEGImages",
        "blood-cells/ImageSets/Main",
        "blood-cells/Annotations",
        "test",
        (240, 320),
    ),
}


def parts(name: str) -> tuple[Any, Any, Any, Any]:
    """Images and annotations of the training part and of the measured part."""
    from transferkit import list_images
    from transferkit.annotations import read_annotations

    own, root = SETS[name], DATA / "images"
    listed = list_images(root / own.images, annotated=True, split_lists=root / own.lists)
    pairs: list[tuple[Any, Any]] = []
    classes = None
    for part in ("train", own.measured):
        at = [i for i, split in enumerate(listed.splits or ()) if split == part]
        images = dataclasses.replace(listed.select(at), splits=None)  # all are of one part
        found = read_annotations(root / own.annotations.format(part), images, classes=classes)
        classes = found.classes
        pairs.append((images, found))
    return (*pairs[0], *pairs[1])


def extractor(name: str, store: str, storage: str = "float16") -> Any:
    """Maps of the whole image."""
    from transferkit import FeatureExtractor

    return FeatureExtractor(
        NAME,
        image_size=SETS[name].size,
        crop_mode="squash",
        crop_pct=1.0,
        storage=storage,
        store=store,
        device="cpu",
    )


def measured(model: Any, images: Any, annotations: Any) -> dict[str, Any]:
    """Average precision, over all classes and of each, in the images' px."""
    return percent(model.measure(images, annotations).to_dict())


def percent(report: dict[str, Any]) -> dict[str, Any]:
    """Average precisions of a report, in percent; None where there is no object."""
    names = {"ap": "average_precision", "ap50": "ap50", "ap75": "ap75"}

    def told(values: dict[str, Any]) -> dict[str, float | None]:
        found = {short: values[name] for short, name in names.items() if name in values}
        return {n: None if v is None else round(100 * v, 2) for n, v in found.items()}

    return {**told(report), "classes": {row["label"]: told(row) for row in report["classes"]}}


def cached(
    name: str, store: str, head: str, arguments: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """Train neck and head on maps that are extracted first."""
    from transferkit import TransferDetector

    images, annotations, test, truth = parts(name)
    model = TransferDetector(
        extractor(name, store, arguments.storage),
        head,
        neck=arguments.neck,
        recipe={"seed": seed, **dict(arguments.set)},
        suppression=dict(arguments.suppression) or None,
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
        "epochs": model.recipe_.epochs,
        **measured(model, test, truth),
    }


def live(
    name: str, store: str, head: str, arguments: argparse.Namespace, seed: int, way: str
) -> dict[str, Any]:
    """Train the whole network. What the store holds already is not extracted again."""
    from transferkit import FineTuneDetector

    images, annotations, test, truth = parts(name)
    with tempfile.TemporaryDirectory() as folder:
        model = FineTuneDetector(
            extractor(name, store, arguments.storage),
            way,
            head=head,
            neck=arguments.neck,
            recipe={
                "seed": seed,
                "validation_fraction": 0.0,
                **dict(arguments.set),
                **dict(arguments.live_set),
            },
            suppression=dict(arguments.suppression) or None,
            folder=folder,
        )
        start = time.process_time()
        model.fit(images, annotations)
        seconds = time.process_time() - start
        return {
            "seconds": {"fit": seconds},
            "epochs": model.recipe_.epochs,
            **measured(model, test, truth),
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
    parser.add_argument("--heads", nargs="*", default=list(HEADS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--neck")
    parser.add_argument("--storage", default="float16")
    parser.add_argument("--set", nargs="*", type=value, default=[])
    parser.add_argument("--live-set", nargs="*", type=value, default=[])
    parser.add_argument("--suppression", nargs="*", type=value, default=[])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = json.loads(arguments.out.read_text()) if arguments.out.is_file() else []
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as store:
            # By seed first: the heads of the second seed find all maps in the store, and their
            # time of extraction is next to nothing.
            for seed in arguments.seeds:
                for way in arguments.ways:
                    for head in arguments.heads:
                        row = measured_row(name, store, way, head, arguments, seed)
                        rows.append(row)
                        print(json.dumps(row), flush=True)
                        arguments.out.parent.mkdir(parents=True, exist_ok=True)
                        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


def measured_row(
    name: str, store: str, way: str, head: str, arguments: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """Train and measure; a line of the results."""
    found = (
        cached(name, store, head, arguments, seed)
        if way == "cached"
        else live(name, store, head, arguments, seed, way)
    )
    found["seconds"] = {k: round(v, 1) for k, v in found["seconds"].items()}
    return {
        "set": name,
        "way": way,
        "head": head,
        "neck": arguments.neck,
        "seed": seed,
        "storage": arguments.storage,
        "settings": dict(arguments.set) | dict(arguments.live_set),
        "suppression": dict(arguments.suppression),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        **found,
    }


if __name__ == "__main__":
    main()
