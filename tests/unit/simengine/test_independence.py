"""The simulated engine must be a second opinion: it may not know what it is used to test."""

import ast
import sys
from pathlib import Path

import hack.simengine
import pytest

_FILES = sorted(Path(next(iter(hack.simengine.__path__))).glob("*.py"))


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.name)
def test_it_imports_the_standard_library_and_itself_only(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            roots = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots = [(node.module or "").partition(".")[0]]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, "only modules beside it"
            continue
        else:
            continue
        assert set(roots) <= set(sys.stdlib_module_names)


def test_there_are_files_to_check() -> None:
    assert {"rules_v0.py", "rules_v1.py", "core.py"} <= {file.name for file in _FILES}
