"""Features on a plane: images that are alike to the network lie near each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.registry import unknown
from transferkit.report.captions import caption
from transferkit.report.judged_images import JudgedImages
from transferkit.report.page import Chart
from transferkit.report.thumbnails import thumbnail

__all__ = [
    "MAPPINGS",
    "MOST_POINTS",
    "check_mapping",
    "feature_charts",
    "on_a_plane",
    "some_images",
]

MAPPINGS = ("pca", "tsne", "umap", "none")
"""What may draw the plane; PCA stands beside the others."""
MOST_POINTS = 2000
"""Of more images than these some are drawn."""

_TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
# The page has eight; the others are middling, to be seen on white and on black.
_COLOURS = (
    *(f"var(--c{i})" for i in range(1, 9)),
    *("#b08900", "#0aa3a3", "#8c564b", "#7f7fe0", "#e377c2", "#6b8e23", "#9a9a9a", "#ff7f7f"),
)
# Thumbnails are this large where there are few points, so that a page stays small.
_SIDE, _SMALL_SIDE, _FEW = 96, 64, 500
_PCA_FIRST = 50
# To be seen on white and on black.
_SCALE = [[0, "#4263eb"], [0.5, "#c2529b"], [1, "#f59f00"]]


def check_mapping(mapping: str) -> None:
    """Raise an error if nothing is called so, or what it takes isn't installed."""
    if mapping not in MAPPINGS:
        raise unknown("map", mapping, MAPPINGS)
    if mapping == "umap":
        _umap()


def _umap() -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "a UMAP of the features needs umap-learn, which isn't installed; run pip install "
            "umap-learn, or choose pca or tsne"
        ) from error
    return UMAP


def some_images(classes: NDArray[Any], n: int = MOST_POINTS) -> NDArray[np.intp]:
    """Draw images so that every class keeps its share, and at least one image.

    Parameters
    ----------
    classes : ndarray of shape (n_samples,)
        The class of each image.
    n : int, default=MOST_POINTS
        How many at most; more only if there are more classes.

    Returns
    -------
    ndarray of int
        Positions, ascending; the same in every run.

    Examples
    --------
    >>> classes = np.array(["a"] * 90 + ["b"] * 9 + ["c"])
    >>> np.unique(classes[some_images(classes, 20)], return_counts=True)[1].tolist()
    [18, 1, 1]
    """
    if len(classes) <= n:
        return np.arange(len(classes))
    order = np.random.default_rng(0).permutation(len(classes))
    _, codes, counts = np.unique(classes[order], return_inverse=True, return_counts=True)
    quota = np.maximum(1, counts * n // len(classes))
    kept = [order[codes == code][: quota[code]] for code in range(len(counts))]
    return np.sort(np.concatenate(kept))


def on_a_plane(X: NDArray[Any], mapping: str) -> tuple[NDArray[np.float64], str]:
    """Place rows of features on a plane, the same in every run.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features.
    mapping : {"pca", "tsne", "umap"}
        How.

    Returns
    -------
    (ndarray of shape (n_samples, 2), str)
        The points, and what can be read from them.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    rows = np.asarray(X, dtype=np.float64)
    n = min(_PCA_FIRST if mapping == "tsne" else 2, *rows.shape)
    if mapping != "umap":
        pca = PCA(n, random_state=0)
        with np.errstate(invalid="ignore", divide="ignore"):  # all rows may be alike
            rows = pca.fit_transform(rows)
    if mapping == "pca":
        share = float(np.nan_to_num(pca.explained_variance_ratio_[:2]).sum())
        about = f"The two directions hold {100 * share:.0f} % of the features' variance."
        return np.pad(rows, ((0, 0), (0, 2 - rows.shape[1]))), about
    about = "Neighbours are neighbours in the features; distances between groups tell little."
    if len(rows) < 4:
        return np.pad(rows, ((0, 0), (0, 2)))[:, :2], about
    if mapping == "tsne":
        perplexity = min(30.0, (len(rows) - 1) / 3)
        init = "pca" if rows.shape[1] > 1 else "random"
        made: Any = TSNE(2, perplexity=perplexity, init=init, random_state=0)
    else:
        made = _umap()(n_components=2, n_neighbors=min(15, len(rows) - 1), random_state=0)
    return np.asarray(made.fit_transform(rows), np.float64), about


def feature_charts(measured: JudgedImages, mapping: str) -> tuple[list[Chart], list[str]]:
    """Draw the features on a plane, by PCA and, if it is another, as chosen.

    Parameters
    ----------
    measured : JudgedImages
        Of any task.
    mapping : str
        One of `MAPPINGS`.

    Returns
    -------
    (list of Chart, list of str)
        Charts, and a sentence for each.
    """
    if mapping == "none":
        return [], []
    at = some_images(_groups(measured))
    pictures, number_of = _thumbnails(measured, at)
    charts, notes = [], []
    for one in dict.fromkeys((mapping, "pca")):
        points, about = on_a_plane(measured.X[at], one)
        notes.append(f"{_TITLES[one]}: {about}")
        traces = _traces(measured, at, points, number_of)
        axis = {"showticklabels": False, "zeroline": False, "ticks": ""}
        layout: dict[str, Any] = {"xaxis": axis, "yaxis": axis, "hovermode": "closest"}
        label = f"{_TITLES[one]} of the features of {len(at):,} images"
        figure = {"data": traces, "layout": layout}
        charts.append(Chart(figure, label, 520, pictures, title=_TITLES[one]))
    return charts, notes


def _groups(measured: JudgedImages) -> NDArray[Any]:
    """What images are drawn by: their class, or their labels; of numbers nothing."""
    found = measured.found
    if found.task == "regression":
        return np.zeros(len(found), dtype=int)
    if found.task == "classification":
        return found.y_true
    return np.unique(found.y_true, axis=0, return_inverse=True)[1].reshape(-1)


def _thumbnails(measured: JudgedImages, at: NDArray[np.intp]) -> tuple[list[bytes], dict[int, int]]:
    """Small pictures of the images that can be read, and which of them is whose."""
    side = _SIDE if len(at) <= _FEW else _SMALL_SIDE
    pictures: list[bytes] = []
    number_of: dict[int, int] = {}
    for i in at.tolist():
        picture = measured.picture(i, side)
        if picture is not None:
            number_of[i] = len(pictures)
            pictures.append(thumbnail(picture, side, quality=70))
    return pictures, number_of


def _traces(
    measured: JudgedImages,
    at: NDArray[np.intp],
    points: NDArray[np.float64],
    number_of: dict[int, int],
) -> list[dict[str, Any]]:
    found = measured.found
    is_number = found.task == "regression"
    is_right = np.ones(len(at), dtype=bool) if is_number else found.is_right[at]
    symbols = np.where(is_right, "circle", "x")
    sizes = np.where(is_right, 6, 9)
    hover = [
        f"{caption(measured.images.names[i])}<br>true {caption(measured.true_text(i))}"
        f"<br>predicted {caption(measured.predicted_text(i))}"
        for i in at.tolist()
    ]
    numbers = np.array([number_of.get(i, -1) for i in at.tolist()])

    def trace(chosen: NDArray[Any], name: str, colour: Any) -> dict[str, Any]:
        # Mistakes last, so that they lie above, and the legend has the sign of the right ones.
        chosen = chosen[np.argsort(~is_right[chosen], kind="stable")]
        marker = {"symbol": symbols[chosen], "size": sizes[chosen], "opacity": 0.85, **colour}
        marker["line"] = {"width": 0}
        return {
            "type": "scatter", "mode": "markers", "name": name, "marker": marker,
            "x": points[chosen, 0].round(4), "y": points[chosen, 1].round(4),
            "customdata": numbers[chosen], "hoverinfo": "text",
            "hovertext": [hover[i] for i in chosen],
        }  # fmt: skip

    if is_number:
        bar = {"title": {"text": caption(measured.labels[0], 24)}}
        colour = {"color": found.y_true[at, 0], "showscale": True, "colorbar": bar}
        colour["colorscale"] = _SCALE
        return [{**trace(np.arange(len(at)), "", colour), "showlegend": False}]
    groups = [measured.true_text(i) for i in at.tolist()]
    names, codes = np.unique(groups, return_inverse=True)
    if len(names) > len(_COLOURS):
        parts = (("right", is_right, "var(--c1)"), ("wrong", ~is_right, "var(--c2)"))
        return [trace(np.flatnonzero(m), name, {"color": c}) for name, m, c in parts if m.any()]
    order = _in_order(measured, names.tolist())
    return [
        trace(np.flatnonzero(codes == j), caption(str(names[j]), 24), {"color": colour})
        for j, colour in zip(order, _COLOURS, strict=False)
    ]


def _in_order(measured: JudgedImages, names: list[str]) -> list[int]:
    """Positions of the groups' names, in the order of the classes where they are such."""
    place = {label: i for i, label in enumerate(measured.labels)}
    return sorted(range(len(names)), key=lambda j: (place.get(names[j], len(place)), names[j]))
