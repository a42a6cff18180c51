"""Which commit the engine loaded: read from huggingface_hub's cache, never waited for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from xpullm_runtime.hubcache import cache_folder, loaded_commit

COMMIT = "f2826a00ceef68f0f2b946d945ecc0477ce4450c"
QWEN = "Qwen/Qwen2-7B-Instruct"


def reference(home: Path, revision: str = "main", text: str = COMMIT, model: str = QWEN) -> Path:
    """As a download leaves it (huggingface_hub, _cache_commit_hash_for_specific_revision)."""
    file = home / "hub" / f"models--{model.replace('/', '--')}" / "refs" / revision
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("model", "revision"),
    [
        (QWEN, "main"),
        (QWEN, "v1.0"),
        (QWEN, "refs/pr/7"),
        (QWEN, "f2826a0"),  # a truncated commit is kept as a reference, too
        ("gpt2", "main"),  # a model without an organization
    ],
)
def test_a_downloaded_revision_is_its_commit(tmp_path: Path, model: str, revision: str) -> None:
    reference(tmp_path, revision, model=model)
    assert loaded_commit(model, revision, {"HF_HOME": str(tmp_path)}) == COMMIT


def test_a_revision_that_is_a_commit_needs_no_cache() -> None:
    assert loaded_commit(QWEN, COMMIT, {"HF_HOME": "/nowhere"}) == COMMIT


def test_the_cache_is_where_the_engines_environment_says() -> None:
    assert cache_folder({"HF_HOME": "/h"}) == "/h/hub"
    assert cache_folder({"HF_HOME": "/h", "HF_HUB_CACHE": "/c"}) == "/c"
    assert cache_folder({"HUGGINGFACE_HUB_CACHE": "/o", "HF_HOME": "/h"}) == "/o"
    assert cache_folder({"HUGGINGFACE_HUB_CACHE": "/o", "HF_HUB_CACHE": "/c"}) == "/c"
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == "/x/huggingface/hub"
    assert cache_folder({}) == os.path.expanduser("~/.cache/huggingface/hub")
    assert cache_folder({"HF_HOME": "~/h"}) == os.path.expanduser("~/h/hub")


@pytest.mark.parametrize(
    "text",
    ["", "main", COMMIT[:39], COMMIT + "0", COMMIT.upper(), "g" * 40, "é" * 20, COMMIT + "\nmore"],
)
def test_what_is_no_commit_is_not_told(tmp_path: Path, text: str) -> None:
    reference(tmp_path, text=text)
    assert loaded_commit(QWEN, "main", {"HF_HOME": str(tmp_path)}) == ""


def test_white_space_around_a_commit_is_no_part_of_it(tmp_path: Path) -> None:
    reference(tmp_path, text=f" {COMMIT}\n")
    assert loaded_commit(QWEN, "main", {"HF_HOME": str(tmp_path)}) == COMMIT


def test_nothing_is_told_of_what_is_not_there(tmp_path: Path) -> None:
    reference(tmp_path)
    environ = {"HF_HOME": str(tmp_path)}
    assert loaded_commit(QWEN, "other", environ) == ""
    assert loaded_commit("Qwen/Qwen3-8B", "main", environ) == ""
    assert loaded_commit("", "main", environ) == ""  # files from a claim or an image
    assert loaded_commit(QWEN, "", environ) == ""
    assert loaded_commit(QWEN, "main\0", environ) == ""


def test_a_revision_leads_nowhere_else(tmp_path: Path) -> None:
    reference(tmp_path)
    (tmp_path / "hub" / "secret").write_text(COMMIT)
    assert loaded_commit(QWEN, "a/../../../secret", {"HF_HOME": str(tmp_path)}) == ""


def test_a_folder_or_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    file = reference(tmp_path)
    file.unlink()
    os.mkfifo(file)
    assert loaded_commit(QWEN, "main", {"HF_HOME": str(tmp_path)}) == ""
    file.unlink()
    shutil.copytree(tmp_path / "hub" / "models--Qwen--Qwen2-7B-Instruct" / "refs", file)
    assert loaded_commit(QWEN, "main", {"HF_HOME": str(tmp_path)}) == ""


def test_a_volume_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, give_up = os.pipe()
    monkeypatch.setattr("xpullm_runtime.hubcache.READ_SECONDS", 0.05)
    monkeypatch.setattr("xpullm_runtime.hubcache._read", lambda _: os.read(reading, 1).decode())
    assert loaded_commit(QWEN, "main", {"HF_HOME": "/h"}) == ""
    os.close(give_up)
