"""Figures that pages share, as plotly's plain dictionaries: lines, bars, points, heat maps.

Names are escaped, because plotly reads texts as markup. Colours are the page's.
"""

from transferkit.report.charts._axes import Figure, marked
from transferkit.report.charts._bars import bars
from transferkit.report.charts._heatmap import heatmap
from transferkit.report.charts._histogram import histogram
from transferkit.report.charts._lines import Curve, lines
from transferkit.report.charts._names import NAME, caption, named, shortened
from transferkit.report.charts._scatter import Points, scatter

__all__ = [
    "NAME",
    "Curve",
    "Figure",
    "Points",
    "bars",
    "caption",
    "heatmap",
    "histogram",
    "lines",
    "marked",
    "named",
    "scatter",
    "shortened",
]
