"""The Containerfile, read and, without a container engine, carried out in a folder.

So that tests run the commands that make the image, and the test cluster runs what they made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hack.bootstrap import find_uv

ROOT = Path(__file__).resolve().parents[1]
# What the build stage writes, as named there; elsewhere it lies below the folder given.
_OUTPUTS = re.compile(r"(?<![\w./])/(app|xpullm-runtime\.pyz)\b")


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next."""

    base: str
    instructions: tuple[tuple[str, str], ...]  # (word, the rest of the line)

    def all(self, word: str) -> list[str]:
        """Arguments of every instruction of that name."""
        return [argument for name, argument in self.instructions if name == word]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        return dict(pair.split("=", 1) for line in self.all("ENV") for pair in line.split())


def stages(text: str) -> list[Stage]:
    """The stages of a Containerfile.

    Raises:
        ValueError: it does not begin with FROM.
    """
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for line in filter(None, map(str.strip, lines.replace("\\\n", " ").splitlines())):
        word, _, rest = line.partition(" ")
        argument = " ".join(rest.split())
        if word == "FROM":
            found.append((argument, []))
        elif not found:
            raise ValueError(f"{line!r} stands before the first FROM")
        else:
            found[-1][1].append((word, argument))
    return [Stage(base, tuple(instructions)) for base, instructions in found]


@dataclass(frozen=True, slots=True)
class Built:
    """What the last stage copies, and how it starts."""

    files: Mapping[str, Path]  # path in the image -> here
    environment: Mapping[str, str]
    command: tuple[str, ...]


def build(folder: Path) -> Built:
    """Run the build stage's commands with this Python, in `folder`.

    Raises:
        subprocess.CalledProcessError: a command failed; its output was shown.
    """
    first, last = stages((ROOT / "Containerfile").read_text())
    source = folder / "src"
    source.mkdir(parents=True)
    for line in first.all("COPY"):
        *names, _ = line.split()
        for name in names:
            _copy(ROOT / name, source / name)
    uv = find_uv()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("UV_", "VIRTUAL"))
    }
    environment |= {n: _here(v, folder) for n, v in first.environment.items()}
    environment |= {
        "PATH": f"{uv.parent}:{environment['PATH']}",
        "UV_PYTHON": str(getattr(sys, "_base_executable", sys.executable)),
        "UV_COMPILE_BYTECODE": "0",  # slow, and of use only where the image is made
    }
    for line in first.all("RUN"):
        if line.startswith("pip install "):
            continue  # uv itself
        command = ["/bin/sh", "-euc", _here(line, folder)]
        subprocess.run(command, cwd=source, env=environment, check=True, stdin=subprocess.DEVNULL)
    files = {}
    for line in last.all("COPY"):
        _, made, target = line.split()
        files[target] = Path(_here(made, folder))
    (entrypoint,) = last.all("ENTRYPOINT")
    return Built(files, last.environment, tuple(json.loads(entrypoint)))


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _here(text: str, folder: Path) -> str:
    return _OUTPUTS.sub(rf"{folder}/\1", text)
