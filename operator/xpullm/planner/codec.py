"""Plans as JSON and back, and the hashes that identify inputs and plans."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from xpullm.planner.types import Arguments, HostMemory, Ledger, Plan, Term

if TYPE_CHECKING:
    from xpullm.api import LLMDeploymentSpec

# Parts of the spec that no plan depends on.
_NOT_PLANNED = ("replicas", "suspend", "service", "healing")
# Fields of a plan that are about the plan, not what runs.
_NOT_HASHED = ("hash", "notes", "ledger")


def encode(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON object; `decode` gives the same plan back."""
    return {f.name: _encode(getattr(plan, f.name)) for f in fields(plan)}


def _encode(value: Any) -> Any:
    if isinstance(value, (str, int, float, type(None))):
        return value
    if isinstance(value, Mapping):
        return {str(k): _encode(v) for k, v in sorted(value.items())}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_encode(v) for v in value]
    return {f.name: _encode(getattr(value, f.name)) for f in fields(value)}


def decode(data: Mapping[str, Any]) -> Plan:
    """The plan that `encode` wrote. Fields of a newer version are ignored. Raises KeyError,
    TypeError or ValueError for what is no plan."""
    ledger = {**data["ledger"], "terms": _terms(data["ledger"].get("terms", ()))}
    host = {**data["host"], "terms": _terms(data["host"].get("terms", ()))}
    arguments = dict(data["arguments"])
    arguments["extra"] = _pairs(arguments.get("extra", ()))
    arguments["user"] = frozenset(arguments.get("user", ()))
    values = {
        **data,
        "arguments": Arguments(**_known(Arguments, arguments)),
        "ledger": Ledger(**_known(Ledger, ledger)),
        "host": HostMemory(**_known(HostMemory, host)),
        "flags": _pairs(data["flags"]),
        "env": MappingProxyType(dict(data.get("env", {}))),
    }
    for name in ("command", "env_scripts", "avoid_nodes", "notes"):
        values[name] = tuple(data.get(name, ()))
    return Plan(**_known(Plan, values))


def _known(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    return {k: v for k, v in values.items() if k in names}


def _terms(rows: Any) -> tuple[Term, ...]:
    return tuple(Term(**_known(Term, row)) for row in rows)


def _pairs(rows: Any) -> tuple[tuple[str, str | None], ...]:
    return tuple((row[0], row[1]) for row in rows)


def plan_hash(plan: Plan) -> Plan:
    """The plan with its hash: of everything that runs, not of the explanations."""
    content = {f.name: getattr(plan, f.name) for f in fields(plan) if f.name not in _NOT_HASHED}
    content["host"] = (plan.host.request_bytes, plan.host.limit_bytes, plan.host.shm_bytes)
    return replace(plan, hash=_digest(_encode(content)))


def inputs_hash(spec: LLMDeploymentSpec) -> str:
    """Hash of the plan-relevant spec: without replicas, suspend, service and healing."""
    # Without defaults: a field that a newer operator adds must not change what is stored.
    manifest = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return _digest({k: v for k, v in manifest.items() if k not in _NOT_PLANNED})


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
