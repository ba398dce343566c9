"""Detection from cached maps against torchvision's reference training, to the same precision.

    TRANSFERKIT_DATA=FOLDER python benchmarks/detection_rivals.py [SET ...] --seeds 0 1

``FOLDER`` is that of ``benchmarks/detection.py``. Backbone, images, input pixels (squashed to the
same size) and the measure are the same for all:

- ``cached``: ours, for each of ``--ours`` epochs, with a schedule of its own;
- ``unfrozen``, ``frozen``: torchvision's ``FasterRCNN`` on the same timm network behind its FPN
  of 256 channels, on the levels of strides 8, 16 and 32 and one above, with its box head of 1024,
  trained as ``references/detection/train.py`` does it: SGD of momentum 0.9 and weight decay 1e-4,
  2 images a step, learning rate 0.02 / 8, a first epoch of warm-up, mirrored images, a tenth of
  the rate after 16 of 26 and another after 22 of 26 of the epochs. Batch norm keeps its
  statistics, as in torchvision's own. It is measured after every epoch, which isn't counted;
- ``unfrozen-lean``, ``frozen-lean``: the same with the widths of our default, 64 and 256.

CPU seconds are those of this process, of all its threads: decoding, extraction and training.
The seconds to the same precision are those of a rival's first epoch that reaches ours; one that
never does is said to take more than all it took.

Results: ``benchmarks/results/detection_rivals.json``, a row for each set, way and seed with its
curve of (CPU seconds, AP).
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
from detection import NAME, SETS, cached, parts, percent, value

RESULTS = Path(__file__).parent / "results" / "detection_rivals.json"
WAYS = ("unfrozen", "frozen", "unfrozen-lean", "frozen-lean")
# Widths of the pyramid and of the box head.
WIDTHS = {False: (256, 1024), True: (64, 256)}


# ---- ours ----


def ours(name: str, arguments: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Trainings of some numbers of epochs; seconds, extraction among them, and precision."""
    curve: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as store:
        extract = None
        for epochs in arguments.ours:
            own = argparse.Namespace(
                storage="float16",
                neck=None,
                set=[*arguments.set, ("epochs", epochs)],
                suppression=arguments.suppression,
            )
            row = cached(name, store, "faster-rcnn", own, seed)
            seconds = row.pop("seconds")
            # The maps of the first training serve them all; each is told with its extraction.
            extract = seconds["extract"] if extract is None else extract
            curve.append({**row, "seconds": round(extract + seconds["train"], 1)})
    return curve


# ---- the rival ----


def rival_model(
    size: tuple[int, int], n_classes: int, *, is_frozen: bool, is_lean: bool = False
) -> Any:
    """Torchvision's Faster R-CNN on the timm network."""
    import timm
    from timm.layers import freeze_batch_norm_2d
    from torch import nn
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

    width, box_width = WIDTHS[is_lean]
    body = freeze_batch_norm_2d(
        timm.create_model(NAME, pretrained=True, features_only=True, out_indices=(2, 3, 4))
    )
    body.requires_grad_(not is_frozen)

    class WithPyramid(nn.Module):
        """What torchvision's ``BackboneWithFPN`` does, for a timm network."""

        def __init__(self) -> None:
            super().__init__()
            self.body = body
            channels = body.feature_info.channels()
            self.fpn = FeaturePyramidNetwork(channels, width, extra_blocks=LastLevelMaxPool())
            self.out_channels = width

        def forward(self, images: Any) -> Any:
            return self.fpn({str(i): level for i, level in enumerate(self.body(images))})

    sizes = tuple((side,) for side in (32, 64, 128, 256))
    configuration = timm.models.parse_model_name(NAME)[1]
    own = json.loads((Path(configuration) / "config.json").read_text())["pretrained_cfg"]
    return FasterRCNN(
        WithPyramid(),
        image_mean=list(own["mean"]),
        image_std=list(own["std"]),
        fixed_size=(size[1], size[0]),
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], 7, 2),
        box_head=TwoMLPHead(width * 7 * 7, box_width),
        box_predictor=FastRCNNPredictor(box_width, n_classes),
    )


def sample(item: Any, annotations: Any, *, is_mirrored: bool = False) -> tuple[Any, dict[str, Any]]:
    """An image and its objects as torchvision takes them, decoded anew."""
    import torch
    from PIL import Image
    from torchvision.transforms.v2 import functional as transforms

    with Image.open(item) as opened:
        pixels = transforms.pil_to_tensor(opened.convert("RGB"))
    kept = np.ones(len(annotations.boxes), bool)
    if annotations.ignored is not None:
        kept &= ~np.asarray(annotations.ignored)
    kept &= (annotations.boxes[:, 2:] > annotations.boxes[:, :2]).all(1)
    boxes = torch.from_numpy(annotations.boxes[kept].astype(np.float32))
    if is_mirrored:
        pixels = pixels.flip(-1)
        left, top, right, bottom = boxes.unbind(1)
        width = pixels.shape[-1]
        boxes = torch.stack([width - right, top, width - left, bottom], dim=1)
    labels = torch.from_numpy(np.asarray(annotations.labels)[kept].astype(np.int64))
    return pixels.float() / 255, {"boxes": boxes, "labels": labels}


def found(model: Any, images: Any, truth: Any) -> dict[str, Any]:
    """Average precision of what it finds."""
    import torch

    from transferkit.annotations import Annotations
    from transferkit.metrics import detection_report

    model.eval()
    predicted = []
    with torch.inference_mode():
        for item, true in zip(images.items, truth, strict=True):
            (one,) = model([sample(item, true)[0]])
            boxes, scores, labels = (one[n].numpy() for n in ("boxes", "scores", "labels"))
            kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
            predicted.append(
                Annotations(
                    true.size,
                    boxes=boxes[kept].astype(np.float64),
                    labels=labels[kept],
                    scores=scores[kept].astype(np.float64),
                )
            )
    return percent(detection_report(truth, predicted, truth.classes).to_dict())


def rival(
    name: str, arguments: argparse.Namespace, seed: int, target: float, way: str
) -> list[dict[str, Any]]:
    """Train it until it is as good as ours, or its epochs or its time are over; the curve."""
    import torch
    from torch.optim.lr_scheduler import LinearLR, MultiStepLR

    images, annotations, test, truth = parts(name)
    truth_of = list(annotations)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    curve: list[dict[str, Any]] = []
    start, uncounted = time.process_time(), 0.0
    model = rival_model(
        SETS[name].size,
        len(annotations.classes),
        is_frozen=way.startswith("frozen"),
        is_lean=way.endswith("-lean"),
    )
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.02 / 8, momentum=0.9, weight_decay=1e-4)
    n_epochs = arguments.epochs
    steps = [round(n_epochs * share / 26) for share in (16, 22)]
    schedule = MultiStepLR(optimizer, steps, gamma=0.1)
    n_batches = len(images) // 2
    # Made once: it sets the rate when it is made.
    warmup = LinearLR(optimizer, 1 / 1000, total_iters=min(1000, max(n_batches - 1, 1)))
    for epoch in range(n_epochs):
        model.train()
        order = rng.permutation(len(images))[: 2 * n_batches].reshape(-1, 2)
        for pair in order.tolist():
            drawn = [
                sample(images.items[i], truth_of[i], is_mirrored=rng.random() < 0.5) for i in pair
            ]
            loss = sum(model([x for x, _ in drawn], [t for _, t in drawn]).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if epoch == 0:
                warmup.step()
        schedule.step()
        trained = time.process_time()
        point = {
            "epochs": epoch + 1,
            "seconds": round(trained - start - uncounted, 1),
            **found(model, test, truth),
        }
        curve.append(point)
        print(json.dumps({"way": way, **point}), flush=True)
        uncounted += time.process_time() - trained
        if (point["ap"] or 0) >= target or point["seconds"] > arguments.seconds:
            break
    return curve


# ---- the comparison ----


def reached(curve: list[dict[str, Any]], target: float) -> float | None:
    """Seconds to a precision; None if it wasn't reached."""
    return next((p["seconds"] for p in curve if (p["ap"] or 0) >= target), None)


def compared(name: str, arguments: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Rows of one set and seed: ours, and each variant of the rival."""
    curve = ours(name, arguments, seed)
    print(json.dumps(curve), flush=True)
    best = max(curve, key=lambda point: point["ap"] or 0)
    same = {"set": name, "seed": seed, "threads": os.environ.get("OMP_NUM_THREADS", "all")}
    rows = [{**same, "way": "cached", "ap": best["ap"], "seconds": best["seconds"], "curve": curve}]
    for way in arguments.ways:
        of_rival = rival(name, arguments, seed, best["ap"], way)
        # Of each precision that a training of ours gives, not only of the best.
        ratios = []
        for point in curve:
            seconds = reached(of_rival, point["ap"] or 0)
            ratios.append(
                {
                    "ap": point["ap"],
                    "ours": point["seconds"],
                    "rival": of_rival[-1]["seconds"] if seconds is None else seconds,
                    "is_reached": seconds is not None,
                    "times": round((seconds or of_rival[-1]["seconds"]) / point["seconds"], 1),
                }
            )
        rows.append({**same, "way": way, "to_the_same_ap": ratios, "curve": of_rival})
    return rows


def main() -> None:
    """Compare, and add it to the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="*", default=["raccoon"])
    parser.add_argument("--ways", nargs="*", default=["unfrozen", "frozen"], choices=WAYS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--ours", nargs="*", type=int, default=[2, 4, 16], help="Epochs.")
    parser.add_argument("--epochs", type=int, default=26, help="Of the rival's schedule.")
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="After which no epoch of the rival begins."
    )
    parser.add_argument("--set", nargs="*", type=value, default=[])
    parser.add_argument("--suppression", nargs="*", type=value, default=[])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for name in arguments.sets:
        for seed in arguments.seeds:
            found_rows = compared(name, arguments, seed)
            # Read late: another process may have added its rows meanwhile.
            rows = json.loads(arguments.out.read_text()) if arguments.out.is_file() else []
            rows += found_rows
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
