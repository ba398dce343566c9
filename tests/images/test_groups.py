"""Groups of images, from a table's column or given in Python."""

import pytest

from transferkit.images import ImageSet, list_images


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "path,label,house,split\na.png,x, h1 ,train\nb.png,y,h1,test\nc.png,y,,test\nd.png,y,h2,\n"
    )
    return path


def test_a_column_of_groups(table):
    listed = list_images(table, group_column="house")
    assert listed.groups == ("h1", "h1", None, "h2")
    assert listed.select([3, 0]).groups == ("h2", "h1")
    assert listed.split("test").groups == ("h1", None)
    assert list_images(table).groups is None
    assert list_images(table, group_column="label").groups == ("x", "y", "y", "y")


def test_a_column_that_is_not_there(table, tmp_path):
    with pytest.raises(ValueError, match="no column 'houses'; did you mean 'house'"):
        list_images(table, group_column="houses")
    # These two may be missing where they aren't asked for.
    (tmp_path / "plain.csv").write_text("path\na.png\n")
    for name in ("label", "split"):
        with pytest.raises(ValueError, match=f"no column '{name}'"):
            list_images(tmp_path / "plain.csv", group_column=name)


def test_only_a_table_has_columns(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for source in (tmp_path, tmp_path / "folder.csv", ["a.png"]):
        with pytest.raises(ValueError, match="group column 'house' is a column of a table"):
            list_images(source, group_column="house")


def test_one_group_per_image():
    with pytest.raises(ValueError, match="2 items, but 1 groups; give one of each per image"):
        ImageSet(("a", "b"), ("a", "b"), groups=("g",))
