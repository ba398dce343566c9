"""`DensePictures`: pictures of the images and objects that a page shows, drawn one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from transferkit.annotations import Annotations
from transferkit.images import read_rgb
from transferkit.metrics import AnomalyScores, DetectionCounts
from transferkit.report.examples import Examples
from transferkit.report.legend import Legend
from transferkit.report.object_crops import false_crops, missed_crops
from transferkit.report.overlays import class_colours, pair
from transferkit.report.page import Gallery, Part, Picture, Section, Text
from transferkit.report.plates import RGB
from transferkit.report.text import printable
from transferkit.report.thumbnails import thumbnail

__all__ = ["DensePictures"]

# The longer side of the truth, and of what was found beside it; px.
_SIDE = 480
_WIDTH, _CROP_WIDTH = 420, 170
_CROPS = (
    "Amber outlines are what was found, blue ones what is annotated; the thick one is what the "
    "picture is about."
)


class DensePictures:
    """Pictures for a page on a dense task. Only the finished ones are kept, as small JPEGs.

    Parameters
    ----------
    examples : Examples
        What is shown.
    counts : PixelCounts, DetectionCounts or AnomalyScores
        That it was chosen by.
    classes : sequence of str
        Names of the classes, by number.
    threshold : float, default=0.0
        Score from which on objects are believed.
    """

    def __init__(
        self, examples: Examples, counts: Any, classes: Sequence[str], threshold: float = 0.0
    ) -> None:
        self.examples, self.counts = examples, counts
        self.classes, self.threshold = tuple(map(str, classes)), threshold
        self.score_range: tuple[float, float] | None = None
        if isinstance(counts, AnomalyScores):
            ends = counts.pixel_score(0.05), counts.pixel_score(0.9995)
            self.score_range = None if ends[0] is None or ends[1] is None else (ends[0], ends[1])
        self._grouped = {i for group in examples.groups.values() for i in group}
        self._pairs: dict[int, Picture] = {}
        self._false: list[tuple[float, Picture]] = []
        self._missed: list[tuple[float, Picture]] = []
        self._seen: set[int] = set()

    def add(
        self, i: int, image: Any, found: Annotations, truth: Annotations | None, name: str
    ) -> None:
        """Draw what is shown of an image.

        Parameters
        ----------
        i : int
            Its position, one of ``examples.images``.
        image : path, bytes, PIL.Image.Image or ndarray
            The image, as `read_rgb` takes it.
        found : Annotations
            All that was found on it, whatever its score.
        truth : Annotations or None
            What is there; None where no pixel is known.
        name : str
            The image's.
        """
        photo = read_rgb(image)
        believed = found
        if isinstance(self.counts, DetectionCounts):
            assert found.scores is not None
            believed = found.select(found.scores >= self.threshold)
        if i in self._grouped:
            drawn = pair(
                photo,
                believed,
                self.classes,
                truth,
                score_range=self.score_range,
                largest=_SIDE,
            )
            self._note(believed, truth)
            image = thumbnail(drawn, max(drawn.size))
            self._pairs[i] = Picture(image, printable(name), self.examples.notes[i])
        if isinstance(self.counts, DetectionCounts):
            assert truth is not None
            self._add_objects(i, photo, found, believed, truth, name)

    def _add_objects(
        self,
        i: int,
        photo: Image.Image,
        found: Annotations,
        believed: Annotations,
        truth: Annotations,
        name: str,
    ) -> None:
        n_false, n_missed = self.examples.n_false.get(i, 0), self.examples.n_missed.get(i, 0)
        if n_false:
            self._false += false_crops(photo, believed, truth, self.classes, n_false, name)
        if n_missed:
            self._missed += missed_crops(
                photo, found, truth, self.classes, n_missed, name, self.threshold
            )

    def _note(self, *shown: Annotations | None) -> None:
        """Note which classes a picture has colours of."""
        for one in shown:
            if one is not None and one.map is not None:
                self._seen |= set(np.unique(one.map).tolist())
            if one is not None and one.labels is not None:
                self._seen |= set(np.unique(one.labels).tolist())

    # ---- sections -----------------------------------------------------------------------

    def sections(self) -> list[Section]:
        """Sections of the pictures that were added."""
        parts: list[Part] = [
            Gallery([self._pairs[i] for i in group if i in self._pairs], title, _WIDTH)
            for title, group in self.examples.groups.items()
            if any(i in self._pairs for i in group)
        ]
        legend = self._legend()
        if parts and legend:
            parts.insert(0, Legend(legend))
        if parts and self._finds_nothing():
            told = "No detection has a score that the model believes, so nothing is drawn as found."
            parts.insert(0, Text(told, is_warning=True))
        return [
            Section("Images", parts, self._about()),
            Section(
                "Surest false detections",
                self._crops(self._false),
                f"Where the model is sure, and there is no such object: its mistakes, or objects "
                f"that nobody annotated. {_CROPS}",
            ),
            Section(
                "Missed objects",
                self._crops(self._missed),
                f"Objects that nothing finds at the score threshold, those that cover most of "
                f"their image first. {_CROPS}",
            ),
        ]

    def _finds_nothing(self) -> bool:
        return isinstance(self.counts, DetectionCounts) and not bool(
            (self.counts.scores >= self.threshold).any()
        )

    @staticmethod
    def _crops(pictures: list[tuple[float, Picture]]) -> list[Part]:
        if not pictures:
            return []
        order = sorted(range(len(pictures)), key=lambda k: -pictures[k][0])
        return [Gallery([pictures[k][1] for k in order], width=_CROP_WIDTH)]

    def _legend(self) -> list[tuple[str, RGB]]:
        if isinstance(self.counts, AnomalyScores):
            return []
        named = zip(self.classes, class_colours(self.classes), strict=True)
        entries = [
            (name, colour) for c, (name, colour) in enumerate(named) if colour and c in self._seen
        ]
        return [*entries, ("void", (128, 128, 128))] if -1 in self._seen else entries

    def _about(self) -> str:
        where = "The truth is on the left (or above), what was found on the right (or below)."
        if isinstance(self.counts, AnomalyScores):
            return (
                f"{where} The lighter, the stranger, by one scale for all pictures; lines in cyan "
                f"go around what is above the threshold of the pixels."
            )
        if isinstance(self.counts, DetectionCounts):
            how = "hatched" if self.counts.shapes.held == "masks" else "dashed"
            return f"{where} Missed objects and false ones are {how}."
        return where
