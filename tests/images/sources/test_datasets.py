import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import ToTensor

from tests.images.sources.tables import ClassLabel, Table, encoded, hugging_face
from tests.pictures import picture, write_pictures
from transferkit.images import content_of, list_images, read_rgb


class Pairs(torch.utils.data.Dataset):
    """Somebody's own data set."""

    def __init__(self, pairs):
        self.pairs = pairs
        self.asked = []

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        self.asked.append(index)
        return self.pairs[index]


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        write_pictures(tmp_path / name, range(3 * number, 3 * number + 3))
    return tmp_path


def same_pixels(images, seeds):
    for item, seed in zip(images.items, seeds, strict=True):
        np.testing.assert_array_equal(np.asarray(read_rgb(content_of(item))), picture(seed))


def test_an_image_folder_is_its_files(folder, monkeypatch):
    dataset = ImageFolder(str(folder))
    monkeypatch.setattr(ImageFolder, "loader", None, raising=False)  # nothing is decoded
    dataset.loader = None
    images, plain = list_images(dataset), list_images(folder)
    assert (images.items, images.labels) == (plain.items, plain.labels)


def test_a_subset_keeps_its_order_and_classes(folder):
    subset = torch.utils.data.Subset(ImageFolder(str(folder)), [4, 0])
    again = torch.utils.data.Subset(subset, [1, 0, 1])
    assert list_images(subset).labels == ("dog", "cat")
    same_pixels(list_images(again), [0, 4, 0])


def test_pairs_are_read_when_they_are_needed():
    dataset = Pairs([(Image.fromarray(picture(i)), i % 2) for i in range(4)])
    images = list_images(dataset)
    assert images.labels == ("0", "1", "0", "1")
    dataset.asked.clear()
    same_pixels(images, range(4))
    assert dataset.asked == [0, 1, 2, 3]
    assert not images.is_in_memory
    same_pixels(pickle.loads(pickle.dumps(images)), range(4))


def test_labels_are_taken_without_the_images_where_they_are_known():
    dataset = Pairs([(Image.fromarray(picture(i)), i % 2) for i in range(4)])
    dataset.targets, dataset.classes = torch.tensor([0, 1, 0, 1]), ["cat", "dog"]
    assert list_images(dataset).labels == ("cat", "dog", "cat", "dog")
    assert dataset.asked == [0]  # what kind of images they are
    dataset.target_transform = lambda label: label + 5
    dataset.pairs = [(image, label + 5) for image, label in dataset.pairs]
    assert list_images(dataset).labels == ("5", "6", "5", "6")


def test_classes_of_one_name_stay_apart():
    dataset = Pairs([(Image.fromarray(picture(i)), i) for i in range(3)])
    dataset.classes = [("crane",), ("maillot", "tank suit"), ("crane",)]
    assert list_images(dataset).labels == ("0 crane", "1 maillot, tank suit", "2 crane")


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (FakeData(3, transform=ToTensor()), ValueError, "FakeData has a transform, and images are"),
        (
            Pairs([(torch.zeros(3, 4, 4), 1)]),
            TypeError,
            "image 0 of the data set is a Tensor; give",
        ),
        (
            Pairs([torch.zeros(3, 4, 4)]),
            TypeError,
            "gives a Tensor for image 0; give a data set of",
        ),
        (Pairs([(Image.new("RGB", (4, 4)), [1, 2])]), ValueError, "label of image 0 is a list"),
        (Pairs([]), ValueError, "no images: the Pairs is empty"),
        (
            torch.utils.data.DataLoader(Pairs([1, 2])),
            TypeError,
            r"given as DataLoader, which can only be run through.*its \.dataset",
        ),
    ],
)
def test_wrong_pairs(dataset, error, message):
    with pytest.raises(error, match=message):
        list_images(dataset)


def test_what_a_data_set_raises_is_the_images_failure():
    dataset = Pairs([(Image.fromarray(picture(0)), 0)] * 2)
    images = list_images(dataset)
    dataset.pairs = []
    with pytest.raises(ValueError, match=r"the data set can't give it \(IndexError"):
        content_of(images.items[1])


def test_a_hugging_face_table_gives_bytes(tmp_path):
    table = hugging_face([picture(i) for i in range(3)], [1, 0, -1], names=("cat", "dog"))
    images = list_images(table)
    assert images.labels == ("dog", "cat", None)
    assert [content_of(item) for item in images.items] == [encoded(picture(i)) for i in range(3)]
    assert table.n_decoded == 0
    assert not images.is_in_memory


def test_a_hugging_face_table_of_files_gives_paths(tmp_path):
    paths = write_pictures(tmp_path, range(2))
    table = hugging_face([picture(0), picture(1)], [0, 1])
    table.columns_["image"] = [{"bytes": None, "path": str(path)} for path in paths]
    images = list_images(table)
    assert images.items == tuple(paths)
    assert images.names == tuple(map(str, paths))
    assert images.labels == ("0", "1")


def test_columns_of_a_hugging_face_table():
    table = hugging_face([picture(0), picture(1)], [0, 1], column="img")
    table.columns_ |= {"fine": [3, 2], "cat": [1, 0], "dog": [0, None]}
    table.features["fine"] = ClassLabel(tuple("abcd"))
    assert list_images(table, label_column="fine").labels == ("d", "c")
    several = list_images(table, label_column=["cat", "dog"])
    assert several.labels == (("1", "0"), ("0", None))
    assert several.label_names == ("cat", "dog")
    del table.columns_["label"]
    assert list_images(table).labels is None
    with pytest.raises(ValueError, match="no column 'lable'; choose one of img, fine, cat, dog"):
        list_images(table, label_column="lable")


def test_hugging_face_tables_by_split():
    tables = {
        "train": hugging_face([picture(0), picture(1)], [0, 1], names=("cat", "dog")),
        "Validation": hugging_face([picture(2)], [1], names=("cat", "dog")),
    }
    images = list_images(tables)
    assert images.splits == ("train", "train", "val")
    assert images.labels == ("cat", "dog", "dog")
    assert images.names == ("train image 0", "train image 1", "Validation image 0")
    same_pixels(images, range(3))
    with pytest.raises(ValueError, match="called train, extra, and 'extra' is no split"):
        list_images({"train": tables["train"], "extra": tables["train"]})


def test_wrong_hugging_face_tables():
    table = hugging_face([picture(0)], [0], column="photo")
    table.features["photo"] = object()
    with pytest.raises(ValueError, match="columns photo, label; call the column of the images"):
        list_images(table)
    table = hugging_face([picture(0)], [0])
    table.format = {"type": "custom"}
    with pytest.raises(ValueError, match="Table has a transform"):
        list_images(table)
    with pytest.raises(ValueError, match="the data set is empty"):
        list_images(Table({"image": []}, {}))
    stream = type("IterableDataset", (), {"features": {}, "column_names": ["image"]})()
    with pytest.raises(TypeError, match=r"given as IterableDataset.*without streaming=True"):
        list_images(stream)
