"""The main job against what people write by hand: timm, a loop, scikit-learn.

    TRANSFERKIT_DATA=FOLDER python benchmarks/main_job.py

``FOLDER`` holds ``images/sign-digits`` (a folder per class) and
``weights/mobilenetv2_100.coral_in1k`` (timm's local-dir layout). Measured are

- ``accuracy``: test accuracy of the ``linear`` head on ``pre_logits`` over five splits,
  beside scikit-learn's LogisticRegression on features of a plain timm loop;
- ``features``: ours against the plain loop's for twelve families, relative;
- ``second_run``: seconds of a run whose features are all in the store, with decoding and
  building a network forbidden;
- ``help``: seconds of ``transferkit --help``.

Results: ``benchmarks/results/main_job.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

FAMILIES = {
    "resnet18": {},
    "resnet50": {},
    "efficientnet_b0": {},
    "mobilenetv3_small_100": {},
    "regnety_016": {},
    "vgg16_bn": {},
    "inception_v3": {},
    "densenet121": {},
    "convnext_tiny": {},
    "vit_small_patch16_224": {},
    "swin_tiny_patch4_window7_224": {},
    "maxvit_pico_rw_256": {},
}
RESULTS = Path(__file__).parent / "results"


def plain_loop(name: str, files: list[Path], *, pretrained: bool, batch: int = 32) -> np.ndarray:
    """Features by the loop that people write; random weights with seed 0."""
    import timm
    import torch
    from PIL import Image

    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=pretrained).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    rows = []
    with torch.inference_mode():
        for start in range(0, len(files), batch):
            images = [transform(Image.open(f).convert("RGB")) for f in files[start : start + batch]]
            maps = model.forward_features(torch.stack(images))
            rows.append(model.forward_head(maps, pre_logits=True).numpy())
    return np.concatenate(rows)


def accuracy(data: Path, store: Path) -> dict[str, Any]:
    """Ours and the plain loop on the same splits, pretrained and random weights."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from transferkit import FeatureExtractor, TransferClassifier, list_images

    images = list_images(data / "images/sign-digits")
    name = f"local-dir:{data}/weights/mobilenetv2_100.coral_in1k"
    y = np.array(images.labels)
    result: dict[str, Any] = {}
    for weights, pretrained in (("pretrained", True), ("random", False)):
        plain = plain_loop(name, list(images.items), pretrained=pretrained)
        extractor = FeatureExtractor(name, pretrained=pretrained, store=store)
        scores: dict[str, list[float]] = {}
        for seed in range(5):
            train, test = train_test_split(
                range(len(y)), test_size=0.2, stratify=y, random_state=seed
            )
            ours = TransferClassifier(extractor, "linear").fit(images.select(train), y[train])
            scores.setdefault("transferkit linear", []).append(
                ours.score(images.select(test), y[test])
            )
            by_hand = {
                "plain loop + LogisticRegression": LogisticRegression(max_iter=2000),
                "plain loop + StandardScaler + LogisticRegression": make_pipeline(
                    StandardScaler(), LogisticRegression(max_iter=2000)
                ),
            }
            for label, model in by_hand.items():
                scores.setdefault(label, []).append(
                    model.fit(plain[train], y[train]).score(plain[test], y[test])
                )
        result[weights] = {
            label: {"mean": statistics.mean(s), "stdev": statistics.stdev(s), "seeds": s}
            for label, s in scores.items()
        }
        for label, s in result[weights].items():
            print(f"{weights:10}  {label:50}  {s['mean']:.4f} ± {s['stdev']:.4f}", flush=True)
    return result


def features(data: Path) -> dict[str, float]:
    """Largest ``|ours - theirs| / |theirs|`` (norms of rows) over 24 images, per family."""
    from transferkit import FeatureExtractor

    files = sorted((data / "images/photos").iterdir())[:24]
    result = {}
    subjects = dict.fromkeys(FAMILIES, False)
    subjects |= {f"local-dir:{p}": True for p in sorted((data / "weights").iterdir())}
    for name, pretrained in subjects.items():
        theirs = plain_loop(name, files, pretrained=pretrained, batch=24)
        ours = FeatureExtractor(name, pretrained=pretrained, store=False).transform(files)
        worst = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
        label = Path(name).name if pretrained else f"{name} (random)"
        result[label] = float(worst.max())
        print(f"{label:40}  {result[label]:.1e}", flush=True)
    return result


SECOND_RUN = """
import sys, time
start = time.perf_counter()
import transferkit.extract.decoding, transferkit.extract.identities, transferkit.forward
def forbidden(*args, **kwargs):
    raise AssertionError("decoded an image or built a network")
transferkit.extract.decoding.network_input = forbidden
transferkit.extract.decoding.read_rgb = forbidden
transferkit.forward.engines.build_backbone = forbidden
from transferkit import FeatureExtractor
imported = time.perf_counter()
extraction = FeatureExtractor(sys.argv[1], store=sys.argv[3]).extract(sys.argv[2])
done = time.perf_counter()
assert extraction.n_computed == 0 and extraction.n_read == 0
print(len(extraction.kept), imported - start, done - imported)
"""


def second_run(data: Path, store: Path) -> dict[str, float]:
    """Seconds when everything is in the store, with decoding and building forbidden."""
    arguments = [
        f"local-dir:{data}/weights/mobilenetv2_100.coral_in1k",
        str(data / "images/sign-digits"),
        str(store),
    ]
    runs = []
    for _ in range(6):
        start = time.perf_counter()
        out = subprocess.run(
            [sys.executable, "-c", SECOND_RUN, *arguments],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        runs.append((time.perf_counter() - start, float(out[1]), float(out[2])))
    total, imports, work = (statistics.median(column) for column in zip(*runs[1:], strict=True))
    result = {"images": int(out[0]), "process": total, "imports": imports, "work": work}
    print(
        f"second run of {out[0]} images: {total:.2f} s, of which imports {imports:.2f} s, "
        f"work {work:.3f} s"
    )
    return result


def show_help() -> float:
    """Median seconds of ``transferkit --help``."""
    seconds = []
    for _ in range(11):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "transferkit", "--help"], check=True, capture_output=True
        )
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[1:])
    print(f"transferkit --help: {median:.2f} s")
    return median


def main() -> None:
    """Run the chosen parts and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["accuracy", "features", "second_run", "help"])
    parts = parser.parse_args().parts
    data = Path(os.environ["TRANSFERKIT_DATA"])
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "main_job.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(os.environ.get("TRANSFERKIT_STORE", folder))
        runs = {
            "accuracy": lambda: accuracy(data, store),
            "features": lambda: features(data),
            "second_run": lambda: second_run(data, store),
            "help": show_help,
        }
        for part in parts:
            results[part] = runs[part]()
    results["machine"] = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
