"""Users' names in charts, where plotly would take angle brackets for markup."""

from __future__ import annotations

import html

from transferkit.report.text import printable

__all__ = ["caption"]


def caption(text: str, most: int = 60) -> str:
    """Text as a chart shows it: escaped, and cut in the middle if it is long.

    Parameters
    ----------
    text : str
        Anything.
    most : int, default=60
        Characters that are left.

    Examples
    --------
    >>> caption("<b>cat</b>")
    '&lt;b&gt;cat&lt;/b&gt;'
    >>> caption("a long name of a file.jpg", 11)
    'a lon…e.jpg'
    """
    shown = printable(text)
    if len(shown) > most:
        head = most // 2
        shown = f"{shown[:head]}…{shown[-(most - head - 1) :]}"
    return html.escape(shown, quote=False)
