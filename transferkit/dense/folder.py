"""`HeadFolder`, a folder of which each file is one head of a dense task."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from transferkit import registry
from transferkit.dense.head import PyramidHead

__all__ = ["HeadFolder"]

H = TypeVar("H", bound=PyramidHead)


class HeadFolder(Generic[H]):
    """The heads of a task, each in a file of its own that offers ``Head`` and ``NECK``.

    Parameters
    ----------
    package : str
        Dotted name of the folder.
    kind : str
        What messages call a head, such as ``"detection head"``.

    Examples
    --------
    >>> folder = HeadFolder[PyramidHead]("transferkit.dense.segmentation", "segmentation head")
    >>> "linear" in folder.names(), folder.default_neck("linear")
    (True, 'none')
    >>> folder.create("linear", [8, 16], [4, 8], n_classes=3).n_classes
    3
    """

    def __init__(self, package: str, kind: str) -> None:
        self.package, self.kind = package, kind

    def names(self) -> list[str]:
        """Names of the heads, sorted."""
        return registry.names(self.package)

    def default_neck(self, name: str) -> str:
        """Name of the neck that a head has if none is named."""
        return str(self._file(name).NECK)

    def suited_options(
        self,
        name: str,
        boxes: NDArray[Any],
        strides: Sequence[float],
        size: tuple[int, int],
        *,
        most: int = 0,
    ) -> dict[str, Any]:
        """Options of a head that suit the objects of the training images, such as its anchors.

        Parameters
        ----------
        name : str
            One of `names`.
        boxes : ndarray of shape (n, 4)
            Left, top, right and bottom edges of all objects, px of the network's input.
        strides : sequence of float
            Of the levels that the head is given, fine to coarse.
        size : (int, int)
            Height and width of the input, px.
        most : int, default=0
            Objects of the fullest image.

        Returns
        -------
        dict
            As `create` takes them, and as JSON does.
        """
        options: dict[str, Any] = self._file(name).suited_options(boxes, strides, size, most)
        return options

    def create(
        self,
        name: str,
        channels: Sequence[int],
        strides: Sequence[float],
        n_classes: int,
        **options: Any,
    ) -> H:
        """Make a head by its name, with random weights.

        Parameters
        ----------
        name : str
            One of `names`.
        channels : sequence of int
            Width of each level that it is given, fine to coarse.
        strides : sequence of float
            Nominal stride of each, px of the network's input.
        n_classes : int
            Number of classes; where objects are found, the background is one of them.
        **options
            Of the head, such as ``width``.

        Raises
        ------
        ValueError
            If there is no such head or option.
        """
        kind = self._file(name).Head
        allowed = list(signature(kind).parameters)[3:]
        for option in options:
            if option not in allowed:
                raise registry.unknown(f"option of the head {name!r}:", option, allowed)
        head: H = kind(channels, strides, n_classes, **options)
        return head

    def _file(self, name: str) -> Any:
        return registry.load(self.package, name, self.kind)
