"""Extraction against the loop that people write; decoding, exactness, memory, known files.

    TRANSFERKIT_DATA=FOLDER python benchmarks/extraction.py --part speed --backbones resnet50,…
    TRANSFERKIT_DATA=FOLDER python benchmarks/extraction.py --part decode    # or forward, exactness, scale
    python benchmarks/extraction.py --part picture

Each part is merged into ``results/extraction.json``. In ``speed`` every way runs in a process of
its own, which has imported, built its network and done one small run; then all take turns, and
the medians are compared. Images are the photos, repeated with other bytes behind their end.
"""

import argparse
import contextlib
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


def peaks() -> dict[str, float]:
    """GFLOP/s of the best large matrix product on all cores, by class."""
    import torch

    found = {}
    for name, dtype in {"float32": torch.float32, "bf16": torch.bfloat16}.items():
        a, b = (torch.randn(3072, 3072).to(dtype) for _ in range(2))
        times = []
        for _ in range(12):
            start = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - start)
        found[name] = round(2 * 3072**3 / min(times) / 1e9, 1)
    return found


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


def forward_alone(name: str = "resnet50", size: int = 8, rounds: int = 9) -> dict:
    """The network alone on one core, pixels in memory: rate, and share of that core's peak."""
    import torch

    from transferkit.backbones import create_backbone, search_backbones
    from transferkit.forward import Forward
    from transferkit.pooling import parse_feature

    torch.set_num_threads(1)
    backbone = create_backbone(name, pretrained=False)
    gmacs = search_backbones(name)[0].gmacs
    shape = (size, *backbone.preprocess.image_size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    result: dict = {}
    for precision in ("float32", "bf16"):
        for engine in ("torch", "compile", "openvino"):
            network = Forward(
                backbone, [parse_feature("pre_logits")], device="cpu", engine=engine,
                precision=precision,
            )  # fmt: skip
            times, machine = [], []
            for _ in range(rounds):
                start = time.perf_counter()
                network.rows(pixels)
                times.append(time.perf_counter() - start)
                machine.append(peaks()[precision])
            rate = size / statistics.median(times)
            result[f"{engine} {precision}"] = {
                "images_per_second": round(rate, 1),
                "peak_gflops": max(machine),
                "share_of_peak": round(2 * gmacs * rate / max(machine), 3),
            }
            print(engine, precision, result[f"{engine} {precision}"], flush=True)
    return {name: {"batch": size, "cores": 1, **result}}


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


def decoding(data: Path) -> dict:
    """Decode, resize and crop on one core, against timm's transform."""
    import timm
    import torch
    from PIL import Image

    from transferkit.extract.pixels import network_input
    from transferkit.spec import Preprocess

    torch.set_num_threads(1)
    half = (0.5, 0.5, 0.5)
    options = {"crop_pct": 0.875, "interpolation": "bicubic", "mean": half, "std": half}
    whole = timm.data.create_transform((3, 224, 224), **options)
    geometry = timm.data.create_transform((3, 224, 224), normalize=False, **options)

    def of(mode):
        given = Preprocess((224, 224), "bicubic", 0.875, "center", half, half, decode=mode)
        return lambda file: network_input(file, given)[0]

    calls = {
        "timm": lambda file: whole(Image.open(io_of(file)).convert("RGB")),
        "timm, not normalised": lambda file: geometry(Image.open(io_of(file)).convert("RGB")),
        "exact": of("exact"),
        "scaled": of("scaled"),
    }
    photos = [p.read_bytes() for p in sorted((data / "images" / "photos").iterdir())]
    sets = {"photos": photos, "photos, 4 x 4 times as large": enlarged(photos[:12])}
    return {label: rates_of(calls, files) for label, files in sets.items()}


def rates_of(calls: dict, files: list[bytes]) -> dict:
    """Images per second of each call, in turns; ratios and differences to timm's."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(5):
        for name, call in calls.items():
            start = time.perf_counter()
            for file in files:
                call(file)
            times[name].append((time.perf_counter() - start) / len(files))
    rates = {name: round(1 / statistics.median(t), 1) for name, t in times.items()}
    errors: dict[str, list[float]] = {"exact": [], "scaled": []}
    for file in files:
        expected = np.asarray(calls["timm, not normalised"](file)).transpose(1, 2, 0).astype(int)
        for mode, values in errors.items():
            values.append(float(np.abs(calls[mode](file) - expected).mean()))
    return {
        "images_per_second": rates,
        "ratio": {mode: round(rates[mode] / rates["timm"], 2) for mode in errors},
        "mean_difference_of_255": {m: round(float(np.mean(e)), 4) for m, e in errors.items()},
    }


def io_of(data: bytes):
    """Open bytes as a file."""
    import io

    return io.BytesIO(data)


def enlarged(files: list[bytes]) -> list[bytes]:
    """Photographs of several megapixels."""
    from PIL import Image

    result = []
    for file in files:
        image = Image.open(io_of(file)).convert("RGB")
        large, out = image.resize((4 * image.width, 4 * image.height)), io_of(b"")
        large.save(out, "JPEG", quality=90)
        result.append(out.getvalue())
    return result


def exactness(data: Path) -> dict:
    """bf16 and the decode modes against float32: cosines, and the linear probe's accuracy."""
    from sklearn.model_selection import train_test_split

    from transferkit import FeatureExtractor
    from transferkit.heads import create_head

    result = {}
    for name in ("mobilenetv2_100.coral_in1k",):
        backbone = f"local-dir:{data / 'weights' / name}"
        files = sorted((data / "images" / "sign-digits").glob("*/*"))
        y = np.array([file.parent.name for file in files])
        ways = {
            "float32": {}, "bf16": {"precision": "bf16"},
            "float32, decoded by PIL": {}, "openvino float32": {"engine": "openvino"},
            "openvino bf16": {"engine": "openvino", "precision": "bf16"},
        }  # fmt: skip
        rows, found = {}, {}
        for way, options in ways.items():
            options = {"engine": "torch", **options}
            extractor = FeatureExtractor(backbone, store=False, **options)
            with only_pil() if way == "float32, decoded by PIL" else contextlib.nullcontext():
                rows[way] = extractor.transform(files)
            a, b = rows[way], rows["float32"]
            cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
            worst = np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)
            scores = []
            for seed in range(5):
                train, test = train_test_split(
                    np.arange(len(y)), test_size=0.2, stratify=y, random_state=seed
                )
                head = create_head("linear").fit(a[train], y[train])
                scores.append(100 * float(head.score(a[test], y[test])))
            found[way] = {
                "mean_cosine": float(cosines.mean()),
                "smallest_cosine": float(cosines.min()),
                "largest_relative_difference": float(worst.max()),
                "probe_accuracy": round(statistics.mean(scores), 2),
                "probe_accuracies": [round(s, 2) for s in scores],
            }
            print(name, way, found[way], flush=True)
        result[name] = found
    return result


@contextlib.contextmanager
def only_pil():
    """Decode and resize with PIL alone."""
    from transferkit.extract import pixels

    before = pixels._decoder, pixels._is_alike
    pixels._decoder, pixels._is_alike = lambda: None, lambda *given: False
    try:
        yield
    finally:
        pixels._decoder, pixels._is_alike = before


SCALE = """
import json, resource, sys, time
from transferkit import FeatureExtractor
import transferkit.forward
folder, store = sys.argv[1:3]
extractor = FeatureExtractor("test_resnet", pretrained=False, image_size=64, store=store)
extractor.resolve()
imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start = time.perf_counter()
extraction = extractor.extract(folder, keep_rows=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"images": len(extraction.kept), "computed": extraction.n_computed,
    "seconds": round(time.perf_counter() - start, 2), "peak_mb": round(peak),
    "peak_mb_after_imports": round(imported)}))
"""


def scale() -> dict:
    """Peak memory for few and for many images; and how long known files take."""
    from PIL import Image

    result = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder, store = Path(scratch) / "images", Path(scratch) / "store"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for n in (3_000, 60_000):
            for i in range(len(list(folder.iterdir())), n):
                noise = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(noise).resize((72, 72)).save(folder / f"{i:06}.jpg")
            time.sleep(2.5)  # what was written within two seconds isn't trusted to be known
            for label in ("computed", "known", "known again"):
                command = [sys.executable, "-c", SCALE, str(folder), str(store)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                result[f"{n} images, {label}"] = json.loads(done.stdout)
                print(n, label, done.stdout, flush=True)
    return result


def picture(result: dict) -> None:
    """Bars of the ratios to the plain loop."""
    import matplotlib.pyplot as plt

    shown = [way for way in WAYS if way != "plain"]
    names = [name for name in BACKBONES if name in result["speed"]]
    colours = ["#bbbbbb", "#9ecae1", "#3182bd", "#a1d99b", "#31a354"]
    figure, axes = plt.subplots(figsize=(9, 4.2))
    for i, (way, colour) in enumerate(zip(shown, colours, strict=True)):
        ratios = [result["speed"][name]["ways"][way]["ratio"] for name in names]
        at = np.arange(len(names)) + 0.16 * (i - 2)
        label = "plain loop, bf16, channels_last" if way == "plain bf16" else f"transferkit, {way}"
        axes.bar(at, ratios, 0.16, color=colour, label=label)
    axes.axhline(1, color="black", linewidth=0.8)
    rates = [result["speed"][name]["ways"]["plain"]["images_per_second"] for name in names]
    labels = [f"{n.split('_patch')[0]}\n{rate:.0f}/s" for n, rate in zip(names, rates, strict=True)]
    axes.set_xticks(range(len(names)), labels, fontsize=7.5)
    axes.set_ylabel("times the plain float32 loop")
    axes.set_title(
        "From JPEG files to features on two CPU cores (below: the plain loop's images/s)"
    )
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(RESULTS / "extraction.png", dpi=130)


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
        picture(result)
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
