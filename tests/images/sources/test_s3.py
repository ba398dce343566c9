"""Images on a real server of S3, on this machine, and through a bad network."""

import random

import numpy as np
import pytest

from tests.images.sources.packing import pack_parquet, pack_tar
from tests.images.sources.tables import encoded
from tests.pictures import picture
from tests.s3 import KEY, SECRET, serving, use
from tests.store.places.faulty_proxy import FAULTS, FaultyProxy
from transferkit import FeatureExtractor, remote
from transferkit.extract.identities import Identities
from transferkit.images import UnreadableImages, list_images
from transferkit.images.sources import _places

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

pytestmark = [
    pytest.mark.slow,
    # Of libraries under s3fs and moto.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

BYTES = [encoded(picture(i)) for i in range(12)]
KINDS = ("photos", "s.tar", "p.parquet")


@pytest.fixture(scope="module")
def server():
    with serving() as port:
        yield port


@pytest.fixture(autouse=True)
def _own_connections(monkeypatch):
    """Each test has its own proxy or none."""
    monkeypatch.setattr(remote, "WAITS", (0, 0, 0, 0))
    _places._files.cache_clear()
    yield
    _places._files.cache_clear()


@pytest.fixture
def local(tmp_path):
    """Images in a folder, a tar and a Parquet file."""
    root = tmp_path / "local"
    for i, content in enumerate(BYTES):
        path = root / f"photos/class {i % 2}/é {i}#.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    members = [(f"{i}.png", content) for i, content in enumerate(BYTES)]
    pack_tar(root / "s.tar", [*members, *((f"{i}.cls", b"%d" % (i % 2)) for i in range(12))])
    pack_parquet(root / "p.parquet", {"image": BYTES, "label": [i % 2 for i in range(12)]}, rows=5)
    return root


@pytest.fixture
def bucket(server, monkeypatch, tmp_path, local):
    """URL of the same in a bucket."""
    client = use(monkeypatch, server, tmp_path)
    name = f"b{random.getrandbits(60)}"
    client.create_bucket(Bucket=name)
    for path in local.rglob("*"):
        key = f"some/{path.relative_to(local).as_posix()}"
        if path.is_file():
            client.put_object(Bucket=name, Key=key, Body=path.read_bytes())
        else:  # as consoles make folders
            client.put_object(Bucket=name, Key=f"{key}/", Body=b"")
    return f"s3://{name}/some"


def through(server, monkeypatch, choose):
    """A proxy between this process and the server."""
    proxy = FaultyProxy(server, choose, 2.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return proxy


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_reads_nothing_but_a_listing(server, monkeypatch, local, bucket, kind):
    asked = []
    proxy = through(server, monkeypatch, lambda method, path: asked.append((method, path)))
    with proxy.running():
        images, here = list_images(f"{bucket}/{kind}"), list_images(local / kind)
        assert (images.names, images.labels) == (here.names, here.labels)
        first = Identities(images, exif=False)
        assert first.ids == Identities(here, exif=False).ids
        assert len(asked) >= {"photos": 1 + len(BYTES)}.get(kind, 2)
        asked.clear()
        again = Identities(list_images(f"{bucket}/{kind}"), exif=False)
    assert (again.ids, again.n_read) == (first.ids, 0)
    bodies = [path for method, path in asked if method == "GET" and "list-type" not in path]
    if kind != "p.parquet":  # which is asked for its labels
        assert bodies == []
        assert len(asked) == 1


@pytest.mark.parametrize("fault", [f for f in FAULTS if f != "slow"])
def test_a_bad_network_changes_no_row(server, monkeypatch, local, bucket, fault):
    """A third of all requests fails, of every kind of place: what comes back is right."""
    rng = random.Random(0)
    last = {}

    def choose(method, path):
        # No request fails more than thrice in a row: a fourth attempt is left.
        asked = method, path
        last[asked] = last.get(asked, 0) + 1 if rng.random() < 1 / 3 else 0
        return fault if 0 < last[asked] <= 3 else None

    proxy = through(server, monkeypatch, choose)
    with proxy.running():
        for kind in KINDS:
            found = Identities(list_images(f"{bucket}/{kind}"), exif=False)
            assert found.failures == {}
            assert found.ids == Identities(list_images(local / kind), exif=False).ids
    assert proxy.counts[fault] > 3


@pytest.mark.parametrize("fault", ["500 before", "cut"])
def test_a_network_that_stays_bad_names_the_images(server, monkeypatch, bucket, fault):
    bad = []
    proxy = through(
        server, monkeypatch, lambda m, path: fault if any(b in path for b in bad) else None
    )
    with proxy.running():
        images = list_images(f"{bucket}/photos")
        bad += ["4%23.png", "9%23.png"]
        found = Identities(images, exif=False)
        assert sorted(f.name[-6:] for f in found.failures.values()) == [
            " 4#.png"[1:],
            " 9#.png"[1:],
        ]
        for failure in found.failures.values():
            assert "could not read s3://" in failure.reason
            assert KEY not in failure.reason
            assert SECRET not in failure.reason
        bad[:] = ["list-type"]
        with pytest.raises(remote.RemoteError, match=r"could not list s3://.*and run it again"):
            list_images(f"{bucket}/photos")


def test_no_credentials(monkeypatch, bucket):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(remote.RemoteError, match="no credentials were found; check its cred"):
        list_images(f"{bucket}/photos")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_the_files(tmp_path, local, bucket, kind):
    extractor = FeatureExtractor("test_resnet", pretrained=False, image_size=32)
    expected = extractor.extract(local / kind)
    assert expected.n_computed == 12
    found = extractor.extract(f"{bucket}/{kind}")
    assert found.n_computed == 0  # one row for one image, wherever it is
    extractor.set_params(store=str(tmp_path / "other store"))
    found = extractor.extract(f"{bucket}/{kind}")
    assert found.n_computed == 12
    for name, rows in expected.rows.items():
        np.testing.assert_array_equal(found.rows[name], rows)


def test_an_object_that_is_gone_is_named(bucket):
    import boto3

    images = list_images(f"{bucket}/photos")
    name, _, prefix = bucket.removeprefix("s3://").partition("/")
    boto3.client("s3").delete_object(Bucket=name, Key=f"{prefix}/photos/{images.names[3]}")
    extractor = FeatureExtractor("test_resnet", pretrained=False, image_size=32)
    with pytest.raises(UnreadableImages, match="1 of 12 images could not be read: class 0"):
        extractor.extract(images)
    assert len(extractor.extract(images, on_error="skip").kept) == 11
