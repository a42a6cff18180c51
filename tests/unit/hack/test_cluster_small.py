"""Kubeconfig guard, requirements, progress, command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hack.cluster import ClusterError, kubeconfig, nodeconfig, requirements
from hack.cluster.__main__ import _pairs
from hack.cluster.paths import REPOSITORY
from hack.cluster.say import Progress, elapsed
from hack.cluster.state import State


def test_a_kubeconfig_of_ours_is_accepted(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text("certificate")
    path = kubeconfig.write(
        tmp_path / "config", "abc", "https://127.0.0.1:1", authority, {"token": "t"}
    )
    kubeconfig.require_test_context(path)
    assert json.loads(path.read_text())["current-context"] == "xpullm-test-abc"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "current-context: production", "current-context: xpullm"])
def test_any_other_kubeconfig_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ClusterError, match=r"only touch contexts named xpullm-test-\*"):
        kubeconfig.require_test_context(path)


def test_without_root_there_is_one_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
    reason = requirements.real_node_unavailable.__wrapped__()
    assert reason == "the real node needs root (mounts, cgroups, network); run it with sudo"


def test_without_root_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(requirements.shutil, "which", lambda _: None)
    with pytest.raises(ClusterError, match=r"please install \(Debian package names\): openssl"):
        requirements.ensure_everywhere()


def test_the_kubelet_has_cgroups_ports_and_folders_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPULLM_CACHE", str(tmp_path))
    state = State(id="abc", port=21000, subnet=20, owner=None)
    made = nodeconfig.kubelet(state, "10.244.20.1", tmp_path, "2s")
    assert made["cgroupRoot"] == "/xpullm-abc"
    assert made["healthzPort"] == 21006
    assert made["containerRuntimeEndpoint"] == "unix:///run/xpullm/abc/containerd.sock"
    assert made["crashLoopBackOff"] == {"maxContainerRestartPeriod": "2s"}


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (80, "1 min 20 s")])
def test_elapsed(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def test_progress_counts_up_to_its_total(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("compiling", total=2) as progress:
        for _ in range(3):
            progress.step()
    assert capsys.readouterr().err.splitlines()[-1] == "[cluster] compiling: 2/2 packages, 0 s"


def test_pairs_on_the_command_line() -> None:
    assert _pairs(["gpu.intel.com/i915=1", "a=b=c"]) == {"gpu.intel.com/i915": "1", "a": "b=c"}
    with pytest.raises(ClusterError, match="'nonsense' is not KEY=VALUE"):
        _pairs(["nonsense"])


@pytest.mark.timeout(20)
def test_an_error_is_one_message(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hack.cluster", "kubeconfig", "--name", "nobody"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env={"XPULLM_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: no cluster 'nobody' runs; `python -m hack.cluster up")
    assert "Traceback" not in done.stderr
