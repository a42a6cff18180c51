"""The package runs from a zip, as in the engine's container, with nothing else beside it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import xpullm_runtime

PACKAGE = Path(xpullm_runtime.__file__).parent
CODE = (
    "from xpullm_runtime.diagnosis import *; "
    "print(classify(Evidence(log='MemoryError')).cause, len(signatures()) > 100)"
)


@pytest.mark.timeout(60)
def test_it_runs_from_a_zip(tmp_path):
    archive = tmp_path / "runtime.pyz"
    with zipfile.ZipFile(archive, "w") as target:
        for path in PACKAGE.rglob("*"):
            if path.suffix in (".py", ".json"):
                target.write(path, Path("xpullm_runtime") / path.relative_to(PACKAGE))
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(archive)!r}); {CODE}"],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "host_oom True"), done.stderr
