"""Every engine against PyTorch; and PyTorch with many threads against one."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from transferkit import forward as module
from transferkit.backbones import create_backbone
from transferkit.forward import ENGINES, Forward, check_engine_name
from transferkit.pooling import parse_feature

pytestmark = pytest.mark.engines

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
FEATURES = [parse_feature(n) for n in ("pre_logits", "final.gem", "stage1.map")]


@pytest.fixture(scope="module")
def backbone():
    return create_backbone("test_resnet", False, image_size=64)


def test_there_are_these():
    assert ENGINES == ("auto", "torch", "compile", "openvino")
    with pytest.raises(ValueError, match="engine is 'onnx'; choose one of auto, torch, compile"):
        check_engine_name("onnx")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_openvino_agrees_with_torch(name, precision):
    pytest.importorskip("openvino")
    backbone = create_backbone(name, False, image_size=64)
    features = [parse_feature("pre_logits"), parse_feature("final.avg")]
    expected = Forward(backbone, features, device="cpu", engine="torch").rows(PIXELS)
    other = Forward(backbone, features, device="cpu", engine="openvino", precision=precision)
    rows = other.rows(PIXELS)
    assert list(rows) == list(expected)
    for key, wanted in expected.items():
        assert rows[key].dtype == np.float32
        error = np.linalg.norm(rows[key] - wanted) / np.linalg.norm(wanted)
        assert error < (1e-4 if precision == "float32" else 0.2)
    provenance = other.provenance()
    assert provenance["engine"] == "openvino"
    assert float(provenance["difference"]) < (1e-4 if precision == "float32" else 0.2)
    # The rows belong to the caller: the next batch doesn't change them.
    kept = rows["pre_logits"].copy()
    other.rows(255 - PIXELS)
    np.testing.assert_array_equal(rows["pre_logits"], kept)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "vgg11"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_what_is_compiled_is_the_whole_pass(name, precision, monkeypatch):
    # The tracer alone, without the kernels, which need a C++ compiler and a minute.
    module.clear()
    monkeypatch.setattr("transferkit.forward.compiled_engine.BACKEND", "eager")
    backbone = create_backbone(name, False, image_size=64)
    features = [parse_feature(n) for n in ("pre_logits", "final.avg", "final.map")]
    plain = Forward(backbone, features, device="cpu", engine="torch", precision=precision)
    compiled = Forward(backbone, features, device="cpu", engine="compile", precision=precision)
    for pixels in (PIXELS, 255 - PIXELS, PIXELS[:2]):
        expected, rows = plain.rows(pixels), compiled.rows(pixels)
        assert list(rows) == list(expected)
        for key, wanted in expected.items():
            assert rows[key].dtype == np.float32
            error = np.linalg.norm(rows[key] - wanted) / np.linalg.norm(wanted)
            assert error < (1e-5 if precision == "float32" else 0.05)
    assert compiled.provenance()["engine"] == "compile"
    assert "difference" in compiled.provenance()
    alone = compiled.rows(PIXELS)
    with ThreadPoolExecutor(3) as pool:
        for rows in pool.map(compiled.rows, [PIXELS] * 6):
            np.testing.assert_array_equal(rows["pre_logits"], alone["pre_logits"])


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_kernels_agree_with_torch(backbone):
    module.clear()
    rows = Forward(backbone, FEATURES[:1], device="cpu", engine="compile").rows(PIXELS)
    expected = Forward(backbone, FEATURES[:1], device="cpu", engine="torch").rows(PIXELS)
    np.testing.assert_allclose(rows["pre_logits"], expected["pre_logits"], rtol=1e-4, atol=1e-6)


def test_a_network_that_cannot_be_compiled(backbone, monkeypatch):
    class Broken:
        def __init__(self, *parts, **options):
            pass

        def __call__(self, pixels):
            raise torch._dynamo.exc.TorchDynamoException("no graph")

    module.clear()
    monkeypatch.setattr(torch, "compile", Broken)
    forward = Forward(backbone, FEATURES, device="cpu", engine="compile")
    with pytest.raises(ValueError, match=r"can't compile this network \(no graph\); choose engine"):
        forward.rows(PIXELS)
    module.clear()


def test_an_engine_that_is_wrong_hands_over(backbone, monkeypatch, caplog):
    class Wrong:
        name = "openvino"

        def __init__(self, exact, *options):
            self.exact = exact

        def __call__(self, pixels):
            maps = self.exact(pixels)
            return type(maps)(maps.maps, maps.strides, maps.prefix, 1.001 * maps.pre_logits)

    module.clear()
    monkeypatch.setattr(module.engines, "OpenVinoEngine", Wrong)
    monkeypatch.setattr(Forward, "_rows", _rows_of_maps)
    forward = Forward(backbone, FEATURES[:1], device="cpu", engine="openvino")
    rows = forward.rows(PIXELS)
    exact = Forward(backbone, FEATURES[:1], device="cpu", engine="torch")
    np.testing.assert_array_equal(rows["pre_logits"], exact.rows(PIXELS)["pre_logits"])
    assert "differs from torch by 1.0e-03 relative, more than 1e-04; torch goes on" in caplog.text
    assert forward.provenance()["engine"] == "torch"


def _rows_of_maps(self, engine, pixels):
    with torch.inference_mode():
        return {"pre_logits": engine(pixels).pre_logits.numpy()}


def test_openvino_that_is_not_installed(backbone, monkeypatch):
    module.clear()
    monkeypatch.setattr("transferkit.forward.openvino_engine.is_installed", lambda: False)
    monkeypatch.setattr(module, "is_installed", lambda: False)
    with pytest.raises(ValueError, match=r"run pip install 'transferkit\[openvino\]', or choose"):
        Forward(backbone, FEATURES, device="cpu", engine="openvino")
    auto = Forward(backbone, FEATURES, device="cpu", precision="bf16", n_images=10**6)
    assert auto.provenance()["engine"] == "torch"


def test_auto_converts_only_where_it_pays(backbone):
    pytest.importorskip("openvino")
    engines = [
        Forward(backbone, FEATURES, device="cpu", n_images=n, precision=p).provenance()["engine"]
        for n, p in ((10, "bf16"), (10_000, "bf16"), (10_000, "float32"))
    ]
    assert engines == ["torch", "openvino", "torch"]


def test_bf16_says_how_far_it_is(backbone):
    forward = Forward(backbone, FEATURES, device="cpu", precision="bf16")
    rows = forward.rows(PIXELS)
    exact = Forward(backbone, FEATURES, device="cpu", engine="torch").rows(PIXELS)
    smallest, found = 1.0, forward.provenance()
    for key, wanted in exact.items():
        a, b = rows[key].reshape(4, -1), wanted.reshape(4, -1)
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        smallest = min(smallest, cosines.min())
    assert float(found["smallest_cosine"]) == pytest.approx(smallest, abs=1e-6)
    assert smallest <= float(found["mean_cosine"]) <= 1
    assert "mean_cosine" not in Forward(backbone, FEATURES, device="cpu").provenance()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "vgg11"])  # the last one has hooks
def test_threads_get_what_one_gets(name):
    backbone = create_backbone(
        name, False, image_size=64, layers=["block1" if "vit" in name else "stage1"]
    )
    feature = [parse_feature("block1.avg" if "vit" in name else "stage1.avg")]
    forward = Forward(backbone, feature, device="cpu", engine="torch")
    batches = [np.roll(PIXELS, i, axis=1) for i in range(12)]
    expected = [forward.rows(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(forward.rows, batches), expected, strict=True):
            for key, rows in wanted.items():
                np.testing.assert_allclose(found[key], rows, rtol=0, atol=1e-6)


def test_out_of_memory_takes_half_as_many(backbone, monkeypatch, caplog):
    forward = Forward(backbone, FEATURES, device="cpu", engine="torch")
    expected = forward.rows(PIXELS)
    call = module.TorchEngine.__call__

    def small(self, pixels):
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return call(self, pixels)

    monkeypatch.setattr(module.TorchEngine, "__call__", small)
    for key, rows in forward.rows(PIXELS).items():
        np.testing.assert_allclose(rows, expected[key], rtol=1e-4, atol=1e-6)
    assert "has not enough memory for 4 images at once; taking half as many" in caplog.text


def test_no_memory_for_a_single_image(backbone, monkeypatch):
    def none(self, pixels):
        raise torch.OutOfMemoryError("CUDA out of memory")

    forward = Forward(backbone, FEATURES, device="cpu", engine="torch")
    monkeypatch.setattr(module.TorchEngine, "__call__", none)
    with pytest.raises(RuntimeError, match="not enough memory for one image of 64 × 64 px with"):
        forward.rows(PIXELS)
