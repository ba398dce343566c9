"""Fine-tuning against the linear probe, and against a plain timm training loop.

    TRANSFERKIT_DATA=FOLDER python benchmarks/finetuning.py [PART ...] --minutes 3 --seeds 0 1 2

``FOLDER`` holds ``images/sign-digits`` (a folder per class) and
``weights/mobilenetv2_035.keras_in1k`` (timm's local-dir layout). The splits are those of
``main_job.py``. Measured are

- ``caching``: seconds to put the maps of two stages, plain and augmented, into the store;
- ``accuracy``: test accuracy and wall time of the probe and of strategies that each may take
  the same time; rows that are in the results already are not computed again;
- ``throughput``: images/s of training the whole network, ours and a plain timm loop, in turn;
- ``cached``: speed and accuracy of ``last-N-stages`` from the store (a plain and four augmented
  views) and of the same network in the same loop with the frozen part run in every step (a new
  augmentation each time), after the same epochs;
- ``resume``: largest difference of the final weights after a kill and a resumption;
- ``processes``: losses and accuracy of two processes beside one's.

Results: ``benchmarks/results/finetuning.json``.
"""

from __future__ import annotations

import argparse
import functools
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

RESULTS = Path(__file__).parent / "results" / "finetuning.json"
DATA = Path(os.environ.get("TRANSFERKIT_DATA", "data"))
NAME = f"local-dir:{DATA}/weights/mobilenetv2_035.keras_in1k"
STRATEGIES = ("probe", "last-1-stages", "last-2-stages", "lp-ft", "full")


@functools.cache
def images() -> tuple[Any, np.ndarray]:
    """The labelled images."""
    from transferkit import list_images

    listed = list_images(DATA / "images/sign-digits")
    return listed, np.array(listed.labels)


def split(seed: int) -> tuple[list[int], list[int]]:
    """Training and test images, as in ``main_job.py``."""
    from sklearn.model_selection import train_test_split

    _, y = images()
    train, test = train_test_split(range(len(y)), test_size=0.2, stratify=y, random_state=seed)
    return train, test


def extractor(store: Path) -> Any:
    """The backbone."""
    from transferkit import FeatureExtractor

    return FeatureExtractor(NAME, store=store)


def caching(store: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds to fill the store with maps of every image."""
    from transferkit.finetune import choose_recipe, parse_strategy
    from transferkit.finetune.augmentation import augmented_views
    from transferkit.store import FeatureStore

    listed, _ = images()
    recipe = choose_recipe({}, parse_strategy("last-2-stages"), len(listed))
    spec = extractor(store).resolve()
    result: dict[str, Any] = {"images": len(listed), "augmented_views": recipe.views}
    start = time.perf_counter()
    ids = extractor(store).extract(listed, keep_rows=False).ids
    result["pre_logits"] = round(time.perf_counter() - start, 1)
    for feature in ("stage3.map", "stage2.map"):
        start = time.perf_counter()
        views = augmented_views(listed, ids, spec, feature, FeatureStore(store), recipe)
        result[feature] = round(time.perf_counter() - start, 1)
        result[f"{feature} MB of a view, float16"] = round(views[0].nbytes / 1e6, 1)
    return result


def accuracy(store: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row for each strategy and seed."""
    rows = list(read().get("accuracy", {}).get("rows", []))
    done = {(row["strategy"], row["seed"], row.get("minutes")) for row in rows}
    for strategy in arguments.strategies:
        for seed in arguments.seeds:
            minutes = None if strategy == "probe" else arguments.minutes
            if (strategy, seed, minutes) not in done:
                rows.append(one(store, strategy, seed, arguments.minutes))
                print(rows[-1], flush=True)
                write("accuracy", {"rows": rows, "summary": summary(rows)})
    return {"rows": rows, "summary": summary(rows)}


def one(store: Path, strategy: str, seed: int, minutes: float) -> dict[str, Any]:
    """Train once and test."""
    from transferkit import FineTuneClassifier, TransferClassifier

    listed, y = images()
    train, test = split(seed)
    row: dict[str, Any] = {"strategy": strategy, "seed": seed}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if strategy == "probe":
            model: Any = TransferClassifier(extractor(store))
        else:
            model = FineTuneClassifier(
                extractor(store), strategy, recipe={"minutes": minutes}, folder=folder
            )
        model.fit(listed.select(train), y[train])
        row["seconds"] = round(time.perf_counter() - start, 1)
        if strategy != "probe":
            row |= {
                "minutes": minutes,
                "epochs": len(model.history_) - 1,
                "planned_epochs": model.recipe_.epochs,
                "best_epoch": model.best_epoch_,
                "precision": model.recipe_.precision,
                "seconds_of_training": model.history_[-1]["seconds"],
                "validation": round(model.history_[model.best_epoch_]["val_metric"], 4),
            }
        row["test"] = round(model.score(listed.select(test), y[test]), 4)
    return row | {"threads": os.environ.get("OMP_NUM_THREADS", "all")}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread by strategy, and on how many splits each beats the probe."""
    probe = {row["seed"]: row["test"] for row in rows if row["strategy"] == "probe"}
    found = {}
    kinds = [(row["strategy"], row.get("minutes")) for row in rows]
    for strategy, minutes in dict.fromkeys(kinds):
        own = [row for row, kind in zip(rows, kinds, strict=True) if kind == (strategy, minutes)]
        scores = [row["test"] for row in own]
        name = strategy if minutes is None else f"{strategy}, {minutes:g} minutes"
        found[name] = {
            "seeds": len(own),
            "mean": round(statistics.mean(scores), 4),
            "lowest": min(scores),
            "highest": max(scores),
            "beats_probe_on": sum(r["test"] > probe.get(r["seed"], 1) for r in own),
            "mean_seconds": round(statistics.mean(r["seconds"] for r in own), 1),
        }
    return found


# ---- speed --------------------------------------------------------------------------


def plain_loop(files: list[Path], codes: np.ndarray, batch: int) -> tuple[int, float]:
    """Train with the loop that people write; the first batch isn't timed."""
    import timm
    import torch
    from PIL import Image

    class Files(torch.utils.data.Dataset[Any]):
        def __init__(self, transform: Any) -> None:
            self.transform = transform

        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, i: int) -> Any:
            return self.transform(Image.open(files[i]).convert("RGB")), int(codes[i])

    model = timm.create_model(NAME, pretrained=True, num_classes=10).train()
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=True, auto_augment=None)
    loader = torch.utils.data.DataLoader(Files(transform), batch, shuffle=True, drop_last=True)
    optimizer = timm.optim.create_optimizer_v2(model, "adamw", lr=5e-4, weight_decay=0.05)
    count, start = 0, 0.0
    for inputs, targets in loader:
        loss = torch.nn.functional.cross_entropy(model(inputs), targets, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if start:
            count += len(inputs)
        start = start or time.perf_counter()
    return count, time.perf_counter() - start


def throughput(store: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Images/s of training, ours and the plain loop in turn; medians and ratio."""
    from transferkit import FineTuneClassifier

    listed, y = images()
    chosen = split(0)[0][: 32 * 5]
    part, codes = listed.select(chosen), y[chosen].astype(int)
    ours, plain = [], []
    for _ in range(3):
        settings = {"epochs": 1, "validation_fraction": 0.0, "batch_size": 32}
        with tempfile.TemporaryDirectory() as folder:
            model = FineTuneClassifier(extractor(store), recipe=settings, folder=folder)
            model.fit(part, y[chosen])
        ours.append(len(chosen) / model.history_[-1]["seconds"])
        count, seconds = plain_loop(list(part.items), codes, 32)
        plain.append(count / seconds)
    return {
        "batch_size": 32,
        "precision": f"{model.recipe_.precision} (ours), float32 (the plain loop)",
        "transferkit lp-ft": round(statistics.median(ours), 1),
        "plain timm loop": round(statistics.median(plain), 1),
        "ratio": round(statistics.median(o / p for o, p in zip(ours, plain, strict=True)), 2),
        "rounds": [[round(o, 1), round(p, 1)] for o, p in zip(ours, plain, strict=True)],
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }


def cached(store: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Speed and test accuracy after the same epochs, from cached views and from live ones."""
    return [from_both(store, strategy, epochs=3) for strategy in ("last-1-stages", "last-2-stages")]


def from_both(store: Path, strategy: str, epochs: int) -> dict[str, Any]:
    """Train one strategy in both ways."""
    from transferkit import FineTuneClassifier

    listed, y = images()
    train, test = split(0)
    settings = {"epochs": epochs, "validation_fraction": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        model = FineTuneClassifier(
            extractor(store), strategy, recipe=settings, folder=Path(folder) / "cached"
        ).fit(listed.select(train), y[train])
        rate = epochs * len(train) / model.history_[-1]["seconds"]
        score = model.score(listed.select(test), y[test])
        other = live(store, strategy, settings, train, test, Path(folder))
    return {
        "strategy": strategy,
        "seed": 0,
        "epochs": epochs,
        "precision": model.recipe_.precision,
        "cached, 4 augmented views": {"test": round(score, 4), "images/s": round(rate, 1)},
        "frozen part in every step": other,
        "ratio": round(rate / other["images/s"], 2),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }


def live(
    store: Path,
    name: str,
    settings: dict[str, Any],
    train: list[int],
    test: list[int],
    folder: Path,
) -> dict[str, Any]:
    """Train the last stages on pixels, through the frozen part in every step."""
    import torch

    from transferkit.backbones import build_backbone
    from transferkit.finetune import choose_recipe, parse_strategy
    from transferkit.finetune.head import head_weights
    from transferkit.finetune.network import build_network
    from transferkit.finetune.objective import choose_objective
    from transferkit.finetune.samples import LabelledSamples, PixelSamples
    from transferkit.finetune.training_loop import create_training_loop, outputs_of
    from transferkit.heads import create_head
    from transferkit.training import Processes, native_precision

    class Live(torch.nn.Module):
        """The frozen part, and what stands on it."""

        def __init__(self, frozen: torch.nn.Module, top: torch.nn.Module) -> None:
            super().__init__()
            self.frozen, self.top = frozen, top

        def forward(self, inputs: torch.Tensor, layers: set[str]) -> Any:
            with torch.no_grad():
                maps = self.frozen(inputs, [stage]).maps[stage]
            return self.top(maps, layers)

    listed, y = images()
    spec, strategy = extractor(store).resolve(), parse_strategy(name)
    stage = {"last-1-stages": "stage3", "last-2-stages": "stage2"}[name]
    processes = Processes(torch.device("cpu"))
    precision = native_precision(processes.device)
    recipe = choose_recipe(settings, strategy, len(train), precision=precision)
    classes, codes = np.unique(y, return_inverse=True)
    objective = choose_objective("classification", codes[train], recipe, classes)
    network, _ = build_network(spec, strategy, recipe, objective.create_head, stage)
    network.body = Live(build_backbone(spec, layers=[stage]), network.body)
    network.stage = None
    X = extractor(store).transform(listed)
    head = create_head("linear").fit(X[train], codes[train])
    network.set_head(*head_weights(head, objective))
    parts = [PixelSamples(listed.select(part), spec.preprocess, recipe) for part in (train, test)]
    (folder / "live").mkdir()
    training = create_training_loop(
        network,
        objective,
        recipe,
        LabelledSamples(parts[0], objective.encode(codes[train])),
        None,
        processes,
        folder / "live",
        signature="",
    )
    training.fit()
    outputs = outputs_of(network, parts[1], len(classes), processes)
    return {
        "test": round(objective.metric(outputs, objective.encode(codes[test])), 4),
        "images/s": round(recipe.epochs * len(train) / training.state.history[-1]["seconds"], 1),
    }


# ---- the same result ----------------------------------------------------------------

RUN = """
import json, os, sys
import numpy as np
from transferkit import FeatureExtractor, FineTuneClassifier, list_images
data, store, folder, resume = sys.argv[1:5]
listed = list_images(data + "/images/sign-digits")
y = np.array(listed.labels)
chosen = list(range(0, len(y), 8))
name = "local-dir:" + data + "/weights/mobilenetv2_035.keras_in1k"
extractor = FeatureExtractor(name, store=store)
recipe = {"epochs": 6, "batch_size": 32, "freeze_statistics": True, "precision": "float32"}
model = FineTuneClassifier(extractor, "last-1-stages", recipe=recipe, folder=folder)
model.fit(listed.select(chosen), y[chosen], resume=resume == "1")
if os.environ.get("RANK", "0") == "0":
    print(json.dumps([model.history_, model.best_epoch_]))
"""


def launch(store: Path, folder: Path, *, resume: bool = False, before: tuple[str, ...] = ()) -> Any:
    """Start a small run in a process of its own."""
    script = folder.parent / "run.py"
    script.write_text(RUN)
    command = [*(before or (sys.executable,)), str(script), str(DATA), str(store), str(folder)]
    return subprocess.Popen(
        [*command, str(int(resume))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    """The tuned backbone's weights."""
    from safetensors.numpy import load_file

    return load_file(folder / "backbone" / "model.safetensors")


def difference(a: Path, b: Path) -> float:
    """Largest absolute difference between the weights of two runs."""
    first, second = weights_of(a), weights_of(b)
    return max(float(np.abs(first[n].astype(float) - second[n]).max()) for n in first)


def resume(store: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kill a run after its first epochs, go on, and compare the weights."""
    with tempfile.TemporaryDirectory() as place:
        whole, killed = Path(place) / "whole", Path(place) / "killed"
        launch(store, whole).communicate()
        process = launch(store, killed)
        log = killed / "log.csv"
        while not (log.exists() and len(log.read_text().splitlines()) >= 4):
            time.sleep(0.02)
        process.kill()
        process.communicate()
        at = len(log.read_text().splitlines()) - 2
        out, _ = launch(store, killed, resume=True).communicate()
        best = json.loads(out.splitlines()[-1].replace("NaN", "null"))[1]
        return {
            "killed_after_epochs": at,
            "epochs": 6,
            "best_epoch": best,
            "largest_difference": difference(whole, killed),
        }


def processes(store: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Two processes through torchrun (gloo) beside one."""
    runner = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    with tempfile.TemporaryDirectory() as place:
        found: dict[str, Any] = {}
        best: dict[str, int] = {}
        for name, before in (("one", ()), ("two", runner)):
            out, err = launch(store, Path(place) / name, before=before).communicate()
            lines = [line for line in out.splitlines() if line.startswith("[[{")]
            if not lines:
                raise RuntimeError(err[-2000:])
            found[name], best[name] = json.loads(lines[0].replace("NaN", "null"))
        return {
            "train_loss": {n: [h["train_loss"] for h in hs] for n, hs in found.items()},
            "val_loss": {n: [h["val_loss"] for h in hs] for n, hs in found.items()},
            "best_epoch": best,
            "val_accuracy": {n: hs[best[n]]["val_metric"] for n, hs in found.items()},
            "largest_difference": difference(Path(place) / "one", Path(place) / "two"),
        }


# ---- results ------------------------------------------------------------------------


def read() -> dict[str, Any]:
    """Results so far."""
    found = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    assert isinstance(found, dict)
    return found


def write(part: str, value: Any) -> None:
    """Add a part to the results."""
    results = read()
    results[part] = value
    results["machine"] = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


PARTS = {
    "caching": caching,
    "accuracy": accuracy,
    "throughput": throughput,
    "cached": cached,
    "resume": resume,
    "processes": processes,
}


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--store", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or Path(folder)
        for part in arguments.parts:
            write(part, PARTS[part](store, arguments))


if __name__ == "__main__":
    main()
