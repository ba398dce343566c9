import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from transferkit.images import EXTENSIONS, Failure, ImageSet, UnreadableImages, list_images


def make(root, *names):
    """Empty files: listing never opens one."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def write_csv(folder, text, **options):
    path = folder / "images.csv"
    path.write_text(text, **options)
    return path


# --- folders ---------------------------------------------------------------------------------


def test_folder_sorts_bytewise_and_labels_by_first_folder(tmp_path):
    make(tmp_path, "b/2.JPG", "b/10.jpg", "B/x.png", "a-b/y.gif", "a/deep/er/z.tiff", "é/u.webp")
    images = list_images(tmp_path)
    expected = ["B/x.png", "a-b/y.gif", "a/deep/er/z.tiff", "b/10.jpg", "b/2.JPG", "é/u.webp"]
    assert list(images.names) == expected
    assert images.items == tuple(tmp_path / name for name in expected)
    assert images.labels == ("B", "a-b", "a", "b", "b", "é")
    assert images.splits is None
    assert images.split_names == ()
    assert list_images(str(tmp_path)).names == images.names


def test_same_images_and_labels_as_torchvision(tmp_path):
    make(tmp_path, *(f"{c}/{i}.jpg" for c in ("dog", "cat", "Cow") for i in range(12)))
    make(tmp_path, "cat/sub/x.png", "dog/notes.txt")
    images = list_images(tmp_path)
    theirs = ImageFolder(tmp_path)
    pairs = {(str(p), label) for p, label in zip(images.items, images.labels, strict=True)}
    assert pairs == {(p, theirs.classes[i]) for p, i in theirs.samples}


def test_every_extension_in_any_case(tmp_path):
    # NumPy's files beside pictures are something else.
    names = [f"{i}{e}" for i, e in enumerate(EXTENSIONS) if e != ".npy"]
    make(tmp_path, *names, *(n.upper() for n in names), "x.txt", "x", "jpg", "Thumbs.db")
    assert len(list_images(tmp_path)) == len(set(names) | {n.upper() for n in names})


def test_hidden_names_are_left_out(tmp_path):
    make(tmp_path, ".hidden/a.jpg", "cat/._b.jpg", "cat/.DS_Store", "cat/c.jpg")
    assert list_images(tmp_path).names == ("cat/c.jpg",)


def test_folder_named_like_an_image_is_a_folder(tmp_path):
    make(tmp_path, "x.jpg/y.jpg")
    assert list_images(tmp_path).names == ("x.jpg/y.jpg",)


def test_flat_folder_has_no_labels(tmp_path):
    make(tmp_path, "1.jpg", "2.jpg")
    assert list_images(tmp_path).labels is None


def test_images_beside_the_classes_have_no_label(tmp_path):
    make(tmp_path, "a/1.jpg", "b/1.jpg", "c.jpg")
    assert list_images(tmp_path).labels == ("a", "b", None)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders(tmp_path, val):
    make(tmp_path, "Train/cat/1.jpg", "Train/dog/1.jpg", f"{val}/cat/2.jpg", "test/dog/3.jpg")
    images = list_images(tmp_path)
    by_name = dict(zip(images.names, zip(images.splits, images.labels, strict=True), strict=True))
    assert by_name == {
        "Train/cat/1.jpg": ("train", "cat"),
        "Train/dog/1.jpg": ("train", "dog"),
        f"{val}/cat/2.jpg": ("val", "cat"),
        "test/dog/3.jpg": ("test", "dog"),
    }
    assert images.split_names == ("train", "val", "test")
    assert images.split("train").labels == ("cat", "dog")
    assert images.split("valid").names == (f"{val}/cat/2.jpg",)
    assert len(images.split("test")) == 1


def test_train_alone_is_a_split_and_folders_without_images_do_not_count(tmp_path):
    make(tmp_path, "train/cat/1.jpg", "annotations/x.xml")
    assert list_images(tmp_path).splits == ("train",)


@pytest.mark.parametrize("names", [("test/1.jpg",), ("train/1.jpg", "bus/2.jpg")])
def test_classes_called_like_splits(tmp_path, names):
    images = list_images(make(tmp_path, *names))
    assert images.splits is None
    assert sorted(images.labels) == sorted(n.split("/")[0] for n in names)


def test_splits_without_classes(tmp_path):
    images = list_images(make(tmp_path, "train/1.jpg", "test/2.jpg", "3.jpg"))
    assert images.labels is None
    assert images.splits == (None, "test", "train")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_links_are_followed_and_loops_end(tmp_path):
    root = make(tmp_path / "root", "a/1.jpg", "b/2.jpg")
    make(tmp_path / "elsewhere", "3.jpg")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "again").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b")
    (root / "a" / "broken.jpg").symlink_to(tmp_path / "missing.jpg")
    (root / "a" / "4.jpg").symlink_to(tmp_path / "elsewhere" / "3.jpg")
    names = list_images(root).names
    assert names == ("a/1.jpg", "a/4.jpg", "a/broken.jpg", "b/2.jpg", "c/3.jpg")


@pytest.mark.skipif(sys.platform == "win32", reason="any bytes are names only on POSIX")
def test_names_that_are_not_utf8(tmp_path):
    names = [os.fsdecode(b"\xff/1.jpg"), "é/1.jpg"]
    try:
        make(tmp_path, *names)
    except OSError:
        pytest.skip("the file system wants UTF-8")
    assert list_images(tmp_path).names == ("é/1.jpg", names[0])


def test_folder_without_images_names_the_extensions(tmp_path):
    make(tmp_path, "a/notes.txt")
    with pytest.raises(ValueError, match=r"no images in .* \.jpg, \.jpeg"):
        list_images(tmp_path)


# --- single files, lists and arrays ----------------------------------------------------------


def test_single_image(tmp_path):
    make(tmp_path, "x.JPeG")
    images = list_images(tmp_path / "x.JPeG")
    assert (images.items, images.names, images.labels) == (
        (tmp_path / "x.JPeG",),
        ("x.JPeG",),
        None,
    )


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="doesn't exist; give a folder"):
        list_images(tmp_path / "nothing")
    make(tmp_path, "x.txt")
    with pytest.raises(ValueError, match=r"x\.txt' is neither a folder nor a \.tar file nor"):
        list_images(tmp_path / "x.txt")


class Series:
    """Iterates over values, as pandas' does."""

    def __init__(self, values):
        self.values = values

    def __iter__(self):
        return iter(self.values)


@pytest.mark.parametrize("kind", [list, tuple, np.array, Series, lambda v: [Path(p) for p in v]])
def test_paths_keep_order_and_need_not_exist(kind):
    images = list_images(kind(["b.jpg", "a/x.png", "b.jpg"]))
    assert images.names == tuple(str(Path(n)) for n in ("b.jpg", "a/x.png", "b.jpg"))
    assert images.items == (Path("b.jpg"), Path("a/x.png"), Path("b.jpg"))
    assert images.labels is None


def test_images_and_arrays_in_memory():
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    pictures = [Image.fromarray(p) for p in pixels]
    assert list_images(pictures).items == tuple(pictures)
    assert list_images(pictures[0]).names == ("image 0",)
    for source in (pixels, list(pixels), pixels[..., 0], pixels[..., :1]):
        images = list_images(source)
        assert images.names == ("image 0", "image 1")
        assert all((a == b).all() for a, b in zip(images.items, source, strict=True))


def test_image_set_is_returned_as_it_is():
    images = list_images(["a.jpg"])
    assert list_images(images) is images


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ([], ValueError, "list is empty"),
        (np.zeros((0, 4, 4, 3), np.uint8), ValueError, "list is empty"),
        (3, TypeError, "images given as int; give a folder"),
        ({"a.jpg": 1}, TypeError, "images given as dict"),
        (["a.jpg", 3], TypeError, "image 1 is a int; give paths"),
        (np.zeros((2, 4, 4, 3)), ValueError, "dtype float64; give uint8"),
        (np.zeros((4, 5, 3), np.uint8), ValueError, "looks like one colour image"),
        (np.zeros((2, 4, 4, 4), np.uint8), ValueError, r"shape \(2, 4, 4, 4\); give"),
        (np.zeros((4, 4), np.uint8), ValueError, r"shape \(4, 4\); give"),
    ],
)
def test_wrong_sources(source, error, message):
    with pytest.raises(error, match=message):
        list_images(source)


# --- CSV -------------------------------------------------------------------------------------


def test_csv_keeps_order_and_labels_as_written(tmp_path):
    other = tmp_path / "elsewhere" / "z.jpg"
    text = (
        f'label,path,note\n007,b.jpg,x\n,"a,b/ü.png",\n1.0 ,{other},"two\nlines"\n\n"yes",b.jpg,\n'
    )
    images = list_images(write_csv(tmp_path, text, encoding="utf-8"))
    assert images.names == ("b.jpg", "a,b/ü.png", str(other), "b.jpg")
    expected = (tmp_path / "b.jpg", tmp_path / "a,b" / "ü.png", other, tmp_path / "b.jpg")
    assert images.items == expected
    assert images.labels == ("007", None, "1.0", "yes")
    assert images.splits is None


def test_csv_of_excel_and_splits(tmp_path):
    text = "path,label,split\r\na,x,Train\r\nb,y, validation\r\nc,z,test\r\nd,z,\r\n"
    images = list_images(write_csv(tmp_path, text, encoding="utf-8-sig"))
    assert images.splits == ("train", "val", "test", None)
    assert images.split("validation").names == ("b",)


def test_csv_columns_by_other_names(tmp_path):
    path = write_csv(tmp_path, "file, fold,cat,dog\na.jpg,train,1,0\nb.jpg,test,,1\n")
    images = list_images(path, path_column="file", label_column=["cat", "dog"], split_column="fold")
    assert images.labels == (("1", "0"), (None, "1"))
    assert images.splits == ("train", "test")
    one = list_images(path, path_column="file", label_column=("dog",))
    assert one.labels == (("0",), ("1",))
    assert one.splits is None


def test_csv_without_labels(tmp_path):
    assert list_images(write_csv(tmp_path, "path\na.jpg\n")).labels is None


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("pth,label\na,b\n", {}, r"no column 'path'; did you mean 'pth'\? Columns: pth, label"),
        ("path,lable\na,b\n", {"label_column": "labels"}, "no column 'labels'; did you mean"),
        ("path,label\na,b\n", {"label_column": ["cat", "label"]}, "no column 'cat'"),
        ("path,cat\na,b\n", {"label_column": ["cat", "label"]}, "no column 'label'"),
        ("path,label\na,b\n", {"label_column": []}, "no label columns"),
        ("path,label\na,b\n", {"split_column": "fold"}, "no column 'fold'"),
        ("path;label\na;b\n", {}, "separated by ';'; save it with commas"),
        ("path,label\na,b\nc\n", {}, "line 3: 1 values, but the header names 2"),
        ("path,label\na,b\n\nc,d,e\n", {}, "line 4: 3 values"),
        ("path,label\n ,b\n", {}, "line 2: the 'path' column is empty"),
        ("path,split\na,train\nb,trian\n", {}, "line 3: unknown split 'trian'; choose one of"),
        ("path,path\na,b\n", {}, "has 2 columns named 'path'"),
        ("path,label\n", {}, "lists no images"),
        ("", {}, "is empty; its first line"),
    ],
)
def test_wrong_csv(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        list_images(write_csv(tmp_path, text), **options)


def test_parquet_says_what_a_csv_says(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "path": ["b.jpg", "a/ü.png", "c.jpg"],
        "label": [7, None, 0],
        "split": ["Train", "test", None],
        "weight": [0.5, 1.0, 2.0],
        "image": [{"bytes": b"x"}, None, None],
    }
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    found = list_images(tmp_path / "x.parquet")
    text = "path,label,split\nb.jpg,7,Train\na/ü.png,,test\nc.jpg,0,\n"
    csv = list_images(write_csv(tmp_path, text, encoding="utf-8"))
    assert vars(found) == vars(csv)
    weights = list_images(tmp_path / "x.parquet", label_column="weight")
    assert weights.labels == ("0.5", "1.0", "2.0")
    with pytest.raises(ValueError, match="no column 'pth'; did you mean 'path'"):
        list_images(tmp_path / "x.parquet", path_column="pth")
    with pytest.raises(ValueError, match="no column 'image'"):  # nested
        list_images(tmp_path / "x.parquet", label_column="image")
    (tmp_path / "y.parquet").write_bytes(b"path,label\na.jpg,b\n")
    with pytest.raises(ValueError, match="isn't a Parquet file, or is damaged"):
        list_images(tmp_path / "y.parquet")


def test_parquet_without_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"pip install 'transferkit\[parquet\]'"):
        list_images(tmp_path / "x.parquet")


def test_csv_that_is_not_text(tmp_path):
    (tmp_path / "x.csv").write_bytes("path\nü.jpg\n".encode("latin-1"))
    with pytest.raises(ValueError, match="isn't UTF-8"):
        list_images(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("path\n" + "x" * 200_000)
    with pytest.raises(ValueError, match="line 2: field larger"):
        list_images(tmp_path / "x.csv")


# --- ImageSet and the error ------------------------------------------------------------------


def test_select_keeps_rows_together():
    names = tuple("abcde")
    paths = tuple(map(Path, names))
    images = ImageSet(paths, names, tuple("ABCDE"), ("train", "val", None, "test", "val"))
    chosen = images.select(np.array([3, 0, 0]))
    assert (chosen.names, chosen.labels) == (("d", "a", "a"), ("D", "A", "A"))
    assert chosen.splits == ("test", "train", "train")
    assert chosen.items == (Path("d"), Path("a"), Path("a"))
    assert len(images.select([])) == 0
    assert images.split("val").names == ("b", "e")
    assert repr(images) == "<ImageSet: 5 images, 5 different labels, 1 train, 2 val, 1 test>"
    assert list_images(["x"]).select([0]).labels is None


@pytest.mark.parametrize("name", ["test", "tset"])
def test_split_that_is_not_there(name):
    images = ImageSet((Path("a"),), ("a",), None, ("train",))
    with pytest.raises(ValueError, match=f"no images in split '{name}'; splits here: train"):
        images.split(name)
    with pytest.raises(ValueError, match="splits here: none"):
        list_images(["a"]).split("train")


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="1 items, but 2 labels"):
        ImageSet((Path("a"),), ("a",), ("x", "y"))


def test_unreadable_images_names_them():
    failures = [Failure(i, f"{i}.jpg", "empty file (0 bytes)") for i in range(25)]
    error = UnreadableImages(failures[:2], 1200)
    assert str(error) == (
        "2 of 1,200 images could not be read: "
        "0.jpg (empty file (0 bytes)); 1.jpg (empty file (0 bytes))"
    )
    many = UnreadableImages(failures, 30)
    assert "19.jpg" in str(many)
    assert "20.jpg" not in str(many)
    assert "and 5 more" in str(many)
    copy = pickle.loads(pickle.dumps(many))
    assert (copy.failures, copy.n_images, str(copy)) == (failures, 30, str(many))


def test_a_split_folder_with_an_odd_name_is_refused(tmp_path):
    for name in ("train", "val", "Extra"):
        (tmp_path / name / "a").mkdir(parents=True)
        (tmp_path / name / "a" / "x.jpg").touch()
    with pytest.raises(ValueError, match="'Extra', which is none"):
        list_images(tmp_path)
    # One such name alone may be a class: trains among cars.
    (tmp_path / "val" / "a" / "x.jpg").unlink()
    (tmp_path / "train" / "a").rename(tmp_path / "train" / "b")
    assert set(list_images(tmp_path).labels) == {"train", "Extra"}


def test_files_that_are_left_out_are_counted(tmp_path, caplog):
    for name in ("a.jpg", "b.heic", "c.heic", "d", "Thumbs.db", ".hidden"):
        (tmp_path / name).touch()
    assert len(list_images(tmp_path)) == 1
    assert "3 files" in caplog.text
    assert ".heic 2, no suffix 1" in caplog.text
