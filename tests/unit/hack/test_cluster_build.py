"""Programs are cached by what goes into them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hack.cluster import ClusterError, build, toolchain
from hack.cluster.build import CONTAINERD, CONTROL_PLANE, KUBELET, KUBERNETES, RUNTIME

_HERE = Path(build.__file__).parent


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPULLM_CACHE", str(tmp_path))


def test_every_input_is_in_the_key() -> None:
    parts = [CONTROL_PLANE, KUBELET, RUNTIME]
    parts += [replace(RUNTIME, tags=""), replace(KUBELET, ldflags="")]
    assert len({part.key() for part in parts}) == len(parts)


def test_versions_are_those_of_the_modules() -> None:
    assert f"k8s.io/kubernetes v{KUBERNETES} " in (_HERE / "go" / "go.mod").read_text()
    containerd = (_HERE / "containerd" / "go.mod").read_text()
    assert f"github.com/containerd/containerd/v2 v{CONTAINERD} " in containerd


def test_what_is_there_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_go", lambda: pytest.fail("asked for a compiler"))
    folder = KUBELET.folder()
    folder.mkdir(parents=True)
    (folder / "kubelet").touch()
    assert build.build(KUBELET) == {"kubelet": folder / "kubelet"}


def test_a_full_disk_is_said_before_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_go", lambda: Path("/bin/true"))
    monkeypatch.setattr(build, "_DISK_NEEDED_BYTES", 1 << 60)
    with pytest.raises(ClusterError, match=r"GiB free, the build needs .* set XPULLM_CACHE"):
        build.build(KUBELET)


def test_an_interrupted_build_leaves_nothing_that_looks_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "find_go", lambda: Path("/bin/true"))
    monkeypatch.setattr(build, "_build_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build.build(KUBELET)
    assert not KUBELET.folder().exists()
    assert not list(tmp_path.glob("cluster/build-*"))


def test_the_fetched_compiler_is_new_enough_for_the_modules() -> None:
    fetched = toolchain._numbers(toolchain._WHEEL.partition("==")[2])
    assert fetched >= toolchain.needed() >= (1, 26)


@pytest.mark.parametrize(
    ("answer", "version"),
    [("go version go1.26.6 linux/amd64", (1, 26, 6)), ("go version devel", ())],
)
def test_the_compilers_version(answer: str, version: tuple[int, ...], tmp_path: Path) -> None:
    program = tmp_path / "go"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    assert toolchain._version(str(program)) == version
