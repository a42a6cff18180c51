"""Runs `xpullm` in this process, as the shell would."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from xpullm.cli.main import build

EXAMPLES = Path(__file__).parents[3] / "examples"
SEED = str(EXAMPLES / "qwen2-7b-a770.yaml")


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """`shell("plan", "-f", FILE)`; standard input by `stdin`."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.capsys, self.patch = capsys, patch

    def __call__(self, *argv: str, stdin: bytes = b"") -> Ran:
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            build(list(argv))(list(argv))
        said = self.capsys.readouterr()
        return Ran(int(ended.value.code or 0), said.out, said.err)
