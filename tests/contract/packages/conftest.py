"""Published packages, read over the network. Without one a test is skipped; in CI it fails."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator

import pytest
from hack.packages.wheel import UnreachableError, Wheel


@pytest.fixture
def wheel() -> Iterator[Callable[[str, str], Wheel]]:
    """`wheel("vllm", "0.26.0")`, known to be readable."""

    def opened(name: str, version: str) -> Wheel:
        found = Wheel(name, version)
        try:
            assert found.names
        except UnreachableError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no package index: {error}")
        return found

    return opened


def literal_values(source: str, name: str) -> set[str]:
    """The strings of `NAME = Literal[...]`, or the keys of `NAME = {...}`, at module level."""
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id == name and value is not None:
            return {
                item.value
                for item in ast.walk(value)
                if isinstance(item, ast.Constant) and isinstance(item.value, str)
            }
    raise AssertionError(f"{name} is not defined")
