"""``transferkit demo``."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._options import exit_code, json_option, report_failures, store_option
from transferkit.cli._output import print_json, print_pairs, print_table
from transferkit.cli._training import divided

if TYPE_CHECKING:
    from transferkit.estimators import FeatureExtractor, TransferClassifier
    from transferkit.images import ImageSet

_HEADS = "linear,mlp,svm,boosting,knn"
_N_SHOWN = 5


@click.command()
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="A folder of your own, with one folder per class; default: scikit-learn's digits.",
)
@click.option(
    "--backbone",
    help="timm's name, such as resnet50; default: the one that comes with the package.",
)
@click.option(
    "--heads", default=_HEADS, show_default=True, help="The first is saved and drawn from."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("transferkit-demo"),
    show_default=True,
    help="Folder for the model and the picture.",
)
@store_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    images: Path | None,
    backbone: str | None,
    heads: str,
    out: Path,
    store: Path | str | None,
    as_json: bool,
) -> None:
    """Show the main job, without any download: extract, store, train, compare, predict.

    Needs no network: the backbone comes with the package, and so do the images (1,797
    handwritten digits of scikit-learn's). A second run takes all features from the store.
    The picture needs matplotlib: pip install "transferkit[demo]".
    """
    from transferkit import FeatureExtractor, list_images
    from transferkit.backbones import bundled
    from transferkit.estimators.targets import training_parts

    out.mkdir(parents=True, exist_ok=True)
    listed = list_images(_digits(out / "images") if images is None else images)
    training_parts(listed, None, None, "classification")  # says now what is wrong with the labels
    name = backbone or f"bundled:{bundled.names()[0]}"
    extractor = FeatureExtractor(name, store=store)
    with _calm(images is None):
        extraction = extractor.extract(listed, on_error="skip", keep_rows=False)
    readable, parts = divided(listed, extraction, "classification", 0.2, 0)
    train, val, test = map(readable.select, (parts.train, parts.validation, parts.measured))
    if not len(test):
        raise ValueError("no image is left to measure the heads with; add a test split or images")
    if not as_json:
        place = images or out / "images"
        pairs = [
            (
                "images",
                f"{len(listed):,} in {place}: {len(train):,} to train on, {len(test):,} held out",
            ),
            ("backbone", name),
            ("features", extraction.summary()),
        ]
        print_pairs(pairs)
        click.echo()
    rows, model = _compare(extractor, heads, train, val, test)
    if not as_json:
        _print_heads(rows)
    path = model.save(out / "model", overwrite=True)
    picture = _draw(model, test, out / "demo.png")
    shown = _predictions(model, test)
    if as_json:
        print_json({"heads": rows, "model": str(path), "picture": picture, "predictions": shown})
    else:
        click.echo()
        print_table(
            ("image", "truth", "prediction", "confidence"),
            [(r["image"], r["truth"], r["prediction"], f"{r['confidence']:.3f}") for r in shown],
        )
        click.echo()
        print_pairs([("model", str(path)), *([("picture", picture)] if picture else [])])
    report_failures(extraction.failures, len(listed))
    ctx.exit(exit_code(extraction.failures, "report"))


@contextlib.contextmanager
def _calm(is_ours: bool) -> Iterator[None]:
    """Keep quiet that our 8 × 8 px digits are enlarged, which is a warning for users' images."""
    logger = logging.getLogger("transferkit.extract")
    level = logger.level
    if is_ours:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _digits(folder: Path) -> Path:
    """Write scikit-learn's handwritten digits as PNG files of 8 × 8 px, one folder per digit."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(digit) / f"{i:04}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = np.rint(pixels * (255 / 16)).astype(np.uint8)  # 0 to 16 as they are stored
            Image.fromarray(grey).save(path)
    return folder


def _compare(
    extractor: FeatureExtractor, heads: str, train: ImageSet, val: ImageSet, test: ImageSet
) -> tuple[list[dict[str, Any]], TransferClassifier]:
    """Train and measure every head on the same features. Also return the first one."""
    import numpy as np

    from transferkit import TransferClassifier
    from transferkit.heads import create_head
    from transferkit.metrics import classification_report

    X, truth = extractor.transform(test), np.array(test.labels)
    names = [name.strip() for name in heads.split(",") if name.strip()]
    estimators = {name: create_head(name) for name in names}
    models: list[TransferClassifier] = []
    rows: list[dict[str, Any]] = []
    validation = val if len(val) else None
    for name, head in estimators.items():
        start = time.perf_counter()
        models.append(TransferClassifier(extractor, head).fit(train, validation=validation))
        fitted = time.perf_counter()
        predicted = models[-1].predict_features(X)
        done = time.perf_counter()
        report = classification_report(truth, predicted, None, models[-1].classes_)
        rows.append(
            {
                "head": name,
                "accuracy": report.accuracy,
                "fit_seconds": fitted - start,
                "predict_seconds": done - fitted,
            }
        )
    if not models:
        raise ValueError("--heads names no head; write --heads linear,knn")
    return rows, models[0]


def _print_heads(rows: list[dict[str, Any]]) -> None:
    print_table(
        ("head", "test accuracy", "fit s", "predict s"),
        [
            (
                row["head"],
                f"{100 * row['accuracy']:.1f} %",
                f"{row['fit_seconds']:.2f}",
                f"{row['predict_seconds']:.3f}",
            )
            for row in rows
        ],
    )


def _spread(n: int, n_wanted: int) -> list[int]:
    """Positions spread evenly over n."""
    return sorted({i * n // n_wanted for i in range(n_wanted)})


def _predictions(model: TransferClassifier, test: ImageSet) -> list[dict[str, Any]]:
    """What the model says of a few held-out images."""
    chosen = test.select(_spread(len(test), _N_SHOWN))
    predicted = model.predict(chosen)
    is_sure = hasattr(model, "predict_proba")
    proba = model.predict_proba(chosen).max(axis=1) if is_sure else [float("nan")] * len(chosen)
    assert chosen.labels is not None
    return [
        {"image": n, "truth": str(t), "prediction": str(p), "confidence": float(c)}
        for n, t, p, c in zip(chosen.names, chosen.labels, predicted, proba, strict=True)
    ]


def _draw(model: TransferClassifier, test: ImageSet, path: Path) -> str | None:
    """Draw the picture, or say what is missing for it."""
    try:
        from transferkit.report import plots
    except ImportError:
        click.echo(
            'No picture: matplotlib is not installed (pip install "transferkit[demo]")', err=True
        )
        return None
    plots.draw_predictions(test, test.labels or (), model.predict(test).tolist(), path)
    return str(path)
