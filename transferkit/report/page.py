"""`Page`: sections of text, tables, charts and pictures in one HTML file that needs no network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from transferkit.files import write_whole

__all__ = ["Chart", "DataTable", "Gallery", "Page", "Part", "Picture", "Section", "Text"]

# A page may run what stands in it and show what stands in it, and ask nobody for anything.
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; font-src data:"
)


class Part(Protocol):
    """What a section is made of."""

    def to_html(self) -> str:
        """Markup of the part; whatever the user named is escaped."""
        ...


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Parameters
    ----------
    text : str
        Plain text.
    is_warning : bool, default=False
        Whether it stands out.
    """

    text: str
    is_warning: bool = False

    def to_html(self) -> str:
        """Markup of the part."""
        kind = ' class="warning"' * self.is_warning
        return f"<p{kind}>{html.escape(self.text)}</p>"


@dataclass(frozen=True)
class DataTable:
    """A table, which the reader sorts by a click on a column's name.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of (str, int, float or None)
        Cells. Numbers are shown as they are, rounded to four digits; None as a dash.
    title : str, default=""
        What stands above it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    title: str = ""

    def to_html(self) -> str:
        """Markup of the part."""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.header)
        rows = "".join(
            f"<tr>{''.join(self._cell(value) for value in row)}</tr>" for row in self.rows
        )
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        return (
            f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )

    @staticmethod
    def _cell(value: str | float | None) -> str:
        if value is None:
            return "<td>-</td>"
        if isinstance(value, str):
            return f"<td>{html.escape(value)}</td>"
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
        return f'<td class="number" data-value="{value}">{shown}</td>'


@dataclass(frozen=True)
class Chart:
    """A chart that plotly draws.

    Parameters
    ----------
    figure : mapping
        plotly's ``data`` and ``layout``, as plain values and arrays. Colours, fonts and margins
        come from the page; a trace without a colour has the next one of the page's.
    label : str
        What it shows, in a sentence: for those who can't see it.
    height : int, default=380
        px.
    pictures : sequence of bytes, default=()
        PNG or JPEG files. A point whose ``customdata`` is a number i shows the i-th of them while
        the pointer is on it.
    """

    figure: Mapping[str, Any]
    label: str
    height: int = 380
    pictures: Sequence[bytes] = ()

    def to_html(self) -> str:
        """Markup of the part."""
        figure = {**self.figure, "pictures": [data_uri(one) for one in self.pictures]}
        # Within a script "</" would end it.
        text = json.dumps(plain(figure), allow_nan=False).replace("</", "<\\/")
        return (
            f'<figure class="chart" role="img" aria-label="{html.escape(self.label)}" '
            f'style="height:{self.height}px"><script type="application/json">{text}</script>'
            f"</figure>"
        )


@dataclass(frozen=True)
class Picture:
    """A picture of a gallery.

    Parameters
    ----------
    image : bytes
        A PNG or JPEG file.
    title : str
        What stands below it first, such as the image's name.
    lines : sequence of str, default=()
        What else is told of it.
    """

    image: bytes
    title: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many in a row as there is room for.

    Parameters
    ----------
    pictures : sequence of Picture
        Pictures, the most important first.
    title : str, default=""
        What stands above them.
    width : int, default=160
        The least width of a picture, px.
    """

    pictures: Sequence[Picture]
    title: str = ""
    width: int = 160

    def to_html(self) -> str:
        """Markup of the part."""
        shown = "".join(map(self._shown, self.pictures))
        title = f"<h3>{html.escape(self.title)}</h3>" if self.title else ""
        return f'{title}<div class="gallery" style="--width:{self.width}px">{shown}</div>'

    @staticmethod
    def _shown(picture: Picture) -> str:
        lines = "".join(f"<span>{html.escape(line)}</span>" for line in picture.lines)
        title = html.escape(picture.title)
        return (
            f'<figure><img src="{data_uri(picture.image)}" alt="{title}" loading="lazy">'
            f'<figcaption><b title="{title}">{title}</b>{lines}</figcaption></figure>'
        )


@dataclass(frozen=True)
class Section:
    """A part of a page under a title of its own.

    Parameters
    ----------
    title : str
        It stands in the page's list of contents too.
    parts : sequence of Part
        What it shows.
    about : str, default=""
        How to read it, in a sentence or two.
    """

    title: str
    parts: Sequence[Part]
    about: str = ""

    def to_html(self, anchor: str) -> str:
        """Markup of the section."""
        about = f'<p class="about">{html.escape(self.about)}</p>' if self.about else ""
        parts = "".join(part.to_html() for part in self.parts)
        return f'<section id="{anchor}"><h2>{html.escape(self.title)}</h2>{about}{parts}</section>'


@dataclass(frozen=True)
class Page:
    """One self-contained HTML file.

    Parameters
    ----------
    title : str
        What it is of.
    sections : sequence of Section
        What it shows; those without parts are left out.
    facts : mapping of str to str, default={}
        What stands at the top: the most important numbers first, then what was measured on what.

    Examples
    --------
    >>> page = Page("flowers", [Section("Classes", [DataTable(["class", "n"], [["rose", 12]])])])
    >>> "<td>rose</td>" in page.to_html()
    True
    """

    title: str
    sections: Sequence[Section]
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_html(self) -> str:
        """The file's text."""
        shown = [section for section in self.sections if section.parts]
        title = html.escape(self.title)
        contents = "".join(
            f'<a href="#s{i}">{html.escape(section.title)}</a>' for i, section in enumerate(shown)
        )
        facts = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd></div>"
            for name, text in self.facts.items()
        )
        sections = "".join(section.to_html(f"s{i}") for i, section in enumerate(shown))
        has_charts = any(isinstance(part, Chart) for one in shown for part in one.parts)
        plotly = f"<script>{_plotly()}</script>" if has_charts else ""
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            f'<link rel="icon" href="data:,"><title>{title}</title>'
            f"<style>{_asset('page.css')}</style></head><body><header><h1>{title}</h1>"
            f"<dl>{facts}</dl><nav>{contents}</nav></header><main>{sections}</main>{plotly}"
            f"<script>{_asset('page.js')}</script></body></html>"
        )

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_whole(path, [self.to_html().encode("utf-8", "surrogateescape")])


def data_uri(image: bytes) -> str:
    """Address of a PNG or JPEG file that is the file itself."""
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def plain(value: Any) -> Any:
    """Values that JSON has: arrays become lists, and what isn't a finite number None."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _asset(name: str) -> str:
    return (resources.files("transferkit.report") / "assets" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ImportError(
            'pages with charts need plotly; install it with: pip install "transferkit[report]"'
        ) from error
    text: str = get_plotlyjs()
    return text
