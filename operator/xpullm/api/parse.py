"""From a manifest to a typed object, with every problem as (field path, value, message).

It refuses what the API server refuses, as far as that can be known without the stored object;
contract tests hold both against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from xpullm.api.llmdeployment import LLMDeployment
from xpullm.api.meta import API_VERSION, ApiModel
from xpullm.api.tuningrecord import TuningRecord

VALUE_LIMIT = 80

_Resource = TypeVar("_Resource", bound=ApiModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `path` as in `spec.engine.args[0].name`, value, and the way out."""

    path: str
    value: str
    message: str

    def __str__(self) -> str:
        value = f" = {self.value}" if self.value else ""
        return f"{self.path or 'manifest'}{value}: {self.message}"


class ManifestError(Exception):
    """The manifest breaks rules of the API; `problems` has them all."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def parse(manifest: Mapping[str, Any], *, check: bool = True) -> LLMDeployment:
    """Read an LLMDeployment. Raises ManifestError.

    `check=False` skips the rules that the API server has already enforced on a stored object.
    """
    return _parse(LLMDeployment, manifest, check)


def parse_tuning_record(manifest: Mapping[str, Any], *, check: bool = True) -> TuningRecord:
    """Read a TuningRecord. Raises ManifestError."""
    return _parse(TuningRecord, manifest, check)


def _parse(kind: type[_Resource], manifest: Mapping[str, Any], check: bool) -> _Resource:
    if not isinstance(manifest, Mapping):
        raise ManifestError((Problem("", show(manifest), "must be a mapping"),))
    wrong = [
        Problem(field, show(manifest.get(field)), f"must be {want}")
        for field, want in (("apiVersion", API_VERSION), ("kind", kind.__name__))
        if manifest.get(field) != want
    ]
    if wrong:
        raise ManifestError(tuple(wrong))
    try:
        resource = _read(kind, _without_nulls(manifest))
    except ValidationError as error:
        raise ManifestError(tuple(_pydantic_problems(error))) from None
    if check:
        problems = tuple(violations(resource))
        if problems:
            raise ManifestError(problems)
    return resource


def _read(kind: type[_Resource], manifest: dict[str, Any]) -> _Resource:
    """A status that cannot be read is no status: it is derived anew at every pass."""
    try:
        return kind.model_validate(manifest)
    except ValidationError:
        if "status" not in manifest:
            raise
    del manifest["status"]
    return kind.model_validate(manifest)


def violations(model: BaseModel, path: str = "") -> Iterator[Problem]:
    """Every CEL rule and list-map or set law that the parsed model breaks, depth first."""
    for rule in getattr(type(model), "rules", ()):
        if rule.holds is not None and not rule.holds(model):
            yield Problem(join(path, rule.field), show(_lookup(model, rule.field)), rule.message)
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        below = join(path, info.alias or name)
        if isinstance(value, BaseModel):
            yield from violations(value, below)
        elif isinstance(value, tuple):
            yield from _duplicates(value, _list_keys(info.json_schema_extra), below)
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from violations(item, f"{below}[{index}]")


def _list_keys(extra: Any) -> tuple[str, ...] | None:
    """The keys of a list-map; () for a set; None for an atomic list."""
    kind = (extra or {}).get("x-kubernetes-list-type")
    if kind == "map":
        return tuple(extra["x-kubernetes-list-map-keys"])
    return () if kind == "set" else None


def _duplicates(
    items: tuple[Any, ...], keys: tuple[str, ...] | None, path: str
) -> Iterator[Problem]:
    if keys is None:
        return
    seen: set[tuple[Any, ...]] = set()
    for index, item in enumerate(items):
        raw = item.to_manifest() if isinstance(item, ApiModel) else item
        identity = tuple(raw.get(key) for key in keys) if keys else (raw,)
        if identity in seen:
            value = ", ".join(str(part) for part in identity)
            yield Problem(f"{path}[{index}]", show(value), "must not appear twice")
        seen.add(identity)


def _without_nulls(value: Any) -> Any:
    """The API server takes a null member for an absent one."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(below) for key, below in value.items() if below is not None}
    if isinstance(value, (list, tuple)):
        return [_without_nulls(item) for item in value]
    return value


def _pydantic_problems(error: ValidationError) -> Iterator[Problem]:
    for item in error.errors(include_url=False, include_context=True):
        path = ""
        for part in item["loc"]:
            path = f"{path}[{part}]" if isinstance(part, int) else join(path, str(part))
        shown = "" if item["type"] == "missing" else show(item["input"])
        yield Problem(path, shown, _say(item))


def _say(item: Any) -> str:
    kind, context = item["type"], item.get("ctx", {})
    match kind:
        case "missing":
            return "is required"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}"
        case "literal_error":
            return f"must be {context['expected']}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "model_type" | "model_attributes_type" | "dict_type" | "mapping_type":
            return "must be a mapping"
        case "tuple_type":
            return "must be a list"
        case "string_type":
            return "must be a string: write it in quotes"
        case "int_type" | "int_from_float":
            return "must be a whole number" + ", without quotes" * isinstance(item["input"], str)
        case "bool_type":
            return "must be true or false, without quotes"
        case "value_error":
            return str(context["error"])
    message = str(item["msg"])
    return message[:1].lower() + message[1:]


def _lookup(model: Any, field: str) -> Any:
    for part in field.split(".") if field else ():
        names = {info.alias or name: name for name, info in type(model).model_fields.items()}
        model = getattr(model, names[part])
    return None if isinstance(model, (BaseModel, Mapping)) else model


def join(path: str, field: str) -> str:
    return f"{path}.{field}" if path and field else path or field


def show(value: Any) -> str:
    """A value as one short line; manifests are input like any other."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else "?" for c in text[: VALUE_LIMIT + 1])
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 1] + "…"
