import io
import pickle

import numpy as np
import pytest

from tests.images.formats.files import npy
from transferkit.images import ImageError, size_of
from transferkit.images.formats.npy import read

VALUES = np.random.default_rng(0).integers(0, 4096, (6, 5, 4)).astype(np.uint16)


@pytest.mark.parametrize(
    "values",
    [
        VALUES,
        np.asfortranarray(VALUES),
        VALUES.astype(">u2"),
        VALUES.astype(np.float16),
        VALUES - 2000.0,
        VALUES > 2000,
        VALUES[:, :, :1],
    ],
)
def test_values_of_any_type_and_order(values):
    np.testing.assert_array_equal(read(npy(values), "HWC").values, values)


def test_layout_is_stated():
    first = np.moveaxis(VALUES, 2, 0)
    np.testing.assert_array_equal(read(npy(first), "CHW").values, VALUES)
    assert read(npy(first), "HWC").values.shape == (4, 6, 5)
    assert size_of(npy(first), layout="CHW") == (6, 5)
    np.testing.assert_array_equal(read(npy(VALUES[:, :, 0]), "CHW").values, VALUES[:, :, :1])


def header(text):
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


class _Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('was run')",))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (npy(VALUES)[:-1], "damaged: 239 bytes of values"),
        (npy(VALUES) + b"\0", "damaged: 241 bytes of values"),
        (npy(VALUES[0, 0]), r"shape \(4,\); save"),
        (npy(VALUES[None]), "shape .1, 6, 5, 4.; save"),
        (npy(VALUES[:0]), "shape .0, 5, 4.; save"),
        (npy(VALUES * 1j), "dtype complex128; save"),
        (npy(np.zeros((2, 2), [("a", "u1")])), "dtype .*; save"),
        (
            header(b"{'descr': '<u2', 'fortran_order': False, 'shape': (99999999, 99999), }"),
            "million values, above the limit",
        ),
        (header(b"{'descr': '<u2', 'fortran_order': False, 'shape': (-2, -3), }"), "shape .-2"),
        (header(b"{'descr': '<u2', 'fortran_order': False, 'shape': (True, 3.5)}"), "damaged"),
        (header(b"__import__('os').abort()"), "damaged header"),
        (b"\x93NUMPY\3\0" + npy(VALUES)[8:], "version .3, 0.; save"),
    ],
)
def test_what_is_no_image_is_named(data, match):
    with pytest.raises(ImageError, match=match):
        read(data, "HWC")


def test_no_object_is_made():
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([[_Evil()]], dtype=object), allow_pickle=True)
    assert pickle.dumps(_Evil())[:1] in file.getvalue()
    with pytest.raises(ImageError, match="dtype object"):
        read(file.getvalue(), "HWC")
