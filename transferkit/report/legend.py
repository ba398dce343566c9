"""`Legend`: which colour is which class, for all pictures of a gallery at once."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from transferkit.report.plates import RGB
from transferkit.report.text import printable

__all__ = ["Legend"]

_SHOWN = 40


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
        shown = "".join(
            f'<span style="white-space:nowrap;margin-right:1.1em"><span style="display:inline-block;'
            f"width:.85em;height:.85em;border-radius:3px;margin-right:.4em;vertical-align:-.08em;"
            f'background:rgb({red},{green},{blue})"></span>{html.escape(printable(name[:60]))}'
            f"</span> "
            for name, (red, green, blue) in self.entries[:_SHOWN]
        )
        more = len(self.entries) - _SHOWN
        return f"<p>{shown}{f'and {more:,} more' if more > 0 else ''}</p>"
