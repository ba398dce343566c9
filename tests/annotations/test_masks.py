"""Mask files of every kind, and which mask belongs to which image."""

import pickle

import numpy as np
import pytest
from PIL import Image

from tests.annotations.masks import SIZE, classes_of, save, write_images, write_masks
from transferkit.annotations import VOID, Annotations, read_annotations, write_annotations
from transferkit.annotations.masks import voc_palette
from transferkit.images import list_images

TABLE = {"ground": (10, 20, 30), "tree": (0, 200, 0), "house": (255, 0, 0)}


def read_one(tmp_path, values, classes=None, suffix=".png", **options):
    """Annotations of one image whose mask file holds these values."""
    write_images(tmp_path / "images", ["a.jpg"], SIZE)
    save(tmp_path / "masks" / f"a{suffix}", values, **options)
    return read_annotations(None, list_images(tmp_path / "images"), classes=classes)


def coloured(classes, table=TABLE, void=(224, 224, 192)):
    """The mask of colours, pixel by pixel."""
    colours = [*table.values(), void]
    return np.array([[colours[c] for c in row] for row in classes], dtype=np.uint8)


# ---- what stands in a mask ------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_index_masks_hold_the_numbers_of_classes(tmp_path, suffix):
    truth = classes_of(0, 4, void=True)
    found = read_one(
        tmp_path,
        np.where(truth < 0, 255, truth).astype(np.uint8),
        suffix=suffix,
        **({"lossless": True} if suffix == ".webp" else {}),
    )
    assert found.classes == ("background", "class 1", "class 2", "class 3")
    np.testing.assert_array_equal(found[0].map, truth)
    assert found[0].size == SIZE


def test_palettes_are_read_by_place_and_not_by_colour(tmp_path):
    truth = classes_of(0, 3, void=True)
    image = Image.fromarray(np.where(truth < 0, 255, truth).astype(np.uint8)).convert("P")
    image.putpalette(voc_palette())
    found = read_one(tmp_path, image, classes=["sky", "sea", "land"])
    np.testing.assert_array_equal(found[0].map, truth)
    # By its colours, two of which stand at other places than in the table.
    red, green = (128, 0, 0), (0, 128, 0)
    found = read_one(tmp_path, image, {"none": (0, 0, 0), "green": green, "red": red})
    np.testing.assert_array_equal(found[0].map, np.array([0, 2, 1, VOID])[truth])


@pytest.mark.parametrize("how", ["mapping", "name r g b", "r g b name", "csv", "json", "cvat"])
def test_colours_by_a_table_in_any_spelling(tmp_path, how):
    truth = classes_of(1, 3, void=True)
    lines = {
        "name r g b": "{0} {1[0]} {1[1]} {1[2]}",
        "r g b name": "{1[0]} {1[1]} {1[2]}\t{0}",
        "csv": "{0},{1[0]},{1[1]},{1[2]}",
        "cvat": "{0}:{1[0]},{1[1]},{1[2]}::",
    }
    table = TABLE
    if how in lines:
        text = "\n".join(lines[how].format(*pair) for pair in TABLE.items())
        header = {"csv": "name,r,g,b\n", "cvat": "# label:color_rgb:parts:actions\n"}.get(how, "")
        table = tmp_path / "table.txt"
        table.write_text(header + text)
    if how == "json":
        table = tmp_path / "table.json"
        table.write_text(
            str([{"name": n, "color": list(c)} for n, c in TABLE.items()]).replace("'", '"')
        )
    found = read_one(tmp_path, coloured(truth), table)
    assert found.classes == ("ground", "tree", "house")
    np.testing.assert_array_equal(found[0].map, truth)


def test_a_void_class_of_the_table_is_void_and_no_class(tmp_path):
    truth = classes_of(1, 3)
    table = {"ground": (10, 20, 30), "Void": (0, 200, 0), "house": (255, 0, 0)}
    found = read_one(tmp_path, coloured(truth), table)
    assert found.classes == ("ground", "house")
    np.testing.assert_array_equal(found[0].map, np.array([0, VOID, 1])[truth])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "LA", "soft", "jpeg", "16 bit"])
def test_black_and_white_is_two_classes(tmp_path, mode):
    truth = classes_of(2, 2, size=(64, 80))
    image = Image.fromarray((255 * truth).astype(np.uint8))
    suffix = ".png"
    if mode == "soft":  # edges as resizing leaves them
        image = image.resize((81, 65), Image.Resampling.BICUBIC)
        truth = (np.asarray(image) >= 128).astype(int)
    elif mode == "jpeg":
        suffix = ".jpg"
    elif mode == "16 bit":
        image = Image.fromarray((65_535 * truth).astype(np.uint16))
    else:
        image = image.convert(mode)
    found = read_one(tmp_path, image, suffix=suffix)
    assert found.classes == ("background", "foreground")
    np.testing.assert_array_equal(found[0].map, truth)
    found = read_one(tmp_path, image, classes=["cell"], suffix=suffix)
    assert found.classes == ("background", "cell")
    np.testing.assert_array_equal(found[0].map, truth)


@pytest.mark.parametrize("palette", [[0, 0, 0, 255, 255, 255], [255, 255, 255, 0, 0, 0], "grey"])
@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_palettes_of_black_and_white_are_read_by_their_colours(tmp_path, palette, suffix):
    truth = classes_of(2, 2)
    image = Image.fromarray((255 * truth).astype(np.uint8)).convert("P")
    if palette != "grey":
        place = truth if palette[0] == 0 else 1 - truth
        image = Image.fromarray(place.astype(np.uint8)).convert("P")
        image.putpalette(palette)
    found = read_one(tmp_path, image, suffix=suffix)
    assert found.classes == ("background", "foreground")
    np.testing.assert_array_equal(found[0].map, truth)


def test_many_masks_are_sampled_from_all_over(tmp_path, monkeypatch):
    names = [f"{i:02}.png" for i in range(20)]
    images = list_images(write_images(tmp_path / "images", names))
    write_masks(tmp_path / "masks", names, n_classes=2)
    save(tmp_path / "masks/10.png", classes_of(0, 4).astype(np.uint8))
    monkeypatch.setattr("transferkit.annotations.masks.MAX_SAMPLE", 4)
    assert len(read_annotations(None, images).classes) == 4
    monkeypatch.setattr("transferkit.annotations.masks.MAX_SAMPLE", 3)
    found = read_annotations(None, images)
    assert len(found.classes) == 2
    with pytest.raises(ValueError, match=r"10\.png.*value 2 .*, 3 .* for no class.*class table"):
        found[10]


def test_black_and_white_is_told_by_all_masks_not_by_each(tmp_path):
    # 255 is void here: in another mask there is a 1.
    names = ["a.png", "b.png"]
    write_images(tmp_path / "images", names)
    save(tmp_path / "masks/a.png", np.full(SIZE, 255, np.uint8))
    save(tmp_path / "masks/b.png", classes_of(0, 3).astype(np.uint8))
    found = read_annotations(None, list_images(tmp_path / "images"))
    assert (found[0].map == VOID).all()


@pytest.mark.parametrize("values", [[0, 1, 2], [0, 128, 255]])
def test_jpegs_of_anything_but_black_and_white_are_refused(tmp_path, values):
    mask = np.array(values, np.uint8)[classes_of(0, 3, (64, 64))]
    with pytest.raises(ValueError, match=r"JPEGs, whose values aren't exact.*save .* as PNG"):
        read_one(tmp_path, mask, suffix=".jpg")
    with pytest.raises(ValueError, match="save the masks as PNG"):
        read_one(tmp_path, coloured(classes_of(0, 3, (64, 64))), suffix=".jpg")
    with pytest.raises(ValueError, match="save the masks as PNG"):
        read_one(tmp_path, mask, ["a", "b", "c"], suffix=".jpg")


def test_small_classes_beside_void_are_no_blurred_edges(tmp_path):
    truth = np.zeros((100, 100), int)
    truth[0, :12] = np.arange(12)
    truth[50:60] = VOID
    found = read_one(tmp_path, np.where(truth < 0, 255, truth).astype(np.uint8))
    assert len(found.classes) == 12
    np.testing.assert_array_equal(found[0].map, truth)


def test_values_by_a_table_that_gives_them(tmp_path):
    truth = classes_of(3, 3)
    values = np.array([0, 100, 200])[truth].astype(np.uint8)
    found = read_one(tmp_path, values, {"sky": 100, "sea": 200})
    assert found.classes == ("background", "sky", "sea")
    np.testing.assert_array_equal(found[0].map, truth)
    with pytest.raises(ValueError, match=r"0, 100, 200.*give a class table with the value"):
        read_one(tmp_path, values)


def test_names_of_the_classes_beside_a_background(tmp_path):
    truth = classes_of(3, 4)
    found = read_one(tmp_path, truth.astype(np.uint8), ["a", "b", "c"])
    assert found.classes == ("background", "a", "b", "c")
    np.testing.assert_array_equal(found[0].map, truth)


def test_masks_of_16_bits_hold_many_classes(tmp_path):
    truth = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) + 100
    truth[0, 0] = 65_535
    found = read_one(tmp_path, truth.astype(np.uint16), [f"c{i}" for i in range(400)])
    truth[0, 0] = VOID
    np.testing.assert_array_equal(found[0].map, truth)


def test_an_all_void_mask_among_others_and_alone(tmp_path):
    found = read_one(tmp_path, np.full(SIZE, 255, np.uint8), ["a", "b", "c"])
    assert (found[0].map == VOID).all()


def test_unknown_values_and_colours_are_named(tmp_path):
    truth = classes_of(0, 3)
    found = read_one(tmp_path, truth.astype(np.uint8), ["background", "b"])
    n = (truth == 2).sum()
    with pytest.raises(ValueError, match=rf"a\.png.*value 2 \({n} px\) stands for no class.*1 b"):
        found[0]
    found = read_one(tmp_path, coloured(truth), {**TABLE, "house": (254, 0, 0)})
    with pytest.raises(ValueError, match=r"colour \(255, 0, 0\) .*tree"):
        found[0]
    with pytest.raises(ValueError, match=r"by colours \(\(0, 200, 0\).*'name red green blue'"):
        read_one(tmp_path, coloured(truth))


# ---- which mask belongs to which image -------------------------------------------------


def maps_of(images, masks=None, **options):
    found = read_annotations(masks, list_images(images, **options))
    return {
        name: None if item is None else one.map
        for name, item, one in zip(
            found.names,
            found.items,
            (found[i] if found.items[i] is not None else None for i in range(len(found))),
            strict=True,
        )
    }


@pytest.mark.parametrize("pattern", ["{}.png", "{}_mask.png", "{}-mask.png", "{}_L.png", "{}.tif"])
@pytest.mark.parametrize("folder", ["masks", "SegmentationClass", "labels", "ground_truth"])
def test_masks_by_stem_and_usual_suffix(tmp_path, pattern, folder):
    stems = ["x.1", "x_mask", "y"]
    write_images(tmp_path / "images", [f"{stem}.jpg" for stem in stems])
    write_masks(tmp_path / folder, [pattern.format(stem) for stem in stems])
    found = maps_of(tmp_path / "images")
    for i, stem in enumerate(stems):
        np.testing.assert_array_equal(found[f"{stem}.jpg"], classes_of(i))


@pytest.mark.parametrize(
    ("images", "masks", "root"),
    [
        ("images/{}", "masks/{}", "images"),
        ("images/{}", "masks/{}", ""),
        ("train/images/{}", "train/masks/{}", ""),
        ("images/train/{}", "masks/train/{}", "images/train"),
        ("JPEGImages/{}", "SegmentationClass/{}", "."),
        ("{}", "masks/{}", ""),
    ],
)
def test_where_masks_stand(tmp_path, images, masks, root):
    for i, name in enumerate(["a/1", "b/1", "b/2"]):
        write_images(tmp_path, [images.format(f"{name}.jpg")])
        save(tmp_path / masks.format(f"{name}_mask.png"), classes_of(i).astype(np.uint8))
    found = maps_of(tmp_path / root, annotated=True)
    assert len(found) == 3
    for i, name in enumerate(["a/1", "b/1", "b/2"]):
        [own] = [m for n, m in found.items() if n.endswith(f"{name}.jpg")]
        np.testing.assert_array_equal(own, classes_of(i))


def test_masks_beside_their_images(tmp_path):
    write_images(tmp_path, ["a.jpg", "b.jpg"])
    write_masks(tmp_path, ["a_mask.png", "b_mask.png"])
    found = maps_of(tmp_path, annotated=True)
    assert list(found) == ["a.jpg", "b.jpg"]
    np.testing.assert_array_equal(found["b.jpg"], classes_of(1))


def test_accents_may_be_written_in_either_form(tmp_path):
    write_images(tmp_path / "images", ["caf\u00e9.jpg"])
    write_masks(tmp_path / "masks", ["cafe\u0301.png"])
    [found] = maps_of(tmp_path / "images").values()
    np.testing.assert_array_equal(found, classes_of(0))


def test_a_mask_of_another_folder_is_not_taken(tmp_path):
    # b/1 has none: that of a/1, which isn't listed, has the same stem.
    write_images(tmp_path / "images", ["b/1.jpg", "b/2.jpg"])
    write_masks(tmp_path / "masks", ["a/1.png", "b/2.png"])
    found = maps_of(tmp_path / "images")
    assert found["b/1.jpg"] is None
    np.testing.assert_array_equal(found["b/2.jpg"], classes_of(1))


def test_masks_elsewhere_by_stem_alone(tmp_path):
    write_images(tmp_path / "images", ["x/1.jpg", "y/2.jpg"])
    write_masks(tmp_path / "elsewhere", ["p/2.png", "q/1.png"])
    found = maps_of(tmp_path / "images", tmp_path / "elsewhere")
    np.testing.assert_array_equal(found["x/1.jpg"], classes_of(1))
    np.testing.assert_array_equal(found["y/2.jpg"], classes_of(0))


def test_ambiguous_masks_are_an_error(tmp_path):
    write_images(tmp_path / "images", ["a.jpg", "b/a.jpg"])
    write_masks(tmp_path / "masks", ["a.png"])
    with pytest.raises(ValueError, match=r"mask 'a.png' fits 'a.jpg' and 'b/a.jpg'; put each"):
        maps_of(tmp_path / "images")
    write_masks(tmp_path / "masks", ["a.png", "a.tif"])
    with pytest.raises(ValueError, match=r"'a.jpg' has 2 masks \(a.png, a.tif\); leave one"):
        maps_of(tmp_path / "images", tmp_path / "masks")


def test_masks_that_fit_no_image_are_an_error_with_an_example(tmp_path):
    write_images(tmp_path / "images", ["a.jpg"])
    write_masks(tmp_path / "masks", ["b.png"])
    with pytest.raises(ValueError, match=r"no mask .* called like its image, as 'a.png'.*'b.png'"):
        maps_of(tmp_path / "images")


def test_class_tables_are_found_beside_masks(tmp_path):
    write_images(tmp_path / "images", ["a.jpg"])
    write_masks(tmp_path / "masks", ["a.png"])
    (tmp_path / "segmentation_classes.txt").write_text("none\r\nsky\r\nsea\r\n")
    assert read_annotations(None, list_images(tmp_path / "images")).classes == (
        "none",
        "sky",
        "sea",
    )
    (tmp_path / "masks/classes.json").write_text('["x", "y", "z"]')  # nearer
    assert read_annotations(None, list_images(tmp_path / "images")).classes == ("x", "y", "z")
    (tmp_path / "masks/classes.txt").write_text("x\ny\nz")
    with pytest.raises(ValueError, match=r"several class tables \(classes.txt, classes.json\)"):
        read_annotations(None, list_images(tmp_path / "images"))


def test_nothing_is_read_before_it_is_asked_for_and_readers_travel(tmp_path):
    write_images(tmp_path / "images", ["a.jpg", "b.jpg"])
    write_masks(tmp_path / "masks", ["a.png", "b.png"])
    found = read_annotations(None, list_images(tmp_path / "images"))
    (tmp_path / "masks/b.png").unlink()
    again = pickle.loads(pickle.dumps(found.select([0])))
    np.testing.assert_array_equal(again[0].map, classes_of(0))
    with pytest.raises(ValueError, match=r"b\.png.*no such file"):
        found[1]


# ---- writing --------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3, 254, 255, 256, 300])
def test_what_is_written_is_read_again(tmp_path, n_classes):
    drawn = np.random.default_rng(n_classes)
    maps = [drawn.integers(VOID, n_classes, (20, 9 + i)) for i in range(3)]
    maps[0].flat[:n_classes] = np.arange(n_classes)[: maps[0].size]
    names = ["a.jpg", "in/b.png", "../../c"]
    classes = [f"class {i}" for i in range(n_classes)]
    written = (Annotations(m.shape, map=m) for m in maps)
    write_annotations(tmp_path / "out", names, written, classes)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")) == [
        "out/a.png",
        "out/c.png",
        "out/in/b.png",
    ]
    images = list_images(["a.jpg", "in/b.png", "c.jpg"])
    found = read_annotations(tmp_path / "out", images)
    assert found.classes == tuple(classes)
    for truth, one in zip(maps, found, strict=True):
        np.testing.assert_array_equal(one.map, truth)


def test_the_palette_shows_classes_and_void(tmp_path):
    one = Annotations((1, 3), map=np.array([[0, 1, VOID]]))
    write_annotations(tmp_path, ["a"], [one], ["x", "y"])
    shown = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))[0].tolist()
    assert shown == [[0, 0, 0], [128, 0, 0], [224, 224, 192]]


def test_classes_that_are_not_named_cannot_be_written(tmp_path):
    one = Annotations((1, 2), map=np.array([[0, 2]]))
    with pytest.raises(ValueError, match=r"from 0 to 2 .* and 2 are named"):
        write_annotations(tmp_path, ["a"], [one], ["x", "y"])
    with pytest.raises(ValueError, match=r"'a' has no class per pixel"):
        write_annotations(tmp_path, ["a"], [Annotations((1, 2))], ["x", "y"])
