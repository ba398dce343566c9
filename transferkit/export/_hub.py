"""Upload a folder to the Hugging Face hub, with the hub's own login."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["check_target", "upload"]

SCHEME = "hf-hub:"


def check_target(target: str) -> str:
    """Name of a repository, ``org/name``, from ``hf-hub:org/name``.

    Raises
    ------
    ValueError
        If it isn't one.

    Examples
    --------
    >>> check_target("hf-hub:me/hands")
    'me/hands'
    """
    name = target.removeprefix(SCHEME)
    if not target.startswith(SCHEME) or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise ValueError(f"target is {target!r}; write hf-hub:ORG/NAME, as in hf-hub:me/hands")
    return name


def upload(folder: str | Path, target: str, *, private: bool = False) -> str:
    """Upload a folder's files to a repository, which is made if there is none.

    The token is the hub's own: the environment variable ``HF_TOKEN``, or what ``hf auth
    login`` has kept.

    Parameters
    ----------
    folder : path
        The files.
    target : str
        ``hf-hub:org/name``.
    private : bool, default=False
        Whether a new repository is seen by its owner only.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    ValueError
        If the target isn't a repository's name.
    OSError
        If the hub doesn't take it.
    """
    import huggingface_hub

    name = check_target(target)
    hub = huggingface_hub.HfApi(library_name="transferkit")
    try:
        hub.create_repo(name, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=name, folder_path=Path(folder), commit_message="Upload with transferkit"
        )
    except Exception as error:  # its HTTP library's errors are of no common type
        reason = " ".join(str(error).split())[:200]
        token = huggingface_hub.get_token()
        if token:
            reason = reason.replace(token, "…")
        raise OSError(
            f"{target!r} could not be uploaded ({type(error).__name__}: {reason}); check the "
            f"network and the login (hf auth login, or HF_TOKEN), or keep the folder (--output DIR)"
        ) from error
    return str(getattr(commit, "commit_url", commit))
