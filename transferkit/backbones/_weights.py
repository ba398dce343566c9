"""Find the file that holds a timm backbone's weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.backbones._quiet import quiet
from transferkit.digests import DigestMemory

__all__ = ["digest_of", "find_weights", "hub_snapshot"]

_NAMES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".tar", ".npz")


def find_weights(name: str, cfg: Mapping[str, Any], weights: Path | None) -> Path:
    """Find a backbone's weights file: given, in a local folder, cached, or downloaded now.

    Parameters
    ----------
    name : str
        The backbone's name, for the error message.
    cfg : mapping
        timm's resolved pretrained configuration.
    weights : Path, optional
        A file that the user gave.

    Raises
    ------
    ValueError
        If there are no weights for this name.
    OSError
        If the file doesn't exist or can't be downloaded.
    """
    if weights is not None:
        if not weights.is_file():
            raise FileNotFoundError(
                f"weights file {str(weights)!r} doesn't exist; give a .safetensors file"
            )
        if not weights.name.lower().endswith(_ENDINGS):
            raise ValueError(
                f"weights file {str(weights)!r} ends in {weights.suffix!r}; give one of "
                f"{', '.join(_ENDINGS)}"
            )
        return weights.resolve()
    if cfg.get("source") == "local-dir":
        return _in_folder(Path(str(cfg["file"])))
    if cfg.get("hf_hub_id"):
        return _from_hub(name, str(cfg["hf_hub_id"]), cfg.get("hf_hub_filename"))
    if cfg.get("url"):
        return _from_url(name, str(cfg["url"]))
    raise ValueError(
        f"there are no pretrained weights for {name!r}; choose a tag that "
        f"`transferkit backbones {name.partition('.')[0]}` lists, or random weights "
        f"(pretrained=False, --random)"
    )


def _in_folder(folder: Path) -> Path:
    named = [folder / name for name in _NAMES if (folder / name).is_file()]
    others = [p for end in _ENDINGS for p in sorted(folder.glob(f"*{end}"))]
    if not (named or others):
        raise FileNotFoundError(
            f"folder {str(folder)!r} holds no weights; it should hold model.safetensors beside "
            f"config.json"
        )
    return (named or others)[0].resolve()


def _from_hub(name: str, hub_id: str, filename: str | None) -> Path:
    """Find a file in the hub's local cache, without a request, or else download it."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
    )

    repo, _, revision = hub_id.partition("@")
    wanted = filename or "pytorch_model.bin"
    safe = wanted if wanted.endswith(".safetensors") else f"{Path(wanted).stem}.safetensors"
    candidates = ["model.safetensors"] if filename is None else [safe]
    candidates += [] if wanted in candidates else [wanted]
    for candidate in candidates:
        cached = try_to_load_from_cache(repo, candidate, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    for candidate in candidates:
        try:
            with quiet("huggingface_hub"):  # it tells of each of its retries
                return Path(hf_hub_download(repo, candidate, revision=revision or None))
        except LocalEntryNotFoundError as error:  # no answer, and nothing in the cache
            raise _download_error(name, f"{repo} on the hub", error) from error
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
            raise _download_error(name, f"{repo} on the hub", error) from error
    raise ValueError(f"{repo!r} on the hub holds none of {', '.join(candidates)}")


def hub_snapshot(name: str) -> Path | None:
    """Folder of the hub's local cache that holds a backbone whole; None if there is none.

    No request is sent.

    Parameters
    ----------
    name : str
        ``hf-hub:ORG/NAME``, perhaps with ``@REVISION`` behind it.
    """
    from huggingface_hub import try_to_load_from_cache

    repo, _, revision = name.partition(":")[2].partition("@")
    try:
        config = try_to_load_from_cache(repo, "config.json", revision=revision or None)
    except ValueError:  # not a repository's name
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if any((folder / weights).is_file() for weights in _NAMES) else None


def _from_url(name: str, url: str) -> Path:
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, os.fspath(path), progress=False)
        except OSError as error:
            raise _download_error(name, url, error) from error
    return path


def _download_error(name: str, place: str, error: Exception) -> OSError:
    reason = " ".join(str(error).split())[:160]
    return OSError(
        f"the weights of {name!r} could not be downloaded from {place} ({type(error).__name__}: "
        f"{reason}); check the network, or use local weights (weights=FILE, --weights FILE, or "
        f"the name local-dir:FOLDER)"
    )


def digest_of(path: Path) -> str:
    """Digest ``"sha256:…"`` of a weights file, which is computed once and remembered."""
    digest = DigestMemory().digests([path]).values[0]
    if isinstance(digest, OSError):
        raise digest
    return f"sha256:{digest.hex()}"
