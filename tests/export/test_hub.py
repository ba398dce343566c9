"""Uploading, with a stand-in for the hub."""

import huggingface_hub
import pytest

from transferkit.export import check_target, upload


class Hub:
    """What `HfApi` does, written down instead."""

    calls = ()
    error = None

    def __init__(self, **options):
        self.options = options

    def create_repo(self, name, **options):
        if Hub.error is not None:
            raise Hub.error
        Hub.calls.append(("create_repo", name, options))

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        files = sorted(p.name for p in folder_path.iterdir())
        Hub.calls.append(("upload_folder", repo_id, files))
        return type("Commit", (), {"commit_url": f"https://hub/{repo_id}/commit/1"})()


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(Hub, "calls", [])
    monkeypatch.setattr(Hub, "error", None)
    return Hub


def test_a_repository_is_made_and_filled(hub, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert upload(tmp_path, "hf-hub:me/hands", private=True) == "https://hub/me/hands/commit/1"
    assert hub.calls == [
        ("create_repo", "me/hands", {"private": True, "exist_ok": True}),
        ("upload_folder", "me/hands", ["config.json"]),
    ]


def test_what_goes_wrong_is_one_sentence_without_the_token(hub, tmp_path, monkeypatch):
    class HTTPError(Exception):
        pass

    monkeypatch.setattr(hub, "error", HTTPError("401\n for token hf_secret at the door"))
    with pytest.raises(
        OSError, match=r"'hf-hub:me/hands' .*HTTPError: 401 for token … at"
    ) as error:
        upload(tmp_path, "hf-hub:me/hands")
    assert "hf_secret" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", ["me/hands", "hf-hub:hands", "hf-hub:a/b/c", "hf-hub:../x", ""])
def test_targets_that_are_none(target):
    with pytest.raises(ValueError, match="write hf-hub:ORG/NAME"):
        check_target(target)
