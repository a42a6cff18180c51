"""What a command does not need, it does not import: the shell's patience is the budget."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.unit.cli.shell import SEED

ONLY_OPERATOR = {
    "kopf", "kubernetes", "aiohttp", "asyncio", "prometheus_client", "requests", "rich", "ssl",
    "xpullm.controller", "xpullm.healing", "xpullm.api.crd",
}  # fmt: skip
PROGRAM = """
import sys
from xpullm.cli.main import main
try:
    main()
except SystemExit as end:
    print("\\n".join(sys.modules), file=sys.stderr)
    raise
"""


@pytest.mark.timeout(60)  # a process of its own
@pytest.mark.parametrize("command", [["plan", "-f", SEED], ["estimate", "--batch"]])
def test_the_operator_s_libraries_stay_out(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command], input="", capture_output=True, text=True
    )
    assert done.returncode == 0
    imported = set(done.stderr.split())
    assert f"xpullm.cli.{command[0]}" in imported
    assert imported & ONLY_OPERATOR == set()
