"""How a plan, or the lack of one, is told to people and to programs."""

from __future__ import annotations

import shlex
from textwrap import wrap
from typing import Any

from xpullm.api import format_bytes
from xpullm.catalog import find_engine
from xpullm.cli.manifests import Manifest
from xpullm.cli.membar import GIB, gib, memory_bar
from xpullm.planner import encode
from xpullm.planner.types import Infeasible, Ledger, Plan, Refusal, Term
from xpullm.resources.command import engine_argv

Result = Plan | Infeasible | Refusal
COLUMNS = 79


def folded(text: str, indent: str = "") -> list[str]:
    """The text in lines of at most 79 columns, the second and later ones indented by two more."""
    return wrap(
        text,
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def text(name: str, result: Result, explain: bool) -> str:
    if isinstance(result, Refusal):
        field = f"{result.field}: {result.value}" if result.value else result.field
        lines = [f"{name}: refused ({result.reason})"]
        return "\n".join(lines + folded(field, "  ") + folded(result.message, "  "))
    if isinstance(result, Infeasible):
        return "\n".join(infeasible_lines(name, result, explain))
    return "\n".join(plan_lines(name, result, explain))


def plan_lines(name: str, plan: Plan, explain: bool) -> list[str]:
    ledger = plan.ledger
    cards = f"{plan.gpu_count} x {plan.gpu}" if plan.gpu_count > 1 else plan.gpu
    lines = [
        *folded(
            f"{name}: {plan.model}, {plan.quantization}, on {cards} with {plan.engine} "
            f"{plan.engine_version}"
        ),
        *folded(
            f"context {plan.context_length} tokens, {plan.concurrency} "
            f"{'sequence' if plan.concurrency == 1 else 'sequences'}; "
            f"KV cache {ledger.kv_cache_tokens} tokens; "
            f"uses {plan.utilization_percent} % of visible memory",
            "  ",
        ),
        f"  device memory, {gib(ledger.visible_bytes)} visible"
        + (" on each card" if plan.gpu_count > 1 else ""),
        *memory_bar(ledger),
        f"  host memory: request {gib(plan.host.request_bytes)}, "
        f"limit {gib(plan.host.limit_bytes)}, /dev/shm {gib(plan.host.shm_bytes)}",
        "  arguments:",
        *(f"    --{flag}" if v is None else f"    --{flag} {v}" for flag, v in plan.flags),
    ]
    if plan.env:
        lines += ["  environment:", *(f"    {name}={v}" for name, v in sorted(plan.env.items()))]
    for note in plan.notes:
        lines += folded(f"note: {note}", "  ")
    return lines + (explained(ledger, plan.host.terms) if explain else [])


def infeasible_lines(name: str, result: Infeasible, explain: bool) -> list[str]:
    lines = [f"{name}: does not fit"]
    lines += folded(result.message, "  ")
    if result.ledger:
        lines += [f"  device memory, {gib(result.ledger.visible_bytes)} visible"]
        lines += memory_bar(result.ledger)
    if result.alternatives:
        lines.append("  what fits:")
        for alternative in result.alternatives:
            lines += folded(alternative.text, "    ")
    return lines + (explained(result.ledger, ()) if explain and result.ledger else [])


def explained(ledger: Ledger, host: tuple[Term, ...]) -> list[str]:
    lines = []
    for title, terms in (("device", ledger.terms), ("host", host)):
        for term in terms:
            lines.append(f"  {title}: {term.name} = {term.bytes / GIB:.3f} GiB")
            for label in ("formula", "inputs", "source"):
                detail = getattr(term, label)
                lines += folded(f"{label}: {detail}", "      ") if detail else []
    return lines


def value(manifest: Manifest, result: Result) -> dict[str, Any]:
    """The machine-readable form; `result` tells which of the three it is."""
    head: dict[str, Any] = {"name": manifest.name, "source": manifest.where}
    if isinstance(result, Plan):
        return head | {"result": "plan", "plan": encode(result)}
    if isinstance(result, Refusal):
        fields = ("reason", "field", "value", "message")
        return head | {"result": "refused", **{f: getattr(result, f) for f in fields}}
    return head | {
        "result": "infeasible",
        "reason": result.reason,
        "message": result.message,
        "term": result.term,
        "missingBytes": result.missing_bytes,
        "alternatives": [
            {
                "field": a.field,
                "value": a.value,
                "contextLength": a.context_length,
                "concurrency": a.concurrency,
                "text": a.text,
            }
            for a in result.alternatives
        ],
    }


def argument_line(manifest: Manifest, result: Result) -> str:
    """The engine's command line, quoted for a POSIX shell; a comment where there is no plan."""
    if not isinstance(result, Plan):
        return f"# {result.reason}: {result.message}"
    entry = find_engine(result.engine, result.engine_version)
    serving = manifest.document["spec"].get("serving") or {}
    argv = engine_argv(
        result,
        result.model,
        positional=entry is not None and entry.model_argument == "positional",
        revision=result.revision or None,
        served_names=serving.get("servedNames") or (),
    )
    return shlex.join(argv)


def helm_values(manifest: Manifest, result: Result) -> dict[str, Any]:
    """Values in the shape that vLLM charts share: image, resources, extra arguments."""
    if not isinstance(result, Plan):
        return {"error": f"{result.reason}: {result.message}"}
    arguments = []
    for flag, flag_value in result.flags:
        arguments += [f"--{flag}"] if flag_value is None else [f"--{flag}", flag_value]
    return {
        "name": manifest.name,
        "modelURL": result.model,
        "image": result.image,
        "args": arguments,
        "env": [{"name": k, "value": v} for k, v in sorted(result.env.items())],
        "requestGPU": result.gpu_count,
        "resources": {
            "requests": {"memory": format_bytes(result.host.request_bytes)},
            "limits": {"memory": format_bytes(result.host.limit_bytes)},
        },
        "shmSize": format_bytes(result.host.shm_bytes),
    }
