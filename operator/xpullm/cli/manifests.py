"""Manifests from files, folders or standard input, each with where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xpullm.cli.inputs import InputError, read_text

MAX_DEPTH = 100  # libyaml's composer recurses in C and would crash the process
MAX_NODES = 1_000_000  # with what aliases repeat; a thousand deployments with status are less
SUFFIXES = (".yaml", ".yml", ".json")  # what kubectl reads of a folder
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class LOADER(_SAFE):  # type: ignore[misc]
    """A key that is there twice is an error, as for kubectl; YAML libraries take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(None, None, f"{key.value!r} twice", key.start_mark)
                seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


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
    """All documents of `kind` in the files and folders ("-": standard input), in order.

    Raises:
        InputError: a file can't be read or is not YAML, or none of `kind` is there.
    """
    every = [m for path in paths for file in files(path) for m in documents(file)]
    found = [m for m in every if m.document.get("kind") == kind]
    if not found:
        others = sorted({str(m.document.get("kind", "no kind"))[:63] for m in every})
        there = f"; there is {', '.join(others[:5])}" if others else ""
        raise InputError(f"no {kind} in {', '.join(paths)}{there}")
    return found


def files(path: str) -> list[str]:
    """The path itself, or the manifests of a folder by name, without those of folders below."""
    if not Path(path).is_dir():
        return [path]
    try:
        return sorted(str(file) for file in Path(path).iterdir() if file.suffix in SUFFIXES)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def documents(path: str) -> Iterator[Manifest]:
    """All documents of a file, of any kind; the items of a List are documents of their own.

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
    if _endless(loaded):
        raise InputError(f"{path}: aliases repeat themselves too often")
    for number, document in enumerate(loaded, 1):
        where = path if len(loaded) == 1 else f"{path}, document {number}"
        if isinstance(document, dict):
            items = document.get("items") if document.get("kind") == "List" else None
            for item in items if isinstance(items, list) else [document]:
                if isinstance(item, dict):
                    yield Manifest(where, item)
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


def _endless(loaded: list[Any]) -> bool:
    """Whether aliases make more of a file than anybody wrote, or contain themselves."""
    left, nodes = list(loaded), 0
    while left and nodes <= MAX_NODES:
        node = left.pop()
        nodes += 1
        if isinstance(node, dict):
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)
    return bool(left)


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split()).replace(' in "<unicode string>",', " at")
