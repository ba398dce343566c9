"""Weights from a folder, a file, and the hub's cache; never from the network."""

import json
import os
import pickle
import socket
import struct

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from transferkit.backbones import create_backbone, resolve_backbone
from transferkit.digests import file_digest
from transferkit.forward import Forward
from transferkit.pooling import parse_feature

pytestmark = pytest.mark.suites

ARCHITECTURE = "mobilenetv3_small_050"
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    # huggingface_hub reads the environment once, when it is imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def network(name=ARCHITECTURE, seed=7, **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, **arguments).eval()


def save(path, model, without=()):
    tensors = {k: v for k, v in model.state_dict().items() if not k.startswith(tuple(without))}
    save_file(tensors, path)
    return path


def save_folder(folder, model, *, name=ARCHITECTURE, model_args=None, **cfg):
    """What `timm.models.push_to_hf_hub` would upload."""
    folder.mkdir()
    save(folder / "model.safetensors", model)
    config = {
        "architecture": name,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "interpolation": "bilinear",
            "crop_pct": 0.8,
            "mean": [0.1, 0.2, 0.3],
            "std": [0.4, 0.5, 0.6],
            "num_classes": model.num_classes,
            "first_conv": "conv_stem",
            "classifier": "classifier",
            **cfg,
        },
        "model_args": model_args or {},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return f"local-dir:{folder}"


def key(name, **options):
    return resolve_backbone(name, **options).feature_spec("pre_logits").key


# ---- a folder -----------------------------------------------------------------------


@torch.no_grad()
def test_local_dir(tmp_path):
    model = network(num_classes=5, pad_type="same")
    name = save_folder(tmp_path / "a", model, model_args={"pad_type": "same", "num_classes": 5})
    backbone = create_backbone(name)
    preprocess = backbone.preprocess
    assert (preprocess.image_size, preprocess.interpolation) == ((64, 64), "bilinear")
    assert (preprocess.crop_pct, preprocess.mean, preprocess.std) == (
        0.8,
        (0.1, 0.2, 0.3),
        (0.4, 0.5, 0.6),
    )
    assert backbone.spec.architecture == ARCHITECTURE
    assert backbone.spec.arguments == {"pad_type": "same", "num_classes": 5}
    torch.testing.assert_close(backbone(IMAGES, ["logits"]).logits, model(IMAGES))
    unpadded = network(num_classes=5)
    unpadded.load_state_dict(model.state_dict())
    assert not torch.allclose(unpadded(IMAGES), model(IMAGES))


@torch.no_grad()
def test_config_arguments_are_in_the_key_and_can_be_overruled(tmp_path):
    model = network(num_classes=5)
    same = save_folder(tmp_path / "same", model, model_args={"pad_type": "same"})
    plain = save_folder(tmp_path / "plain", model)
    assert key(same) != key(plain)
    assert key(plain, pad_type="same") == key(same)
    backbone = create_backbone(same, pad_type="")
    torch.testing.assert_close(backbone(IMAGES, ["logits"]).logits, model(IMAGES))


def test_a_folders_place_is_not_in_the_key(tmp_path, monkeypatch):
    one = save_folder(tmp_path / "one", network())
    two = save_folder(tmp_path / "two", network())
    monkeypatch.chdir(tmp_path)
    assert key(one) == key(two) == key("local-dir:one")
    assert key(save_folder(tmp_path / "three", network(seed=8))) != key(one)


@torch.no_grad()
def test_random_weights_of_a_folder(tmp_path):
    name = save_folder(tmp_path / "a", network(num_classes=5), model_args={"num_classes": 5})
    backbone = create_backbone(name, False, seed=3)
    expected = network(seed=3, num_classes=5)(IMAGES)
    torch.testing.assert_close(backbone(IMAGES, ["logits"]).logits, expected)


@torch.no_grad()
def test_stages_of_a_folders_weights(tmp_path):
    model = network(num_classes=5, pad_type="same")
    name = save_folder(tmp_path / "a", model, model_args={"pad_type": "same", "num_classes": 5})
    stages = create_backbone(name, layers=["stage1", "stage4"])
    expected = model.forward_intermediates(IMAGES, indices=[1, 4], intermediates_only=True)
    maps = stages(IMAGES, ["stage1", "stage4"]).maps
    for values, wanted in zip(maps.values(), expected, strict=True):
        torch.testing.assert_close(values, wanted)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"'local-dir:.*' could not be found \(Config file not found: .*config.json\); check"),
        (["config.json"], "holds no weights; it should hold model.safetensors beside config.json"),
    ],
)
def test_incomplete_folder(tmp_path, files, message):
    name = save_folder(tmp_path / "a", network())
    for path in (tmp_path / "a").iterdir():
        if path.name not in files:
            path.unlink()
    with pytest.raises(OSError, match=message):
        create_backbone(name)


def test_model_safetensors_goes_before_other_files(tmp_path):
    name = save_folder(tmp_path / "a", network())
    expected = key(name)
    save(tmp_path / "a" / "a_checkpoint.safetensors", network(seed=8))
    torch.save(network(seed=9).state_dict(), tmp_path / "a" / "pytorch_model.bin")
    assert key(name) == expected


@pytest.mark.parametrize(
    ("reserved", "value"),
    [
        ("checkpoint_path", "other.safetensors"),
        ("cache_dir", "elsewhere"),
        ("features_only", True),
        ("out_indices", [1]),
        ("pretrained", False),
        ("pretrained_cfg", {"file": "other.safetensors"}),
        ("pretrained_cfg_overlay", {"file": "other.safetensors"}),
    ],
)
def test_a_config_may_not_swap_the_weights(tmp_path, reserved, value):
    other = save(tmp_path / "other.safetensors", network(seed=8))
    if value == "other.safetensors":
        value = str(other)
    name = save_folder(tmp_path / "a", network(), model_args={reserved: value})
    with pytest.raises(
        ValueError, match=f"sets '{reserved}' in its model_args, which would change"
    ):
        resolve_backbone(name)


def test_a_config_of_the_weights_own_place_is_not_believed(tmp_path):
    """Whatever the configuration says of a source, the folder's own file is loaded."""
    expected = create_backbone(save_folder(tmp_path / "a", network()))
    sly = {
        "source": "url",
        "url": "http://127.0.0.1:9/w.pth",
        "hf_hub_id": "org/name",
        "file": str(save(tmp_path / "other.safetensors", network(seed=8))),
        "state_dict": {"classifier.weight": [1.0]},
        "custom_load": True,
    }
    backbone = create_backbone(save_folder(tmp_path / "b", network(), **sly))
    assert backbone.spec.feature_spec("logits") == expected.spec.feature_spec("logits")
    assert torch.equal(backbone(IMAGES, ["logits"]).logits, expected(IMAGES, ["logits"]).logits)


@pytest.mark.parametrize("architecture", ["hf-hub:org/name", "local-dir:b", "no_such_network"])
def test_a_config_names_an_architecture_of_timms(tmp_path, monkeypatch, architecture):
    monkeypatch.chdir(tmp_path)
    save_folder(tmp_path / "b", network(seed=8))
    name = save_folder(tmp_path / "a", network(), name=architecture)
    with pytest.raises(ValueError, match=rf"could not be resolved: .*\({architecture}\)"):
        resolve_backbone(name)


# ---- a file -------------------------------------------------------------------------


@torch.no_grad()
def test_weights_file(tmp_path):
    model = network()
    path = save(tmp_path / "w.safetensors", model)
    backbone = create_backbone(ARCHITECTURE, weights=path)
    assert backbone.weights_digest == f"sha256:{file_digest(path).hex()}"
    torch.testing.assert_close(backbone(IMAGES, ["logits"]).logits, model(IMAGES))
    by_text = create_backbone(ARCHITECTURE, False, weights=str(path))
    assert by_text.spec.feature_spec("logits") == backbone.spec.feature_spec("logits")
    again = pickle.loads(pickle.dumps(backbone))
    assert torch.equal(again(IMAGES, ["logits"]).logits, backbone(IMAGES, ["logits"]).logits)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        (ARCHITECTURE, "classifier"),
        ("resnet10t", "fc"),
        ("efficientnet_lite0", "classifier"),
        ("convnext_atto", "head.fc"),
        ("regnetx_002", "head.fc"),
    ],
)
@pytest.mark.parametrize("n_classes", [3, 1000, 0])
def test_weights_of_other_classes(tmp_path, name, classifier, n_classes):
    model = network(name, num_classes=n_classes or 10)
    without = () if n_classes else (classifier,)
    path = save(tmp_path / "w.safetensors", model, without)
    backbone = create_backbone(name, weights=path)
    assert backbone.channels.get("logits", 0) == n_classes
    outputs = backbone(IMAGES, [layer for layer in backbone.layers if layer != "final"])
    final = model.forward_features(IMAGES)
    torch.testing.assert_close(outputs.pre_logits, model.forward_head(final, pre_logits=True))
    if n_classes:
        torch.testing.assert_close(outputs.logits, model(IMAGES))
    stages = create_backbone(name, weights=path, layers=["stage1", "stage3"])
    for layer, values in stages(IMAGES, ["stage1", "stage3"]).maps.items():
        torch.testing.assert_close(values, outputs.maps[layer])


def test_tag_path_and_name_do_not_change_the_key(tmp_path):
    path = save(tmp_path / "a.safetensors", network("resnet10t"))
    other = save(tmp_path / "b.safetensors", network("resnet10t"))
    changed = save(tmp_path / "c.safetensors", network("resnet10t", seed=8))
    assert key("resnet10t", weights=path) == key("resnet10t.c3_in1k", weights=other)
    assert key("resnet10t", weights=path) != key("resnet10t", weights=changed)
    assert key("resnet10t", weights=path) != key("resnet10t", pretrained=False)


def test_one_changed_byte_changes_the_key(tmp_path):
    path = save(tmp_path / "a.safetensors", network())
    before = key(ARCHITECTURE, weights=path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert key(ARCHITECTURE, weights=path) != before


@torch.no_grad()
def test_twins_of_one_file_have_keys_of_their_own(tmp_path):
    # As vit_base_patch32_clip_224.openai and its quickgelu twin: one file, other numbers.
    options = {"depth": 2, "img_size": 64}
    names = ("vit_base_patch32_clip_224", "vit_base_patch32_clip_quickgelu_224")
    path = save(tmp_path / "w.safetensors", network(names[0], **options))
    backbones = [create_backbone(name, weights=path, **options) for name in names]
    assert backbones[0].weights_digest == backbones[1].weights_digest
    rows = [b(IMAGES, ["pre_logits"]).pre_logits for b in backbones]
    assert not torch.allclose(*rows)
    keys = {b.spec.feature_spec("pre_logits").key for b in backbones}
    keys.add(key(names[0], weights=path, act_layer="relu", **options))
    assert len(keys) == 3


# ---- weights that must be refused ---------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "efficientnet_b0", "mobilenetv3_small_100", "regnety_004", "inception_v3"),
        *("densenet121", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"),
        *("coatnet_nano_rw_224", "maxvit_nano_rw_256", "xcit_nano_12_p16_224"),
    ],
)
def test_weights_of_another_architecture(tmp_path, name):
    path = save(tmp_path / "w.safetensors", network("resnet10t"))
    message = rf"'{name}' could not be built: .*; check that the weights and the creation arguments"
    with pytest.raises(ValueError, match=message) as raised:
        create_backbone(name, weights=path)
    assert "\n" not in str(raised.value)


def test_number_of_classes_that_the_file_does_not_have(tmp_path):
    path = save(tmp_path / "w.safetensors", network(num_classes=5))
    with pytest.raises(ValueError, match=r"num_classes is 6, but the weights of .* have 5"):
        create_backbone(ARCHITECTURE, weights=path, num_classes=6)


class Intruder:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
@pytest.mark.parametrize("ending", [".pth", ".bin", ".pt"])
def test_a_pickle_that_runs_code_is_refused(tmp_path, how, ending):
    path, mark = tmp_path / f"w{ending}", tmp_path / "was_run"
    content = {"state_dict": network().state_dict(), "x": Intruder(mark)}
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(
        ValueError, match=r"' holds a pickle that could run code and .* \.safetensors"
    ):
        create_backbone(ARCHITECTURE, weights=path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if how == "torch" else pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have


def test_a_pickle_in_a_folder_is_refused(tmp_path):
    name = save_folder(tmp_path / "a", network())
    (tmp_path / "a" / "model.safetensors").unlink()
    torch.save({"x": Intruder(tmp_path / "mark")}, tmp_path / "a" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="holds a pickle that could run code and was not loaded"):
        create_backbone(name)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("w.safetensors", b"", "is not a safetensors file; its header is damaged"),
        ("w.safetensors", b"junk" * 9, "is not a safetensors file; its header is damaged"),
        ("w.safetensors", struct.pack("<Q", 4) + b"{abc", r"is not a safetensors file \("),
        ("w.safetensors", struct.pack("<Q", 4) + b"[12]", "its header is no table"),
        ("w.pth", b"junk" * 9, r"can't be read \(\w+: .*\); give a .safetensors file, or one that"),
        ("w.npz", b"junk" * 9, "could not be built: .*; check that the weights"),
        ("w.onnx", b"", r"ends in '.onnx'; give one of .safetensors, .pth"),
    ],
)
def test_damaged_files(tmp_path, file, content, message):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        create_backbone("vit_tiny_patch16_224", weights=tmp_path / file)
    assert "\n" not in str(raised.value)


def test_truncated_file(tmp_path):
    path = save(tmp_path / "w.safetensors", network())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"could not be built: .*; check that the weights"):
        create_backbone(ARCHITECTURE, weights=path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors' doesn't exist; give a"):
        create_backbone(ARCHITECTURE, weights=tmp_path / "none.safetensors")


def test_a_file_as_the_name(tmp_path):
    path = save(tmp_path / "w.safetensors", network())
    with pytest.raises(ValueError, match="is a file; give the name of its architecture, and the"):
        create_backbone(str(path))


# ---- the hub ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224.augreg_in21k"])
def test_offline(name):
    message = (
        f"weights of '{name}' could not be downloaded from timm/.* on the hub .* local weights"
    )
    with pytest.raises(OSError, match=message) as raised:
        create_backbone(name)
    assert "\n" not in str(raised.value)


def test_offline_for_a_repository(tmp_path):
    message = "'hf-hub:timm/resnet18.a1_in1k' could not be found .* the network for a name on the"
    with pytest.raises(OSError, match=message):
        create_backbone("hf-hub:timm/resnet18.a1_in1k")


@torch.no_grad()
def test_from_the_hubs_cache(tmp_path, monkeypatch):
    model = network("resnet10t")
    path = save(tmp_path / "model.safetensors", model)
    asked = []

    def cached(repo, filename, *, revision=None):
        asked.append((repo, filename, revision))
        return str(path) if filename == "model.safetensors" else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    backbone = create_backbone("resnet10t.c3_in1k")
    assert asked == [("timm/resnet10t.c3_in1k", "model.safetensors", None)]
    assert backbone.weights_digest == f"sha256:{file_digest(path).hex()}"
    torch.testing.assert_close(backbone(IMAGES, ["logits"]).logits, model(IMAGES))
    # The same file given by hand is the same backbone.
    by_hand = resolve_backbone("resnet10t.c3_in1k", weights=path)
    assert by_hand.feature_spec("logits") == backbone.spec.feature_spec("logits")
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    rows = Forward(backbone.spec, [parse_feature("logits")], device="cpu").rows(pixels)["logits"]
    images = backbone.normalize(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    np.testing.assert_allclose(rows, model(images), rtol=1e-4, atol=1e-5)


def test_a_real_cache_folder(tmp_path):
    """Laid out as huggingface_hub lays it out; nothing of its code is replaced."""
    revision = "0" * 40
    repository = tmp_path / "hub" / "models--timm--resnet10t.c3_in1k"
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    path = save(snapshot / "model.safetensors", network("resnet10t"))
    spec = resolve_backbone("resnet10t.c3_in1k")
    assert spec.weights == f"sha256:{file_digest(path).hex()}"
    assert spec.weights_path == str(path)
