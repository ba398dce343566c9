"""`Page`: sections of text, tables, charts and pictures in one HTML file that needs no network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import transferkit
from transferkit.files import write_whole
from transferkit.report.text import printable

__all__ = [
    "Beside",
    "Chart",
    "DataTable",
    "Fold",
    "Gallery",
    "Page",
    "Part",
    "Picture",
    "Section",
    "Text",
    "WrittenNumber",
]

# A page may run what stands in it and show what stands in it, and ask nobody for anything.
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; font-src data:; base-uri 'none'; form-action 'none'"
)
# Tables of more rows scroll in a box of their own.
_LONG = 24
# Characters of a text of a table that stays on one line.
_SHORT = 22


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
        return f"<p{kind}>{escaped(self.text)}</p>"


@dataclass(frozen=True)
class WrittenNumber:
    """A number of a table that is written in a way of its own, such as ``95.9 %``.

    Parameters
    ----------
    value : float or None
        What it is sorted by; None stands last.
    text : str
        What is shown.
    """

    value: float | None
    text: str


CellValue = str | float | WrittenNumber | None
"""What stands in a cell of a table."""


@dataclass(frozen=True)
class DataTable:
    """A table, which the reader sorts by a click on a column's name.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of (str, int, float, WrittenNumber or None)
        Cells. Numbers are shown as they are, rounded to four digits; None as a dash.
    title : str, default=""
        What stands above it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[CellValue]]
    title: str = ""

    def to_html(self) -> str:
        """Markup of the part."""
        columns = [[row[i] for row in self.rows] for i in range(len(self.header))]
        head = "".join(map(self._heading, self.header, columns))
        rows = "".join(
            f"<tr>{''.join(self._cell(value) for value in row)}</tr>" for row in self.rows
        )
        long = " long" * (len(self.rows) > _LONG)
        return (
            f'<div class="table">{heading(self.title)}<div class="wide{long}" tabindex="0">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></div>"
        )

    @staticmethod
    def _heading(name: str, cells: Sequence[CellValue]) -> str:
        is_number = any(cell is not None for cell in cells) and not any(
            isinstance(cell, str) for cell in cells
        )
        kind = ' class="number"' * is_number
        return f'<th scope="col"{kind}><button type="button">{escaped(name)}</button></th>'

    @staticmethod
    def _cell(value: CellValue) -> str:
        if isinstance(value, str):
            # Short texts stay on one line; others may be broken.
            kind = ' class="short"' * (len(value) <= _SHORT)
            return f"<td{kind}>{escaped(value)}</td>"
        if isinstance(value, WrittenNumber):
            number, shown = value.value, escaped(value.text)
        else:
            number, shown = value, "" if value is None else _written(value)
        if number is None or not np.isfinite(number):
            return f'<td class="number">{shown if isinstance(value, WrittenNumber) else "-"}</td>'
        return f'<td class="number" data-value="{float(number)!r}">{shown}</td>'


def _written(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


@dataclass(frozen=True)
class Chart:
    """A chart that plotly draws.

    Parameters
    ----------
    figure : mapping
        plotly's ``data`` and ``layout``, as plain values and arrays; `transferkit.report.charts`
        has builders. Colours, fonts and margins come from the page; a trace without a colour has
        the next one of the page's, and the page's can be named as in ``"var(--c2)"`` (``--c1``
        to ``--c8``, ``--front``, ``--soft``, ``--line``, ``--good``, ``--bad``, ``--warning``).
        Traces that plotly draws by WebGL, such as ``scattergl``, don't work under the page's
        policy.
    label : str
        What it shows, in a sentence: for those who can't see it.
    height : int, default=380
        px.
    pictures : sequence of bytes, default=()
        PNG or JPEG files. A point whose ``customdata`` is a number i, or begins with it, shows the
        i-th of them while the pointer is on it.
    title : str, default=""
        What stands above it.
    left_out : str, default=""
        What isn't shown, and why; a page writes it that is as large as it may be.
    """

    figure: Mapping[str, Any]
    label: str
    height: int = 380
    pictures: Sequence[bytes] = ()
    title: str = ""
    left_out: str = ""

    def to_html(self) -> str:
        """Markup of the part."""
        figure = {**self.figure, "pictures": [data_uri(one) for one in self.pictures]}
        # Within a script "</" would end it, and "<!--" would hide its end.
        text = json.dumps(plain(figure), allow_nan=False).replace("<", "\\u003c")
        return (
            f"{heading(self.title)}"
            f'<figure class="chart" role="group" aria-label="{escaped(self.label)}">'
            f'<div class="plot" style="--height:{self.height}px"></div>'
            f'<script type="application/json">{text}</script></figure>{_told(self.left_out)}'
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
    left_out : str, default=""
        What isn't shown, and why; a page writes it that is as large as it may be.
    """

    pictures: Sequence[Picture]
    title: str = ""
    width: int = 160
    left_out: str = ""

    def to_html(self) -> str:
        """Markup of the part."""
        shown = "".join(map(self._shown, self.pictures))
        return (
            f"{heading(self.title)}"
            f'<div class="gallery" style="--width:{self.width}px">{shown}</div>'
            f"{_told(self.left_out)}"
        )

    @staticmethod
    def _shown(picture: Picture) -> str:
        lines = "".join(f"<span>{escaped(line)}</span>" for line in picture.lines)
        title = escaped(picture.title)
        return (
            f'<figure><button type="button" aria-label="Enlarge {title}">'
            f'<img src="{data_uri(picture.image)}" alt="{title}" loading="lazy"></button>'
            f'<figcaption><b title="{title}">{title}</b>{lines}</figcaption></figure>'
        )


@dataclass(frozen=True)
class Beside:
    """Parts side by side where there is room, else one below the other.

    Parameters
    ----------
    parts : sequence of Part
        What stands side by side.
    widths : sequence of float, default=()
        How wide they are to one another, where there is room; by default alike.
    """

    parts: Sequence[Part]
    widths: Sequence[float] = ()

    def to_html(self) -> str:
        """Markup of the part."""
        each = "".join(f"<div>{part.to_html()}</div>" for part in self.parts)
        columns = " ".join(f"minmax(0, {width:g}fr)" for width in self.widths)
        style = f' style="--columns: {columns}"' if columns else ""
        return f'<div class="beside{" of-widths" * bool(columns)}"{style}>{each}</div>'


@dataclass(frozen=True)
class Fold:
    """Parts that are shown when the reader opens them.

    Parameters
    ----------
    title : str
        What stands there while it is closed.
    parts : sequence of Part
        What it shows.
    """

    title: str
    parts: Sequence[Part]

    def to_html(self) -> str:
        """Markup of the part."""
        parts = "".join(part.to_html() for part in self.parts)
        return (
            f'<details class="fold"><summary><h3>{escaped(self.title)}</h3></summary>'
            f"{parts}</details>"
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
    is_folded : bool, default=False
        Whether the reader opens it.
    """

    title: str
    parts: Sequence[Part]
    about: str = ""
    is_folded: bool = False

    def to_html(self, anchor: str) -> str:
        """Markup of the section."""
        about = f'<p class="about">{escaped(self.about)}</p>' if self.about else ""
        title = f"<h2>{escaped(self.title)}</h2>"
        inner = about + "".join(part.to_html() for part in self.parts)
        if self.is_folded:
            inner = f"<details><summary>{title}</summary>{inner}</details>"
        else:
            inner = title + inner
        return f'<section id="{anchor}">{inner}</section>'


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
        The first is shown larger.
    about : str, default=""
        What the page tells, in a sentence, below its title.
    limit_bytes : int, default=20,000,000
        How large the file may be. Where pictures would make it larger, the last ones of each
        gallery and chart are left out, and a line there says how many and why.

    Examples
    --------
    >>> page = Page("flowers", [Section("Classes", [DataTable(["class", "n"], [["rose", 12]])])])
    >>> "rose</td>" in page.to_html()
    True
    """

    title: str
    sections: Sequence[Section]
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    about: str = ""
    limit_bytes: int = 20_000_000

    def to_html(self) -> str:
        """The file's text."""
        text = self._text(self.sections)
        excess = len(_encoded(text)) - self.limit_bytes
        return (
            text if excess <= 0 else self._text(_without(self.sections, excess, self.limit_bytes))
        )

    def _text(self, sections: Sequence[Section]) -> str:
        shown = [section for section in sections if section.parts]
        leaves = [leaf for section in shown for leaf in _leaves(section)]
        title = escaped(self.title)
        about = f'<p class="about">{escaped(self.about)}</p>' if self.about else ""
        body = "".join(section.to_html(f"s{i}") for i, section in enumerate(shown))
        has_charts = any(isinstance(leaf, Chart) for leaf in leaves)
        plotly = f"<script>{_plotly()}</script>" if has_charts else ""
        dialog = _DIALOG if any(isinstance(leaf, Gallery) for leaf in leaves) else ""
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            f'<link rel="icon" href="data:,"><title>{title}</title>'
            f"<style>{_asset('page.css')}</style></head><body><header><h1>{title}</h1>{about}"
            f"{self._facts()}</header>{_bar(shown)}<main>{body}</main>"
            f"<footer>Written by transferkit {transferkit.__version__}. This file is whole: it "
            f'asks no network for anything.</footer>{dialog}<div id="hover"><img alt=""></div>'
            f"{plotly}<script>{_asset('page.js')}</script></body></html>"
        )

    def _facts(self) -> str:
        facts = "".join(
            f"<div><dt>{escaped(name)}</dt><dd>{escaped(text)}</dd></div>"
            for name, text in self.facts.items()
        )
        return f'<dl class="facts">{facts}</dl>' if facts else ""

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_whole(path, [_encoded(self.to_html())])


_DIALOG = (
    '<dialog aria-label="Enlarged picture"><figure><img alt=""><figcaption></figcaption></figure>'
    '<div><button type="button" value="before" aria-label="Picture before">←</button>'
    '<button type="button" value="after" aria-label="Picture after">→</button>'
    '<button type="button" value="close">Close</button></div></dialog>'
)


def _bar(sections: Sequence[Section]) -> str:
    """Contents of a page, and what switches between light and dark."""
    contents = "".join(
        f'<a href="#s{i}">{escaped(section.title)}</a>' for i, section in enumerate(sections)
    )
    return (
        f'<div class="bar"><div><nav aria-label="Contents">{contents}</nav>'
        f'<button type="button" class="theme" title="Colours: of the system, light or dark">◐ auto'
        f"</button></div></div>"
    )


# ---- what fits into a page ----------------------------------------------------------


def _leaves(part: Any) -> Iterator[Any]:
    """Parts without parts of their own, in order."""
    if hasattr(part, "parts"):
        for each in part.parts:
            yield from _leaves(each)
    else:
        yield part


def _without(sections: Sequence[Section], excess: int, limit: int) -> list[Section]:
    """Leave out so many pictures that a page is smaller by some bytes.

    The first pictures of all galleries are kept before the second ones of any, and so on, since
    those of a gallery stand in the order of their importance.
    """
    shows = [leaf for one in sections for leaf in _leaves(one) if isinstance(leaf, Chart | Gallery)]
    sizes = [[_size(picture) for picture in leaf.pictures] for leaf in shows]
    ranked = sorted((k, i) for i, each in enumerate(sizes) for k in range(len(each)))
    # Of the lines that tell what is left out, each has less than 300 bytes.
    room = sum(map(sum, sizes)) - excess - 300 * len(shows)
    kept = [0] * len(shows)
    for k, i in ranked:
        room -= sizes[i][k]
        if room < 0:
            break
        kept[i] = k + 1
    n_kept = {id(leaf): n for leaf, n in zip(shows, kept, strict=True)}
    return [_cut(section, n_kept, limit) for section in sections]


def _size(picture: Picture | bytes) -> int:
    """Bytes of a picture in the file, and at most those of what is told of it."""
    if isinstance(picture, bytes):
        return 4 * len(picture) // 3 + 40
    return len(Gallery([picture]).to_html())


def _cut(part: Any, n_kept: Mapping[int, int], limit: int) -> Any:
    if hasattr(part, "parts"):
        return replace(part, parts=[_cut(each, n_kept, limit) for each in part.parts])
    n, n_all = n_kept.get(id(part), 0), len(getattr(part, "pictures", ()))
    if n == n_all:
        return part
    what = "are not in this file" if isinstance(part, Gallery) else "appear beside no point"
    told = (
        f"{n_all - n:,} of {n_all:,} pictures {what}, which would be larger than "
        f"{limit / 1e6:,.3g} MB with them."
    )
    return replace(part, pictures=part.pictures[:n], left_out=told)


# ---- markup -------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text as markup; what can't be shown or would turn its direction is written as an escape."""
    return html.escape(printable(text, keep="\n\t"))


def heading(title: str) -> str:
    """Markup of a part's title; nothing without one."""
    return f"<h3>{escaped(title)}</h3>" if title else ""


def _told(left_out: str) -> str:
    return f'<p class="left-out">{escaped(left_out)}</p>' if left_out else ""


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


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
