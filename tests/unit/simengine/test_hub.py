"""A simulated download leaves what a real one leaves: the commit of the branch."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.simengine import hub

from xpullm_runtime.hubcache import loaded_commit

QWEN = "Qwen/Qwen2-7B-Instruct"


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return {"HF_HOME": str(tmp_path)}


def test_the_supervisor_reads_what_the_engine_downloaded(environ: dict[str, str]) -> None:
    hub.download(QWEN, None)
    hub.download(QWEN, "v2")
    assert loaded_commit(QWEN, "main", environ) == hub.commit_of(QWEN, "main")
    assert loaded_commit(QWEN, "v2", environ) == hub.commit_of(QWEN, "v2")
    assert hub.commit_of(QWEN, "main") != hub.commit_of(QWEN, "v2")


def test_files_on_disk_are_not_downloaded(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    hub.download(str(tmp_path / "model"), None)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
