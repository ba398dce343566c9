"""A table that behaves as one of Hugging Face's ``datasets`` does, which isn't installed."""

import copy
import io
from dataclasses import dataclass

from PIL import Image as PIL

__all__ = ["ClassLabel", "Image", "Table", "encoded", "hugging_face"]


@dataclass
class Image:
    """The feature of that name."""

    decode: bool = True


@dataclass
class ClassLabel:
    """The feature of that name."""

    names: tuple[str, ...]


class Table:
    """Rows by number, columns by name; images are stored as bytes and path."""

    def __init__(self, columns, features):
        self.columns_, self.features, self.format = columns, features, {"type": None}
        self.n_decoded = 0

    @property
    def column_names(self):
        return list(self.columns_)

    def __len__(self):
        return len(next(iter(self.columns_.values())))

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns_[key]
        row = {name: values[key] for name, values in self.columns_.items()}
        for name, feature in self.features.items():
            if isinstance(feature, Image) and feature.decode:
                self.n_decoded += 1
                data = row[name]["bytes"]
                row[name] = PIL.open(row[name]["path"] if data is None else io.BytesIO(data))
        return row

    def with_format(self, kind):
        other = copy.copy(self)
        other.format = {"type": kind}
        return other

    def cast_column(self, name, feature):
        other = copy.copy(self)
        other.features = {**self.features, name: feature}
        return other


def encoded(pixels):
    """Bytes of a PNG file."""
    file = io.BytesIO()
    PIL.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def hugging_face(images, labels, names=None, column="image"):
    """A table of encoded images and class numbers."""
    cells = [{"bytes": encoded(pixels), "path": None} for pixels in images]
    features = {column: Image(), "label": ClassLabel(names) if names else object()}
    return Table({column: cells, "label": list(labels)}, features)
