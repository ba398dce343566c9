"""What a run trains, what it leaves alone, and what it starts from."""

import functools

import numpy as np
import pytest
import torch

from tests.estimators.test_segmenter import picture
from transferkit.backbones import build_backbone, is_batch_norm
from transferkit.dense.network import Level, SegmentationNetwork
from transferkit.dense.segmentation_loop import create_segmentation_loop
from transferkit.estimators import FeatureExtractor
from transferkit.finetune.dense import LiveRecipe, choose_live_recipe, dense_strategy
from transferkit.finetune.dense.run import DenseTuning, _groups
from transferkit.finetune.dense.samples import MaskedPixels
from transferkit.images import list_images
from transferkit.training import Processes

pytestmark = pytest.mark.finetuning

FEATURES = ["stage1.map", "stage2.map"]


def spec():
    extractor = FeatureExtractor(
        "test_resnet", pretrained=False, image_size=32, crop_mode="squash", crop_pct=1.0
    )
    return extractor.resolve()


def start(seed=0):
    layers = build_backbone(spec()).layers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        levels = [Level(n, layers[n].channels, layers[n].stride) for n in ("stage1", "stage2")]
        return SegmentationNetwork(
            levels, 2, head="fpn", neck="fpn", neck_options={"width": 16}
        ).eval()


def tuning(folder, strategy="lp-ft", **settings):
    settings = {"epochs": 1, "batch_size": 4, "mirrored": False, **settings}
    found = dense_strategy(strategy)
    return DenseTuning(
        spec(), FEATURES, start(), found, choose_live_recipe(settings, found, 8, LiveRecipe),
        Processes(torch.device("cpu")), folder, keeps_start=True, keys=[],
    )  # fmt: skip


def samples(run, n=8, seed=0):
    pictures = [picture(seed + i, (32, 32)) for i in range(n)]
    pixels = np.stack([p for p, _ in pictures])
    targets = np.stack([c for _, c in pictures]).astype(np.uint8)
    return MaskedPixels(list_images(pixels), targets, spec().preprocess, run.recipe)


def finish(run, train, held=None):
    create_loop = functools.partial(create_segmentation_loop, targets=train.targets, n_classes=2)
    return run.finish(create_loop, train, held)


def weights(backbone):
    return build_backbone(backbone).network.state_dict()


def kinds():
    """Names of the parameters of norms, the running statistics, and all other parameters."""
    network = build_backbone(spec()).network
    norms = {
        f"{name}.{own}" if name else own
        for name, module in network.named_modules()
        if is_batch_norm(module)
        for own in ("weight", "bias")
    }
    statistics = {name for name in network.state_dict() if "running_" in name}
    return norms, statistics, set(dict(network.named_parameters())) - norms


# What stands above the taken levels doesn't learn.
def below(names):
    return {n for n in names if not any(part in n for part in ("layer3", "layer4", ".fc."))}


@pytest.mark.parametrize("strategy", ["lp-ft", "full", "norm-only", "bias-only", "lora"])
def test_a_strategy_trains_its_parameters_and_no_others(tmp_path, strategy):
    if strategy == "lora":
        pytest.importorskip("peft")
    run = tuning(tmp_path, strategy)
    result = finish(run, samples(run), None)
    before, after = weights(spec()), weights(result.backbone)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    norms, statistics, others = kinds()
    assert not changed & statistics
    expected = {
        "lp-ft": below(norms | others),
        "full": below(norms | others),
        "norm-only": below(norms),
        "bias-only": {n for n in below(norms | others) if n.endswith("bias")},
    }
    if strategy == "lora":
        assert changed
        assert changed <= below(others)
    elif strategy == "bias-only":
        # A residual branch begins with a scale of 0, which stays: nothing inside it learns.
        assert len(changed) > len(expected[strategy]) / 2
        assert changed <= expected[strategy]
    else:
        assert changed == expected[strategy]
    own = run.start.state_dict()
    assert all(
        not torch.equal(own[name], value) for name, value in result.network.state_dict().items()
    )


def test_statistics_move_only_if_they_are_not_frozen(tmp_path):
    run = tuning(tmp_path, freeze_statistics=False)
    result = finish(run, samples(run), None)
    before, after = weights(spec()), weights(result.backbone)
    moved = {n for n in before if "running_" in n and not torch.equal(before[n], after[n])}
    assert moved >= below({n for n in before if "running_mean" in n})


def test_the_start_is_the_head_on_the_frozen_backbone(tmp_path):
    # With a rate of next to nothing one epoch changes nothing: the result is the start.
    run = tuning(tmp_path, learning_rate=1e-12)
    result = finish(run, samples(run), None)
    pixels = np.stack([picture(50 + i, (32, 32))[0] for i in range(3)])
    rows = FeatureExtractor(spec(), FEATURES, store=False).extract(list_images(pixels)).rows
    levels = [torch.from_numpy(np.asarray(rows[name])) for name in FEATURES]
    with torch.no_grad():
        expected = run.start(levels)
        backbone = build_backbone(result.backbone)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        maps = backbone(backbone.normalize(images), ["stage1", "stage2"]).maps
        found = result.network([maps["stage1"], maps["stage2"]])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_first_line_of_the_history_measures_the_start(tmp_path):
    run = tuning(tmp_path)
    held = samples(run, 4, seed=100)
    result = finish(run, samples(run), held)
    backbone = build_backbone(spec())
    counts = np.zeros((2, 2))
    for i in range(4):
        pixels, target = held[i, -1]
        with torch.no_grad():
            maps = backbone(backbone.normalize(pixels[None]), ["stage1", "stage2"]).maps
            scores = run.start([maps["stage1"], maps["stage2"]])
        scores = torch.nn.functional.interpolate(scores, (32, 32), mode="bilinear")
        for true in (0, 1):
            for found in (0, 1):
                counts[true, found] += ((scores[0].argmax(0) == found) & (target == true)).sum()
    iou = np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))
    assert result.history[0]["val_metric"] == pytest.approx(iou.mean(), abs=0.01)


def test_nothing_better_keeps_the_start(tmp_path, caplog):
    run = tuning(tmp_path, learning_rate=10.0, warmup=0.0, epochs=2)
    held = samples(run, 4, seed=100)
    # Held out as the start sees it: it can't be beaten.
    backbone = build_backbone(spec())
    for i in range(4):
        with torch.no_grad():
            maps = backbone(backbone.normalize(held[i, -1][0][None]), ["stage1", "stage2"]).maps
            scores = run.start([maps["stage1"], maps["stage2"]])
        scores = torch.nn.functional.interpolate(scores, (32, 32), mode="bilinear")
        held.targets[i] = scores[0].argmax(0).numpy()
    result = finish(run, samples(run), held)
    assert "no gain" in caplog.text
    assert result.best_epoch == 0
    assert result.backbone == spec()
    own = run.start.state_dict()
    assert all(torch.equal(own[n], value) for n, value in result.network.state_dict().items())
    assert not (tmp_path / "backbone").exists()


def test_the_head_has_the_whole_rate_and_the_backbone_its_share(tmp_path):
    run = tuning(tmp_path, layer_decay=0.5, backbone_rate=0.2)
    from transferkit.finetune.network import build_network

    network, _ = build_network(spec(), run.strategy, run.recipe, run._head, None)
    head = {id(p) for p in network.head.parameters()}
    groups = _groups(network, run.recipe)
    shares = [group.get("lr_scale", 1.0) for group in groups]
    of_head = [any(id(p) in head for p in group["params"]) for group in groups]
    assert {s for s, own in zip(shares, of_head, strict=True) if own} == {1.0}
    assert max(s for s, own in zip(shares, of_head, strict=True) if not own) <= 0.2
    n = sum(len(group["params"]) for group in groups)
    assert n == sum(p.requires_grad for p in network.parameters())


def test_accumulated_parts_are_one_batch(tmp_path):
    states = []
    for parts in (1, 2):
        run = tuning(
            tmp_path / str(parts), accumulate=parts, batch_size=8, optimizer="momentum",
            learning_rate=0.01, clip=0.0,
        )  # fmt: skip
        run.folder.mkdir()
        result = finish(run, samples(run), None)
        states.append({**weights(result.backbone), **result.network.state_dict()})
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-3, atol=1e-5)
