"""A cluster of Ray's, of several nodes that are processes of this machine."""

import contextlib
import dataclasses
import logging
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.bad_pictures import FRAGILE
from tests.pictures import write_pictures
from transferkit.backbones import resolve_backbone
from transferkit.extract import extract
from transferkit.extract.runners import open_runner
from transferkit.extract.runners import ray as module
from transferkit.images import list_images
from transferkit.store import FeatureStore

ray = pytest.importorskip("ray")

ROOT = Path(__file__).parents[3]
MEMORY = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
FEATURES = ["pre_logits", "stage3.avg"]
# Ray leaves pipes, files and processes to the collector, and warns of its own later versions.
RAYS_OWN = [
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::ray.util.annotations.RayDeprecationWarning",
    r"ignore::DeprecationWarning:ray\..*",
]
pytestmark = [pytest.mark.kills, *(pytest.mark.filterwarnings(text) for text in RAYS_OWN)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head that computes nothing, and two nodes of one core."""
    from ray.cluster_utils import Cluster

    folder = tmp_path_factory.mktemp("ray")
    (folder / "sitecustomize.py").write_text(FRAGILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_CACHE", str(folder / "cache"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **MEMORY})
        for _ in range(2):
            started.add_node(num_cpus=1, **MEMORY)
        yield started
        ray.shutdown()
        started.shutdown()


@pytest.fixture
def spec():
    return resolve_backbone("test_resnet", pretrained=False, image_size=64)


@pytest.fixture
def files(tmp_path):
    return write_pictures(tmp_path / "files", range(40))


def on_ray(cluster, files, spec, store, **options):
    options = {"on": f"ray:{cluster.address}", "batch_size": 4, **options}
    return extract(list_images(files), spec, FEATURES, store, **options)


def check(result, files, spec):
    """Rows are bitwise those of this process."""
    expected = extract(list_images(files), spec, FEATURES, None, batch_size=4)
    assert result.ids == expected.ids
    for name in FEATURES:
        np.testing.assert_array_equal(result.rows[name], expected.rows[name])


class Bar:
    """Calls one thing after the other, whenever a share is done."""

    def __init__(self, *calls):
        self.calls = list(calls)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def update(self, n_images):
        if self.calls:
            self.calls.pop(0)()


def kill_a_worker(cache):
    """Kill one of the processes that compute, of this test's cluster alone."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_worker = b"ray::MapWorker" in (folder / "cmdline").read_bytes()
            if is_worker and os.fsencode(f"{cache}/") in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
                return
    raise AssertionError("no worker was found")


@pytest.mark.timeout(600)
def test_the_rows_of_this_process(cluster, files, spec, store, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(module, "_FEW_FILES", 8)  # so that they are digested there
    files[7].write_bytes(b"no picture")
    for path in files:
        os.utime(path, (1e9, 1e9))
    monkeypatch.chdir(tmp_path)  # where nobody else is
    given = [path.relative_to(tmp_path) for path in [*files, files[7]]]
    with caplog.at_level(logging.WARNING):
        result = on_ray(cluster, given, spec, store, on_error="skip")
    name = str(given[7])
    assert [(f.index, f.name) for f in result.failures] == [(7, name), (40, name)]
    assert (result.n_read, result.n_computed) == (40, 39)
    assert set(result.shares) == {"read", "decode", "forward", "write"}
    check(result, [path for path in files if path != files[7]], spec)
    assert not ray.is_initialized()  # as it was before
    assert caplog.messages == []
    assert {info.n_shards for info in store.list_keys()} == {5}  # one for each share of eight
    assert store.verify() == []
    again = on_ray(cluster, given, spec, store, on_error="skip")
    assert (again.n_read, again.n_computed) == (0, 0)  # the digests are remembered here


@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_kills_and_an_image_that_ends_its_worker(cluster, tmp_path, spec, store, monkeypatch):
    files = write_pictures(tmp_path / "many", range(200))
    files[170].write_bytes(files[170].read_bytes() + b"end of the process")
    node = cluster.add_node(num_cpus=1, **MEMORY)
    calls = [
        lambda: kill_a_worker(tmp_path.parent),
        lambda: cluster.remove_node(node, allow_graceful=False),
    ]
    bar = Bar(*calls)
    monkeypatch.setattr("transferkit.extract.progress_bar", lambda n, shown: bar)
    result = on_ray(cluster, files, spec, store, on_error="skip")
    assert bar.calls == []
    (failure,) = result.failures
    assert (failure.index, failure.reason[:36]) == (170, "decoding it ends the process (SIGSEG")
    assert result.n_computed == 199
    check(result, [path for path in files if path != files[170]], spec)
    assert store.verify() == []


# Without a cluster: the same code, in this process.


@pytest.fixture
def here(monkeypatch):
    """Nodes that are this process."""

    def answers(items, work, pool=None):
        worker = work() if pool is not None else work
        for item in items:
            for one in worker({"item": [pickle.dumps(item)]})["item"]:
                yield pickle.loads(one)

    monkeypatch.setattr(module, "_answers", answers)
    monkeypatch.setattr(module.RayRunner, "connect", lambda self: module._ActorPool(2, 1, 0))
    return monkeypatch


def on_these(files, spec, store, **options):
    options = {"on": "ray", "batch_size": 4, **options}
    return extract(list_images(files), spec, FEATURES, store, **options)


@pytest.mark.parametrize("n_lost", [1, 2, 3])
def test_what_is_lost_is_handed_out_again_and_named_in_the_end(
    here, files, spec, store, n_lost, caplog
):
    answers, sizes = module._answers, []

    def lossy(items, work, pool):
        items = list(items)
        sizes.append(len(items[0][1].images))
        lost = range(n_lost > len(sizes) - 1)  # the first share, so often
        yield from answers([item for item in items if item[0] not in lost], work, pool)

    here.setattr(module, "_answers", lossy)
    if n_lost < 3:
        check(on_these(files, spec, store), files, spec)
    else:
        # At last the shares are single batches, so that few are named.
        names = ", ".join(repr(str(path)) for path in files[:4])
        message = rf"^4 of 40 images have no row after 3 attempts on Ray.*ended: {names}; all other"
        with pytest.raises(RuntimeError, match=message):
            on_these(files, spec, store)
        rest = list_images(files[4:])
        rows = extract(rest, spec, FEATURES, store).rows["pre_logits"]
        expected = extract(rest, spec, FEATURES, None, batch_size=4)
        np.testing.assert_array_equal(rows, expected.rows["pre_logits"])
    assert sizes == [8, 4, 4][: n_lost + 1]
    assert caplog.messages[0] == "8 images are still missing; handing them out again"


def test_a_file_that_is_changed_meanwhile(here, files, spec, store):
    share = module._Round._share

    def late(self, positions, n_images):
        if 8 in positions:
            files[8].write_bytes(files[30].read_bytes())
            files[9].unlink()
        return share(self, positions, n_images)

    here.setattr(module._Round, "_share", late)
    result = on_these([*files, files[8]], spec, store, on_error="skip")
    assert [f.index for f in result.failures] == [9]
    check(result, [path for path in [*files, files[8]] if path != files[9]], spec)


def test_a_node_that_does_not_see_the_files(here, files, spec, store):
    sendable = module.share_of

    def elsewhere(job, positions, specs, **options):
        share = sendable(job, positions, specs, **options)
        moved = tuple(Path("/nowhere") / path.name for path in share.images.items)
        return dataclasses.replace(share, images=dataclasses.replace(share.images, items=moved))

    here.setattr(module, "share_of", elsewhere)
    with pytest.raises(RuntimeError, match=r"a node .* doesn't see '.*000.png', which is here; im"):
        on_these(files, spec, store)
    assert store.list_keys() == []


def test_a_store_that_is_another_folder_on_a_node(here, files, spec, store, tmp_path):
    sendable = module.share_of

    def elsewhere(*args, **options):
        return dataclasses.replace(sendable(*args, **options), store=tmp_path / "other")

    here.setattr(module, "share_of", elsewhere)
    here.setattr(module, "_WAITS", ())
    with pytest.raises(RuntimeError, match=r"written rows that aren't in the store '.*store' as"):
        on_these(files, spec, store)


def test_weights_and_devices_that_are_not_there(here, files, store, tmp_path):
    spec = resolve_backbone("bundled")
    missing = dataclasses.replace(spec, weights_path=str(tmp_path / "gone"))
    with pytest.raises(ValueError, match=r": the weights '.*gone' aren't on this node; keep them"):
        on_these(files, missing, store)
    with pytest.raises(
        ValueError, match=r"device is 'cuda:1', and which GPU .* give 'auto', 'cpu'"
    ):
        on_these(files, spec, store, device="cuda:1")


def test_stores_that_others_do_not_see(files, spec):
    with pytest.raises(ValueError, match=r"no store was given, and on Ray other processes write"):
        on_these(files, spec, None)
    with pytest.raises(ValueError, match=r"the store is 'memory://x', memory, and on Ray"):
        on_these(files, spec, FeatureStore("memory://x"))


def test_warnings_are_told_once(here, store, caplog):
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=448)
    arrays = np.random.default_rng(0).integers(0, 256, (12, 300, 300, 3), dtype=np.uint8)
    with caplog.at_level(logging.WARNING):
        assert on_these(arrays, spec, store, batch_size=1).n_computed == 12
    assert [text[:39] for text in caplog.messages] == ["the backbone's input is 448 × 448 px, 4"]


def test_a_batch_is_computed_here(files, spec, store, monkeypatch):
    monkeypatch.setattr(module.RayRunner, "connect", None)
    assert on_these(files[:4], spec, store).n_computed == 4


def test_an_actor_for_each_gpu_or_for_a_few_cores(monkeypatch):
    def pool(device, *nodes):
        alive = [{"Alive": True, "Resources": node} for node in nodes]
        monkeypatch.setattr(ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": {}}])
        found = module._pool_for(device)
        return found.n_actors, found.n_cpus, found.n_gpus

    head, small, large = {"memory": 1.0}, {"CPU": 2.0}, {"CPU": 64.0, "GPU": 8.0}
    assert pool("auto", head, small, small) == (2, 2, 0)
    assert pool("auto", head, {"CPU": 8.0}, {"CPU": 6.0}) == (3, 4, 0)
    assert pool("auto", small, large, large) == (16, 8, 1)
    assert pool("cuda", {"CPU": 96.0, "GPU": 1.0}) == (1, 16, 1)
    assert pool("cpu", large) == (16, 4, 0)
    with pytest.raises(ValueError, match="device is 'cuda', and the Ray cluster has no GPU"):
        pool("cuda", small)
    with pytest.raises(ValueError, match="has neither GPUs nor CPUs; add a node"):
        pool("auto", head)


def test_what_is_not_there_is_said(monkeypatch):
    with pytest.raises(ValueError, match=r"'ray://there:10001', and Ray Data doesn't run through"):
        open_runner("ray:ray://there:10001", "auto")
    with pytest.raises(ValueError, match="unknown runner 'rai'; did you mean 'ray'"):
        open_runner("rai:x", "auto")
    with pytest.raises(ValueError, match="on is 'local:x', and this machine has no address"):
        open_runner("local:x", "auto")

    def refuse(address, **options):
        raise ConnectionError("nobody is there")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(RuntimeError, match=r"no Ray cluster .* there:1 \(nobody is there\)"):
        open_runner("ray:there:1", "auto").connect()
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(module, "_address", lambda: "here:1")
    with pytest.raises(ValueError, match=r"connected to the Ray cluster at here:1, not at there:1"):
        open_runner("ray:there:1", "auto").connect()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs ray, which isn't installed; run pip install 'tr"):
        open_runner("ray", "auto")
