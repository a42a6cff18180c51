"""catalog/data/flags.json: the command line of each vLLM release, read from its published wheel.

    python -m hack.generate flags

The sources are parsed with `ast`, never imported. A flag is what some `add_argument` call names;
newer releases make flags of the fields of config classes, and a boolean field has a `--no-` form.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hack.packages.wheel import PackageError, Wheel

TARGET = Path(__file__).resolve().parents[2] / "operator/xpullm/catalog/data/flags.json"

# Name in the catalogue -> release. Intel's images are built from these (catalog/data/engines.toml).
RELEASES = {
    "0.6.6": "0.6.6.post1",
    **{
        version: version
        for version in (
            "0.8.3", "0.8.5", "0.9.0", "0.10.0", "0.10.2", "0.11.1", "0.14.1", "0.16.0", "0.17.0",
            "0.19.1", "0.21.0", "0.23.0", "0.24.0", "0.25.0", "0.26.0", "0.32.0", "0.33.0",
        )
    },
}  # fmt: skip

# Where `vllm serve` gets its flags from; cli_args.py moved twice, config.py became a package.
_PARSERS = re.compile(r"vllm/(engine/arg_utils|entrypoints/cli/serve|entrypoints/\w+/cli_args)\.py")
_CONFIGS = re.compile(r"vllm/config(/[^/]+)?\.py|vllm/engine/arg_utils\.py")
_FRONTEND = re.compile(r"(Base)?FrontendArgs")

Fields = Mapping[str, str]


def vllm_flags(wheel: Wheel) -> list[str]:
    """Long flags of `vllm serve`, without dashes, sorted."""
    parsers = [ast.parse(wheel.text(name)) for name in wheel.names if _PARSERS.fullmatch(name)]
    if len(parsers) < 2:
        raise PackageError(f"{wheel.name} {wheel.version}: the modules with its flags have moved")
    configs = [ast.parse(wheel.text(name)) for name in wheel.names if _CONFIGS.fullmatch(name)]
    return flags_of(parsers, config_fields(configs))


def flags_of(parsers: Iterable[ast.Module], classes: Mapping[str, Fields]) -> list[str]:
    """The flags that these modules add, given the annotated fields of config classes."""
    found: set[str] = set()
    for module in parsers:
        sources = dict(_kwargs_variables(module))
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                found.update(_of_call(node, sources, classes))
            elif isinstance(node, ast.ClassDef) and _FRONTEND.fullmatch(node.name):
                for field, annotation in _fields(node):
                    found.update(_both(field.replace("_", "-"), _is_bool(annotation)))
    return sorted(found)


def config_fields(modules: Iterable[ast.Module]) -> dict[str, Fields]:
    """Class name -> field -> annotation as source, inherited fields included."""
    nodes = {
        node.name: node
        for module in modules
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
    }
    return {name: dict(_inherited(node, nodes)) for name, node in nodes.items()}


def _inherited(node: ast.ClassDef, nodes: Mapping[str, ast.ClassDef]) -> Iterator[tuple[str, str]]:
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in nodes and base.id != node.name:
            yield from _inherited(nodes[base.id], nodes)
    yield from _fields(node)


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, ast.unparse(statement.annotation)


def _kwargs_variables(module: ast.Module) -> Iterator[tuple[str, str]]:
    """`model_kwargs = get_kwargs(ModelConfig)` -> ("model_kwargs", "ModelConfig")."""
    for node in ast.walk(module):
        match node:
            case ast.Assign(
                targets=[ast.Name(id=variable)],
                value=ast.Call(func=ast.Name(id="get_kwargs"), args=[ast.Name(id=cls)]),
            ):
                yield variable, cls


def _of_call(
    call: ast.Call, sources: Mapping[str, str], classes: Mapping[str, Fields]
) -> Iterator[str]:
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"):
        return
    both = any(_is_optional_bool(keyword, sources, classes) for keyword in call.keywords)
    for argument in call.args:
        if isinstance(argument, ast.Constant) and str(argument.value).startswith("--"):
            yield from _both(str(argument.value)[2:], both)


def _is_optional_bool(
    keyword: ast.keyword, sources: Mapping[str, str], classes: Mapping[str, Fields]
) -> bool:
    """`action=BooleanOptionalAction`, or `**model_kwargs["field"]` of a boolean field."""
    if keyword.arg is not None:
        return keyword.arg == "action" and "BooleanOptional" in ast.unparse(keyword.value)
    for node in ast.walk(keyword.value):
        match node:
            case ast.Subscript(value=ast.Name(id=variable), slice=ast.Constant(value=field)):
                return _is_bool(classes.get(sources.get(variable, ""), {}).get(str(field), ""))
    return False


def _is_bool(annotation: str) -> bool:
    """Whether vLLM gives the field a `--no-` form (get_kwargs: bool, but not bool-or-string)."""
    return re.search(r"\bbool\b", annotation) is not None and not re.search(r"\bstr\b", annotation)


def _both(flag: str, both: bool) -> Iterator[str]:
    yield flag
    if both:
        yield f"no-{flag}"


def generated() -> str:
    """flags.json, from the package index (or the cache)."""
    lists = {name: vllm_flags(Wheel("vllm", release)) for name, release in RELEASES.items()}
    return json.dumps(lists, indent=0) + "\n"
