"""Extraction against the loop that people write; decoding, exactness, memory, known files.

    TRANSFERKIT_DATA=FOLDER python benchmarks/extraction.py --part speed --backbones resnet50,…
    TRANSFERKIT_DATA=FOLDER python benchmarks/extraction.py --part decode
    python benchmarks/extraction.py --part picture

Parts: speed, forward, decode, exactness, scale. Each is merged into ``results/extraction.json``.
In ``speed`` every way runs in a process of its own, which has imported, built its network and
done one small run; then all take turns, and the medians are compared. Images are the photos,
repeated with other bytes behind their end.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from extraction_parts import decoding, exactness, forward_alone, peaks, scale
from extraction_picture import draw

RESULTS = Path(__file__).parent / "results"
# Name: images per run.
BACKBONES = {
    "resnet50": 143,
    "mobilenetv3_large_100": 572,
    "efficientnet_b0": 429,
    "resnet18": 429,
    "vit_small_patch16_224": 143,
    "convnext_tiny": 143,
    "regnety_016": 143,
    "swin_tiny_patch4_window7_224": 143,
}
WAYS = {
    "plain": "a plain loop: timm's transform, DataLoader with 2 workers, batch 64, float32",
    "plain bf16": "the same with channels_last and bf16 autocast",
    "torch float32": "transferkit, engine torch, float32",
    "torch bf16": "transferkit, engine torch, bf16",
    "openvino float32": "transferkit, engine openvino, float32",
    "openvino bf16": "transferkit, engine openvino, bf16",
}


def copies(photos: Path, n: int, folder: Path) -> Path:
    """Fill a folder with `n` photos of different bytes and the same pixels."""
    folder.mkdir(parents=True)
    files = sorted(photos.iterdir())
    for i in range(n):
        file = files[i % len(files)]
        turn = (i // len(files)).to_bytes(4, "big")
        (folder / f"{i:06}{file.suffix}").write_bytes(file.read_bytes() + turn)
    return folder


# ---- one way, in a process of its own ---------------------------------------------------------


def plain(name: str, folder: Path, out: Path, *, quick: bool):
    """What people write."""
    import timm
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    network = timm.create_model(name, pretrained=False, num_classes=0).eval()
    if quick:
        network = network.to(memory_format=torch.channels_last)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))

    class Images(Dataset):
        def __init__(self, folder):
            self.files = sorted(folder.iterdir())

        def __len__(self):
            return len(self.files)

        def __getitem__(self, index):
            return transform(Image.open(self.files[index]).convert("RGB"))

    def once(folder: Path) -> int:
        rows = []
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=quick),
        ):
            for batch in DataLoader(Images(folder), batch_size=64, num_workers=2):
                given = batch.to(memory_format=torch.channels_last) if quick else batch
                rows.append(network(given).float().numpy())
        rows = np.concatenate(rows)
        np.save(out, rows)
        return len(rows)

    return once


def ours(name: str, out: Path, *, engine: str, precision: str):
    """Ours, into a store that is empty each time."""
    from transferkit.backbones import create_backbone
    from transferkit.extract import extract
    from transferkit.images import list_images
    from transferkit.store import FeatureStore

    # Built here, as the plain loop builds its own before the clock runs.
    backbone = create_backbone(name, False, layers=["pre_logits"])

    def once(folder: Path) -> int:
        shutil.rmtree(out, ignore_errors=True)
        extraction = extract(
            list_images(folder), backbone, ["pre_logits"], FeatureStore(out),
            engine=engine, precision=precision, keep_rows=False,
        )  # fmt: skip
        shares.update(extraction.shares)
        return extraction.n_computed

    shares: dict[str, float] = {}
    once.shares = shares
    return once


def child(name: str, way: str, warm: Path, folder: Path) -> None:
    """Build, warm up, then one run for every line of input."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "rows"
        engine, _, precision = way.partition(" ")
        if engine == "plain":
            once = plain(name, folder, out.with_suffix(".npy"), quick=precision == "bf16")
        else:
            once = ours(name, out, engine=engine, precision=precision)
        once(warm)
        print("ready", flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            n = once(folder)
            seconds = time.perf_counter() - start
            who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            memory = [resource.getrusage(w).ru_maxrss / 1024 for w in who]
            result = {"n": n, "seconds": seconds, "peak_mb": round(max(memory))}
            print(json.dumps(result | {"shares": getattr(once, "shares", {})}), flush=True)


# ---- the parts --------------------------------------------------------------------------------


def speed(data: Path, names: list[str], rounds: int) -> dict:
    """Images per second of every way, all taking turns."""
    from transferkit.backbones import search_backbones

    result = {}
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            warm = copies(data / "images" / "photos", 32, Path(scratch) / "warm")
            folder = copies(data / "images" / "photos", BACKBONES[name], Path(scratch) / "images")
            found = turns(name, warm, folder, rounds)
        gmacs = search_backbones(name)[0].gmacs
        machine = peaks()
        base = found["plain"]["images_per_second"]
        for way, one in found.items():
            one["ratio"] = round(one["images_per_second"] / base, 2)
            precision = way.rpartition(" ")[2]
            if gmacs and precision in machine:
                share = 2 * gmacs * one["images_per_second"] / machine[precision]
                one["share_of_peak"] = round(share, 3)
            print(f"{name:30} {way:18} {one['images_per_second']:7} {one['ratio']}", flush=True)
        result[name] = {"gmacs": gmacs, "n": BACKBONES[name], "peak_gflops": machine, "ways": found}
    return result


def turns(name: str, warm: Path, folder: Path, rounds: int) -> dict:
    """Start a process for every way, and let them take turns."""
    processes = {
        way: subprocess.Popen(
            [sys.executable, __file__, "--child", name, way, str(warm), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for way in WAYS
    }  # fmt: skip
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    for process in processes.values():
        assert process.stdout.readline() == "ready\n"
    for _ in range(rounds):
        for way, process in processes.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            runs[way].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    found = {}
    for way, done in runs.items():
        rates = [run["n"] / run["seconds"] for run in done]
        total = sum(done[-1]["shares"].values())
        found[way] = {
            "images_per_second": round(statistics.median(rates), 1),
            "rounds": [round(rate, 1) for rate in rates],
            "peak_mb": done[-1]["peak_mb"],
            "shares": {k: round(v / total, 3) for k, v in done[-1]["shares"].items()},
        }
    return found


def machine() -> dict[str, object]:
    """What it ran on."""
    import timm
    import torch
    import torchvision

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
    }


def main() -> None:
    """Run a part, and merge it into the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = ("speed", "forward", "decode", "exactness", "scale", "picture")
    parser.add_argument("--part", choices=parts, default="speed")
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "extraction.json")
    parser.add_argument("--child", nargs=4)
    options = parser.parse_args()
    if options.child:
        name, way, warm, folder = options.child
        child(name, way, Path(warm), Path(folder))
        return
    result = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.part == "picture":
        draw(result, list(BACKBONES), list(WAYS), RESULTS / "extraction.png")
        return
    data = Path(os.environ.get("TRANSFERKIT_DATA", "."))
    if options.part == "speed":
        found = speed(data, options.backbones.split(","), options.rounds)
        result["speed"] = result.get("speed", {}) | found
        result["ways"] = WAYS
    elif options.part in ("scale", "forward"):
        result[options.part] = (scale if options.part == "scale" else forward_alone)()
    else:
        result[options.part] = (decoding if options.part == "decode" else exactness)(data)
    result["machine"] = machine()
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
