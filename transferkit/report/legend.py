"""`Legend`: which colour is which class, for all pictures of a gallery at once."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from transferkit.report.plates import RGB
from transferkit.report.text import printable

__all__ = ["Legend"]

_SHOWN = 40
_ENTRY = "white-space:nowrap;margin-right:1.1em"
_SWATCH = (
    "display:inline-block;width:.85em;height:.85em;border-radius:3px;margin-right:.4em;"
    "vertical-align:-.08em"
)


@dataclass(frozen=True)
class Legend:
    """Names beside their colours.

    Parameters
    ----------
    entries : sequence of (str, (int, int, int))
        Names and RGB colours; of many the first 40 are shown.

    Examples
    --------
    >>> "rgb(230,159,0)" in Legend([("sky", (230, 159, 0))]).to_html()
    True
    """

    entries: Sequence[tuple[str, RGB]]

    def to_html(self) -> str:
        """Markup of the part."""
        shown = "".join(map(self._shown, self.entries[:_SHOWN]))
        more = len(self.entries) - _SHOWN
        return f"<p>{shown}{f'and {more:,} more' if more > 0 else ''}</p>"

    @staticmethod
    def _shown(entry: tuple[str, RGB]) -> str:
        name, (red, green, blue) = entry
        swatch = f"{_SWATCH};background:rgb({red},{green},{blue})"
        return (
            f'<span style="{_ENTRY}"><span style="{swatch}"></span>'
            f"{html.escape(printable(name[:60]))}</span> "
        )
