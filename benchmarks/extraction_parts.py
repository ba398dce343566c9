"""Parts of the benchmark of extraction beside its speed; `extraction.py` runs them."""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


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
