"""What a download from the Hub leaves on disk; the files of these models themselves are no matter.

The layout is huggingface_hub's (file_download.py): `models--ORG--NAME/refs/<revision>` names the
commit, `snapshots/<commit>` has the files.
"""

import hashlib
import os
from pathlib import Path


def commit_of(model: str, revision: str) -> str:
    """This hub has one commit per model and branch, and always the same."""
    return hashlib.sha1(f"{model}@{revision}".encode(), usedforsecurity=False).hexdigest()


def download(model: str, revision: str | None) -> None:
    """Into the cache that the environment names; nowhere where it names none, or for files that
    are on disk already."""
    home = os.environ.get("HF_HOME")
    cache = os.environ.get("HF_HUB_CACHE") or (f"{home}/hub" if home else "")
    if not cache or Path(model).is_dir():
        return
    branch = revision or "main"
    commit = commit_of(model, branch)
    folder = Path(cache, "--".join(("models", *model.split("/"))))
    reference = folder / "refs" / branch
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
