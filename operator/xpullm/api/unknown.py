"""Whether a manifest has fields that the API does not know, told from the models alone.

The models ignore unknown fields, as a stored object of a newer version may have them. What people
write should have none. `schema_problems` names them, but needs the whole schema; this is the quick
look before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel


def has_unknown_fields(kind: type[BaseModel], value: Any) -> bool:
    """Whether a mapping, read as `kind`, has a field that `kind` or a part of it does not."""
    if not isinstance(value, Mapping):
        return False  # of the wrong type: the models say so
    fields = {field.alias or name: field for name, field in kind.model_fields.items()}
    if kind.model_config.get("extra") != "allow" and not fields.keys() >= value.keys():
        return True
    return any(
        has_unknown_fields(below, item)
        for name, given in value.items()
        if name in fields
        for below in _models(fields[name].annotation)
        for item in _items(given)
    )


def _items(given: Any) -> Iterator[Any]:
    if isinstance(given, Sequence) and not isinstance(given, str):
        yield from given
    else:
        yield given


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
