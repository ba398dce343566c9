import dataclasses
import json

import pytest

from transferkit.spec import BackboneSpec, FeatureSpec, Preprocess, canonical_json

PREPROCESS = Preprocess((224, 192), "bicubic", 0.875, "center", (0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
SPEC = FeatureSpec("timm:resnet18", '{"pad_type":"same"}', "random:0", PREPROCESS, "pre_logits")

PREPROCESS_CHANGES = {
    "image_size": (192, 224),
    "interpolation": "bilinear",
    "crop_pct": 0.876,
    "crop_mode": "squash",
    "mean": (0.5, 0.4, 0.30000001),
    "std": (0.1, 0.2, 0.2),
    "exif": True,
    "value_range": (0.0, 4095.0),
    "window": True,
    "bands": (3, 2, 1),
    "layout": "CHW",
}
SPEC_CHANGES = {
    "architecture": "timm:resnet18d",
    "arguments": "{}",
    "weights": "random:1",
    "feature": "final.avg",
    "view": 1,
    "precision": "fp16",
    "storage": "float16",
    "version": SPEC.version + 1,
}


def test_every_field_is_tried():
    # decode knows a single mode so far
    assert {f.name for f in dataclasses.fields(Preprocess)} - {"decode"} == set(PREPROCESS_CHANGES)
    assert {f.name for f in dataclasses.fields(FeatureSpec)} - {"preprocess"} == set(SPEC_CHANGES)


def test_every_field_changes_the_key():
    changed = [dataclasses.replace(SPEC, **{k: v}) for k, v in SPEC_CHANGES.items()]
    for field, value in PREPROCESS_CHANGES.items():
        preprocess = dataclasses.replace(PREPROCESS, **{field: value})
        changed.append(dataclasses.replace(SPEC, preprocess=preprocess))
    keys = {SPEC.key, *(spec.key for spec in changed)}
    assert len(keys) == 1 + len(SPEC_CHANGES) + len(PREPROCESS_CHANGES)


def test_equal_specs_have_equal_keys():
    again = dataclasses.replace(SPEC, preprocess=dataclasses.replace(PREPROCESS))
    assert again == SPEC
    assert again is not SPEC
    assert again.key == SPEC.key
    assert hash(again) == hash(SPEC)


def test_the_key_is_the_same_in_every_process_and_version():
    # A changed value here means that every user's store is computed anew: raise FORMAT_VERSION.
    assert SPEC.key == "2867b4fc872dd7b8"


def test_key_is_sixteen_hexadecimal_digits():
    assert len(SPEC.key) == 16
    assert int(SPEC.key, 16) >= 0


@pytest.mark.parametrize("changes", [{}, {"view": 3, "precision": "bf16", "storage": "float16"}])
def test_json_round_trip(changes):
    spec = dataclasses.replace(SPEC, **changes)
    again = FeatureSpec.from_json(spec.to_json())
    assert again == spec
    assert again.key == spec.key
    indented = json.dumps(json.loads(spec.to_json()), indent=2)
    assert FeatureSpec.from_json(indented).key == spec.key


def test_what_was_added_later_is_left_out_while_it_is_the_default():
    # Else every older key would be another one, and older versions couldn't read saved models.
    assert json.loads(SPEC.to_json())["preprocess"] == {
        "image_size": [224, 192],
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.1],
        "decode": "exact",
        "exif": False,
    }
    later = {"value_range": (0.0, 4095.0), "bands": (3, 2, 1), "layout": "CHW"}
    preprocess = dataclasses.replace(PREPROCESS, **later)
    spec = dataclasses.replace(SPEC, preprocess=preprocess)
    assert FeatureSpec.from_json(spec.to_json()) == spec
    assert spec.to_json().count("4095.0") == 1
    window = dataclasses.replace(PREPROCESS, window=True)
    assert Preprocess.from_dict(json.loads(json.dumps(window.to_dict()))) == window


def test_specs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.view = 1


def test_canonical_json_has_one_spelling():
    assert canonical_json({"b": 1, "a": (1, 2)}) == canonical_json({"a": [1, 2], "b": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json(float("nan"))


def backbone(**changes):
    values = {
        "name": "resnet18",
        "source": "timm",
        "architecture": "resnet18",
        "arguments": {"b": 1, "a": 2},
        "weights": "sha256:00",
        "preprocess": PREPROCESS,
    }
    return BackboneSpec(**{**values, **changes})


def test_a_backbones_names_and_paths_are_not_in_the_key():
    key = backbone().feature_spec("pre_logits").key
    changes = {"name": "x", "weights_path": "/y", "loading": {"z": 1}}
    for field, value in changes.items():
        assert backbone(**{field: value}).feature_spec("pre_logits").key == key


def test_a_backbones_json_round_trip():
    spec = backbone(weights_path="/y", loading={"z": [1, 2]})
    assert BackboneSpec.from_json(spec.to_json()) == spec


def test_a_backbones_arguments_are_in_the_key_whatever_their_order():
    key = backbone().feature_spec("pre_logits").key
    assert backbone(arguments={"a": 2, "b": 1}).feature_spec("pre_logits").key == key
    assert backbone(arguments={"a": 2}).feature_spec("pre_logits").key != key
    assert backbone(source="torchvision").feature_spec("pre_logits").key != key


def test_random_weights():
    assert backbone(weights="random:3").is_random
    assert not backbone().is_random


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("image_size", (224,), r"image_size is \(224,\); give \(height, width\)"),
        ("image_size", (224, 0), r"image_size is \(224, 0\); give \(height, width\)"),
        ("image_size", (99999, 99999), "image_size is 99999 × 99999 px; give at most 100 mega"),
        ("image_size", (224, 224.0), "image_size is .* give"),
        ("interpolation", "cubic", "interpolation is 'cubic'; choose one of nearest, "),
        ("crop_mode", "top", "crop_mode is 'top'; choose one of center, squash, border"),
        ("decode", "fast", "decode is 'fast'; choose one of exact"),
        ("crop_pct", 0, "crop_pct is 0; give a number above 0 and at most 1"),
        ("crop_pct", 1.1, "crop_pct is 1.1; give a number above 0 and at most 1"),
        ("mean", (0.5,), r"mean is \(0.5,\) and std .* give one of each per channel"),
        ("std", (0.2, 0.2, 0.0), "std > 0"),
    ],
)
def test_bad_preprocess(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PREPROCESS, **{field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("precision", "fp32", "precision is 'fp32'; choose one of float32, fp16, bf16"),
        ("storage", "float64", "storage is 'float64'; choose one of float32, float16"),
    ],
)
def test_bad_feature_spec(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SPEC, **{field: value})


@pytest.mark.parametrize("text", ["{}", "[]", '{"preprocess": {}}'])
def test_not_a_spec(text):
    with pytest.raises(ValueError, match="not a feature spec"):
        FeatureSpec.from_json(text)


def test_not_even_json():
    with pytest.raises(ValueError):
        FeatureSpec.from_json("not json")


WRONG = [None, True, 5, -0.5, 10**30, float("inf"), "x", "", [], [5], ["x", "y"], {}, {"a": 5}]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_values_of_other_types_are_no_spec(wrong):
    """A stranger's spec.json: what isn't of a field's type ends in one sentence."""
    texts = {"architecture", "weights", "feature"}
    for name, right in json.loads(SPEC.to_json()).items():
        values = json.loads(SPEC.to_json()) | {name: wrong}
        if type(wrong) is type(right) and (name in texts or name in ("view", "version")):
            assert FeatureSpec.from_json(json.dumps(values)) == dataclasses.replace(
                SPEC, **{name: wrong}
            )
            continue
        with pytest.raises(ValueError, match=r"^not a feature spec: .*\([^\n]*\)$"):
            FeatureSpec.from_json(json.dumps(values))
    for name, right in json.loads(SPEC.to_json())["preprocess"].items():
        values = json.loads(SPEC.to_json())
        values["preprocess"][name] = wrong
        if wrong is True and right is False:
            continue
        with pytest.raises(ValueError, match=r"^not a feature spec: .*\([^\n]*\)$"):
            FeatureSpec.from_json(json.dumps(values))
