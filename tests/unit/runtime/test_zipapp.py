"""One file for every image: any Python from 3.10 on, nothing installed, no environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import xpullm_runtime
from xpullm_runtime.build import SHEBANG, archive, write
from xpullm_runtime.report import decode

pytestmark = pytest.mark.timeout(20)
ROOT = Path(__file__).parents[3]
DEBIANS = Path("/usr/bin/python3")
PYTHONS = [sys.executable, *([str(DEBIANS)] if DEBIANS.exists() else [])]


@pytest.fixture
def pyz(tmp_path: Path) -> Path:
    path = tmp_path / "xpullm-runtime.pyz"
    write(path, archive())
    return path


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xpullm_runtime.build"]
    for name, seed in (("a", "1"), ("b", "2")):
        env = {"PYTHONPATH": str(ROOT / "runtime"), "PYTHONHASHSEED": seed, "TZ": f"UTC+{seed}"}
        subprocess.run([*command, str(tmp_path / name)], env=env, check=True, umask=int(seed))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes().startswith(SHEBANG)
    assert os.access(tmp_path / "a", os.X_OK)


@pytest.mark.parametrize("python", PYTHONS)
def test_it_runs_isolated_without_site_packages_and_environment(
    pyz: Path, tmp_path: Path, python: str
) -> None:
    message = tmp_path / "message"
    done = subprocess.run(
        [python, "-I", "-S", str(pyz), "run", "--termination-log", str(message),
         "--runtime-port", "0", "--", python, "-c", "print('served')"],
        env={},
        capture_output=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"served\n"), done.stderr
    report = decode(message.read_bytes())
    assert report is not None
    assert report.ended


def test_the_init_container_copies_it_in_one_step(pyz: Path, tmp_path: Path) -> None:
    target = tmp_path / "xpullm"
    for _ in range(2):  # a restarted init container writes over the file in use
        done = subprocess.run(
            [sys.executable, "-I", str(pyz), "install", "--to", str(target)],
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == f"{target}/runtime.pyz\n"
    assert [path.name for path in target.iterdir()] == ["runtime.pyz"]
    assert (target / "runtime.pyz").read_bytes() == pyz.read_bytes()
    assert (target / "runtime.pyz").stat().st_mode & 0o777 == 0o755


def test_a_probe_without_a_supervisor_fails(pyz: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(pyz), "probe", "liveness", "--port", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Connection refused" in done.stdout


def test_versions_agree(pyz: Path) -> None:
    done = subprocess.run([str(pyz), "version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == version("xpullm") == xpullm_runtime.__version__


def test_it_imports_the_standard_library_only() -> None:
    imported = re.compile(r"^\s*(?:from|import) ([a-z_A-Z]\w*)", re.MULTILINE)
    found: set[str] = set()
    for path in (ROOT / "runtime").rglob("*.py"):
        found |= set(imported.findall(path.read_text()))
    assert found <= sys.stdlib_module_names | {"xpullm_runtime"}
