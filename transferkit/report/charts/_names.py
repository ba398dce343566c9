"""Users' names in charts, where plotly would take angle brackets for markup."""

from __future__ import annotations

import html

from transferkit.report.text import printable

__all__ = ["NAME", "caption", "named", "shortened"]

NAME = 28
"""Most characters of a class's name in a chart."""


def named(text: object) -> str:
    """Text that plotly shows as it is: neither markup nor control characters work in it.

    Examples
    --------
    >>> named("<b>cat</b>")
    '&lt;b&gt;cat&lt;/b&gt;'
    """
    return html.escape(printable(str(text)), quote=False)


def shortened(text: str, most: int = NAME) -> str:
    """Cut text in the middle if it is long; `named` is still to be applied.

    Parameters
    ----------
    text : str
        Anything.
    most : int, default=28
        Characters that are left.

    Examples
    --------
    >>> shortened("a long name of a file.jpg", 11)
    'a lon…e.jpg'
    """
    shown = printable(text)
    if len(shown) <= most:
        return shown
    head = most // 2
    return f"{shown[:head]}…{shown[-(most - head - 1) :]}"


def caption(text: str, most: int = 60) -> str:
    """Text as a chart shows it: cut in the middle if it is long, and then as by `named`.

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
    """
    return named(shortened(text, most))
