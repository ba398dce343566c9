"""The page of one model that predicts classes, several labels or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit.metrics import MetricRow, MultilabelReport, RegressionReport, Report
from transferkit.report.activation_overlays import activation_overlay, beside, scores_at
from transferkit.report.calibration import reliability, reliability_chart
from transferkit.report.confusions import MOST_CLASSES, confusion_parts
from transferkit.report.feature_map import feature_charts
from transferkit.report.judged_images import JudgedImages
from transferkit.report.mistakes import ShownImage, case_gallery, doubtful, mistakes, typical
from transferkit.report.model_facts import model_facts, model_table
from transferkit.report.page import (
    CellValue,
    DataTable,
    Gallery,
    Page,
    Part,
    Picture,
    Section,
    Text,
    WrittenNumber,
)
from transferkit.report.ranking_curves import ranking_charts
from transferkit.report.residuals import residual_charts
from transferkit.report.text import counted, printable
from transferkit.report.thumbnails import thumbnail

if TYPE_CHECKING:
    from transferkit.estimators import ActivationMaps
    from transferkit.images import Failure
    from transferkit.metrics import TaskReport

__all__ = ["looked_at", "model_page"]

_HEADLINES = 2
_FAILURES = 200
_TILE = 150


def looked_at(measured: JudgedImages) -> list[ShownImage]:
    """Images whose class-activation maps are shown: the worst predictions, then good ones.

    Parameters
    ----------
    measured : JudgedImages
        Of any task.
    """
    return [*mistakes(measured, 8), *typical(measured, 8)]


def model_page(
    measured: JudgedImages,
    content: Mapping[str, Any],
    *,
    title: str,
    part: str | None = None,
    n_left_out: int = 0,
    failures: Sequence[Failure] = (),
    mapping: str = "pca",
    activations: ActivationMaps | str = "",
) -> Page:
    """Make the page of a model that was measured on images.

    Parameters
    ----------
    measured : JudgedImages
        Images with what they are and what the model says.
    content : mapping
        What the model is, from `transferkit.artifacts.describe`.
    title : str
        Its name.
    part : str, optional
        Split that was measured.
    n_left_out : int, default=0
        Images that were not measured, because the model was trained on them.
    failures : sequence of Failure, default=()
        Images that could not be read.
    mapping : str, default="pca"
        One of `transferkit.report.feature_map.MAPPINGS`.
    activations : ActivationMaps or str, default=""
        Maps of the images of `looked_at`, one for each of their outputs, one after another; or
        why there are none.

    Returns
    -------
    Page
        With at most about 2,000 points and 100 pictures, however many images there are.
    """
    report = measured.report
    left = f"; {n_left_out:,} trained on left out" if n_left_out else ""
    split = f" of the {part} split" if part else ""
    facts = {
        **{row.metric.title: _headline(row) for row in report.rows()[:_HEADLINES]},
        "measured on": f"{counted(report.n, 'image')}{split}{left}",
        **model_facts(content),
    }
    sections = [
        Section("Metrics", [*_warnings(report, failures), _metrics(report)]),
        *_numbers(measured),
        _map_section(measured, mapping),
        *_galleries(measured),
        _activation_section(measured, activations),
        Section("The model", [model_table(content)], is_folded=True),
        _failure_section(failures),
    ]
    return Page(printable(title), sections, facts)


def _headline(row: MetricRow) -> str:
    """A metric with its interval and its baseline, in as few words as can be."""
    shown = row.metric.text
    text = shown(row.value)
    if row.low is not None and row.high is not None and shown(row.low) != shown(row.high):
        unit = " %" if row.metric.is_share else ""
        text += f" ({shown(row.low).removesuffix(unit)} to {shown(row.high).removesuffix(unit)})"
    return text if row.baseline is None else f"{text}; baseline {shown(row.baseline)}"


# ---- numbers ----------------------------------------------------------------------------


def _warnings(report: TaskReport, failures: Sequence[Failure]) -> list[Part]:
    """What the reader must know before the numbers."""
    parts: list[Part] = []
    baseline = report.baseline
    for name, text in report.notes():
        is_poor = baseline is not None and name == "baseline" and not baseline.is_beaten
        parts.append(Text(f"{name}: {text}", is_warning=is_poor or name != "baseline"))
    if failures:
        images = counted(len(failures), "image")
        parts.append(Text(f"{images} could not be read; see the end of the page", is_warning=True))
    return parts


def _metrics(report: TaskReport) -> DataTable:
    rows: list[list[CellValue]] = [
        [
            row.metric.title,
            *(
                None if value is None else WrittenNumber(value, row.metric.text(value))
                for value in (row.value, row.low, row.high, row.baseline)
            ),
        ]
        for row in report.rows()
    ]
    return DataTable(("metric", "value", "95 % from", "to", "baseline"), rows)


def _numbers(measured: JudgedImages) -> list[Section]:
    """Sections of numbers and charts, of which each task has its own."""
    report = measured.report
    if isinstance(report, Report):
        return [_classes(report), _confusions(report), _calibration(measured), _ranking(measured)]
    if isinstance(report, MultilabelReport):
        return [_labels(report), _ranking(measured), _calibration(measured)]
    assert isinstance(report, RegressionReport)
    return [_targets(report), _residuals(measured)]


def _classes(report: Report) -> Section:
    predicted = np.asarray(report.confusion).sum(axis=0).tolist()
    rows = [
        (str(c.label), c.precision, c.recall, c.f1, c.support, n)
        for c, n in zip(report.classes, predicted, strict=True)
    ]
    header = ("class", "precision", "recall", "F1", "images", "predicted")
    about = "Precision: how many of those predicted are right. Recall: how many are found."
    return Section("Classes", [DataTable(header, rows)], about)


def _labels(report: MultilabelReport) -> Section:
    rows = [
        (r.label, r.support, r.prevalence, r.f1, r.average_precision, r.auroc,
         "no better than chance" if r.is_better is False else "")
        for r in report.labels
    ]  # fmt: skip
    header = ("label", "images", "prevalence", "F1", "AP", "AUROC", "remark")
    return Section("Labels", [DataTable(header, rows)])


def _targets(report: RegressionReport) -> Section:
    rows = [(r.name, r.r2, r.mae, r.baseline_mae, r.rmse) for r in report.targets]
    header = ("target", "R²", "MAE", "MAE of a constant", "RMSE")
    return Section("Targets", [DataTable(header, rows)] if len(rows) > 1 else [])


def _confusions(report: Report) -> Section:
    labels = [str(label) for label in report.labels]
    about = (
        "Rows are what the images are, columns what the model says; the darker a cell, the larger "
        "its share of the row. Mistakes are orange."
    )
    if len(labels) > MOST_CLASSES:
        about += f" Of {len(labels)} classes those with most mistakes are shown."
    return Section("Confusions", confusion_parts(report.confusion, labels), about)


def _calibration(measured: JudgedImages) -> Section:
    found = measured.found
    if found.proba is None:
        none = Text("The model's head gives no probabilities, so there is nothing to calibrate.")
        return Section("Calibration", [none])
    if found.task == "classification":
        bins = reliability(found.is_right, found.proba.max(axis=1))
        chart = reliability_chart(bins, "confidence", "share that is right", "images")
        about = "Of the predictions made with a confidence of 0.8, 80 % should be right."
    else:
        bins = reliability(found.y_true.ravel(), found.proba.ravel())
        chart = reliability_chart(bins, "probability", "share that is true", "labels of images")
        about = "All labels together: of those said with a probability of 0.8, 80 % should be true."
    about += (
        f" Bars that end on the dashed line are honest, and those below it too sure; pale ones are "
        f"of few predictions. Mean distance (ECE): {100 * bins.error:.2f} %."
    )
    return Section("Calibration", [chart], about)


def _ranking(measured: JudgedImages) -> Section:
    found = measured.found
    if found.proba is None or (found.task == "classification" and found.n_known != 2):
        return Section("Ranking", [])
    if found.task == "classification":
        known = found.y_true < 2
        true, scores = found.y_true[known][:, None], found.proba[known, 1:]
        labels = [measured.labels[1]]
    else:
        true, scores, labels = found.y_true, found.proba, list(measured.labels)
    charts, note = ranking_charts(true, scores, labels)
    about = "What becomes of the mistakes and of what is found if the threshold is moved."
    return Section("Ranking", charts, f"{about} {note}".strip())


def _residuals(measured: JudgedImages) -> Section:
    charts, note = residual_charts(measured)
    about = f"On the dashed line a prediction is exact. {note}".strip()
    return Section("Predictions and residuals", charts, about)


# ---- pictures ---------------------------------------------------------------------------


def _map_section(measured: JudgedImages, mapping: str) -> Section:
    charts, notes = feature_charts(measured, mapping)
    if not charts:
        return Section("Map of the features", [])
    about = "Each point is an image; images that are alike to the network lie near each other. "
    if measured.found.task != "regression":
        about += "Crosses are mistakes. "
    n_drawn = sum(len(trace["x"]) for trace in charts[0].figure["data"])
    if n_drawn < len(measured.images):
        about += f"{n_drawn:,} of {len(measured.images):,} images are drawn, of each class a share."
    return Section("Map of the features", charts, f"{about} {' '.join(notes)}")


def _galleries(measured: JudgedImages) -> list[Section]:
    is_number = measured.found.task == "regression"
    has_confidence = measured.found.proba is not None
    worst: list[Part] = [*case_gallery(measured, mistakes(measured), "")]
    if not worst:
        worst = [Text("There is none to show.")]
    if is_number:
        return [Section("Largest residuals", worst)]
    title = "The surest mistakes" if has_confidence else "Mistakes"
    about = "Look at these first: some may be labelled wrong." if has_confidence else ""
    right = [*case_gallery(measured, doubtful(measured), "")]
    return [Section(title, worst, about), Section("The least sure that are right", right)]


def _activation_section(measured: JudgedImages, found: ActivationMaps | str) -> Section:
    title = "What the network looked at"
    if isinstance(found, str):
        return Section(title, [Text(found)] if found else [])
    about = (
        "Class-activation maps: the head is linear and the features are the mean of a map, so the "
        "score is exactly the mean of the scores of the map's places. Beside each image the map of "
        "what was predicted, then of what is true if that is something else. Light places speak "
        "for it, dark ones against it, each picture on a scale of its own; what was cropped away "
        "before the network is black."
    )
    cases = looked_at(measured)
    starts = np.cumsum([0, *(len(case.outputs) for case in cases)]).tolist()
    pictures = [
        picture
        for case, start in zip(cases, starts, strict=False)
        if (picture := _looked_at(measured, case, found, start)) is not None
    ]
    n_bad = len(mistakes(measured, 8))
    worst = "Largest residuals" if measured.found.task == "regression" else "Mistakes"
    good = "Small residuals" if measured.found.task == "regression" else "Right"
    parts = [
        Gallery(some, name, width)
        for some, name, width in ((pictures[:n_bad], worst, 300), (pictures[n_bad:], good, 220))
        if some
    ]
    return Section(title, parts, about)


def _looked_at(
    measured: JudgedImages, case: ShownImage, found: ActivationMaps, start: int
) -> Picture | None:
    """The image beside the maps of its outputs."""
    photo = measured.picture(case.image, _TILE)
    if photo is None:
        return None
    scale = _TILE / max(photo.size)
    photo = photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
    shape = (photo.height, photo.width)
    tiles, told = [photo], []
    for k, j in enumerate(case.outputs, start):
        scores, frame, size = found.scores[k], found.frames[k], found.sizes[k]
        placed = scores_at(scores, frame, found.image_size, size, shape)
        tiles.append(activation_overlay(photo, placed))
        mean, low, high = (f"{float(f(scores)):.3g}" for f in (np.mean, np.min, np.max))
        told.append(f"{mean} for {measured.labels[j]} (places {low} to {high})")
    lines = (*case.lines, f"scores: {', '.join(told)}")
    sheet = beside(tiles)
    name = measured.images.names[case.image]
    return Picture(thumbnail(sheet, max(sheet.size)), name, lines)


def _failure_section(failures: Sequence[Failure]) -> Section:
    if not failures:
        return Section("Images that could not be read", [])
    rows = [(printable(one.name), printable(one.reason)) for one in failures[:_FAILURES]]
    more = len(failures) - len(rows)
    about = f"The first {len(rows)}; {more:,} more." if more else ""
    return Section("Images that could not be read", [DataTable(("image", "reason"), rows)], about)
