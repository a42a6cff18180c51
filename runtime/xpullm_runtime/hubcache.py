"""Which commit of a model the engine loaded: what huggingface_hub's cache on disk says.

A download of a branch or tag leaves the commit that it stood for in the model's folder, as
`refs/<revision>`; offline the same file decides what is loaded (huggingface_hub, file_download.py
and "Hub Local Cache" of the Hub's documentation). ModelScope's cache keeps the name of the branch
and, per file, the last commit that changed it (modelscope, hub/utils/caching.py): no commit of the
model, so nothing is said of it.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Mapping
from pathlib import PurePosixPath

READ_SECONDS = 1.0  # a volume that hangs now must not hold the engine back
_COMMIT = re.compile("[0-9a-f]{40}")  # REGEX_COMMIT_HASH of file_download.py
_FILE_BYTES = 64  # a commit, and white space of whoever wrote it by hand


def loaded_commit(model_id: str, revision: str, environ: Mapping[str, str]) -> str:
    """The commit of `model_id` that `revision` stands for; empty where the cache does not tell.
    `environ` is the engine's. Never raises, and returns after `READ_SECONDS` at the latest.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    if not model_id or not revision or ".." in PurePosixPath(revision).parts:
        return ""
    folder = "--".join(("models", *model_id.split("/")))
    path = os.path.join(cache_folder(environ), folder, "refs", revision)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(_read(path)), daemon=True)
    reader.start()
    reader.join(READ_SECONDS)
    return found[0] if found else ""


def cache_folder(environ: Mapping[str, str]) -> str:
    """Where huggingface_hub keeps models (its constants.py)."""
    caches = environ.get("XDG_CACHE_HOME", os.path.join("~", ".cache"))
    home = environ.get("HF_HOME", os.path.join(caches, "huggingface"))
    hub = environ.get("HUGGINGFACE_HUB_CACHE", os.path.join(home, "hub"))
    return os.path.expandvars(os.path.expanduser(environ.get("HF_HUB_CACHE", hub)))


def _read(path: str) -> str:
    """The commit in a file; what is there instead of a file (a pipe, say) is not waited for."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = os.read(file, _FILE_BYTES) if stat.S_ISREG(os.fstat(file).st_mode) else b""
        finally:
            os.close(file)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return ""
    text = data.decode("ascii", "replace").strip()
    return text if _COMMIT.fullmatch(text) else ""
