"""catalog/data/flagvalues.json: what the flags of each vLLM release take, where that is a number or
one of a few words, read from its published wheel.

    python -m hack.generate flags

Written with flags.json: parsed with `ast`, never imported. A flag without an entry takes any text.
Releases hold only what differs from the one before; null: no longer checked.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hack.generate.flags import (
    _CONFIGS,
    _PARSERS,
    RELEASES,
    Fields,
    _kwargs_variables,
    config_fields,
)
from hack.packages.wheel import Wheel

TARGET = Path(__file__).resolve().parents[2] / "operator/xpullm/catalog/data/flagvalues.json"

# "int", "float", or the words.
Kind = str | list[str]


def flag_values(wheel: Wheel) -> dict[str, Kind]:
    """Flag without dashes -> what it takes, sorted."""
    parsers = [ast.parse(wheel.text(n)) for n in wheel.names if _PARSERS.fullmatch(n)]
    configs = [ast.parse(wheel.text(n)) for n in wheel.names if _CONFIGS.fullmatch(n)]
    return values_of(parsers, config_fields(configs), aliases_of(configs))


def aliases_of(modules: Iterable[ast.Module]) -> dict[str, ast.expr]:
    """`ModelDType = Literal[...]` at module level -> its value."""
    found: dict[str, ast.expr] = {}
    for module in modules:
        for node in module.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found[node.targets[0].id] = node.value
    return found


def values_of(
    parsers: Iterable[ast.Module], classes: Mapping[str, Fields], aliases: Mapping[str, ast.expr]
) -> dict[str, Kind]:
    """What the `add_argument` calls of these modules take."""
    found: dict[str, Kind] = {}
    for module in parsers:
        sources = dict(_kwargs_variables(module))
        for node in ast.walk(module):
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "add_argument"
            ):
                continue
            kind = _of_keywords(node.keywords, sources, classes, aliases)
            for argument in node.args:
                flag = argument.value if isinstance(argument, ast.Constant) else None
                if kind and isinstance(flag, str) and flag.startswith("--"):
                    found[flag[2:]] = kind
    return dict(sorted(found.items()))


def _of_keywords(
    keywords: Iterable[ast.keyword],
    sources: Mapping[str, str],
    classes: Mapping[str, Fields],
    aliases: Mapping[str, ast.expr],
) -> Kind | None:
    """`choices=[...]` or `type=int`, or `**model_kwargs["field"]` of an annotated field."""
    given = {k.arg: k.value for k in keywords if k.arg}
    if isinstance(choices := given.get("choices"), (ast.List, ast.Tuple)):
        words = [c.value for c in choices.elts if isinstance(c, ast.Constant)]
        return [str(w) for w in words] if len(words) == len(choices.elts) else None
    if given.keys() & {"choices", "action", "nargs"}:
        return None
    if isinstance(kind := given.get("type"), ast.Name):
        return kind.id if kind.id in ("int", "float") else None
    if given.keys() & {"type"}:
        return None
    for keyword in keywords:
        match keyword:
            case ast.keyword(
                arg=None,
                value=ast.Subscript(value=ast.Name(id=variable), slice=ast.Constant(value=field)),
            ):
                annotation = classes.get(sources.get(variable, ""), {}).get(str(field), "")
                if annotation:
                    return _of_annotation(ast.parse(annotation, mode="eval").body, aliases)
    return None


def _of_annotation(node: ast.expr, aliases: Mapping[str, ast.expr]) -> Kind | None:
    members = list(_members(node, aliases, 0))
    if not members or None in members:
        return None
    if all(m in ("int", "float") for m in members):
        return "float" if "float" in members else "int"
    if all(m is not None and m.startswith("=") for m in members):
        words = {m[1:] for m in members if m}
        return sorted(words, key=lambda w: (int(w) if w.isdecimal() else 0, w))
    return None


def _members(node: ast.expr, aliases: Mapping[str, ast.expr], depth: int) -> Iterator[str | None]:
    """int, float, "=word" of each member of a union; None for anything else. None itself is left
    out: it is what is not given."""
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield from _members(left, aliases, depth)
            yield from _members(right, aliases, depth)
        case ast.Subscript(value=ast.Name(id="Optional" | "Union" | "SkipValidation"), slice=inner):
            for element in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
                yield from _members(element, aliases, depth)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            for element in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
                value = element.value if isinstance(element, ast.Constant) else None
                yield f"={value}" if isinstance(value, (str, int)) else None
        case ast.Constant(value=None) | ast.Attribute(value=ast.Name(id="torch"), attr="dtype"):
            return  # not given, and what no command line can give
        case ast.Name(id="int" | "float" as name):
            yield name
        case ast.Name(id=name) if name in aliases and depth < 4:
            yield from _members(aliases[name], aliases, depth + 1)
        case _:
            yield None


def generated() -> str:
    """flagvalues.json, from the package index (or the cache)."""
    result: dict[str, dict[str, Kind | None]] = {}
    before: dict[str, Kind] = {}
    for name, release in RELEASES.items():
        now = flag_values(Wheel("vllm", release))
        gone: dict[str, Kind | None] = dict.fromkeys(before.keys() - now.keys())
        changed = {f: k for f, k in now.items() if before.get(f) != k}
        result[name] = dict(sorted({**gone, **changed}.items()))
        before = now
    return json.dumps(result, separators=(",", ":")).replace('},"', '},\n"') + "\n"
