"""Manifests from files, folders or standard input, each with where it stands."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 100  # libyaml's composer recurses in C and would crash the process
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class InputError(Exception):
    """What the user gave can't be read; the message names file and place. Exit code 2."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One YAML document. `where` is "FILE" or "FILE, document N"."""

    where: str
    document: dict[str, Any]

    @property
    def name(self) -> str:
        metadata = self.document.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return name if isinstance(name, str) else "?"


def load(paths: Iterable[str], kind: str = "LLMDeployment") -> list[Manifest]:
    """All documents of `kind` in the files ("-": standard input), in order.

    Raises:
        InputError: a file can't be read or is not YAML, or none of `kind` is there.
    """
    found = [m for path in paths for m in documents(path) if m.document.get("kind") == kind]
    if not found:
        raise InputError(f"no {kind} in {', '.join(paths)}")
    return found


def read_text(path: str) -> str:
    """A file's text, "-" for standard input; at most MAX_FILE_BYTES."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_FILE_BYTES // 1024**2} MiB")
    return data.decode(errors="replace")


def documents(path: str) -> Iterator[Manifest]:
    """All documents of a file, of any kind.

    Raises:
        InputError: it can't be read, is not YAML, or holds something else than mappings.
    """
    try:
        text = read_text(path)
        if _depth(text) > MAX_DEPTH:
            raise InputError(f"{path}: nested more than {MAX_DEPTH} levels deep")
        loaded = list(yaml.load_all(text, Loader=LOADER))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {_one_line(error)}") from error
    for number, document in enumerate(loaded, 1):
        where = path if len(loaded) == 1 else f"{path}, document {number}"
        if isinstance(document, dict):
            yield Manifest(where, document)
        elif document is not None:
            raise InputError(f"{where}: must be a mapping, is {type(document).__name__}")


def _depth(text: str) -> int:
    """How deep collections are nested; counting stops beyond the limit."""
    depth = deepest = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return deepest


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())
