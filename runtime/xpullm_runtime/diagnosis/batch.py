"""Rows in, rows out: what `xpullm diagnose --batch` reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .classify import classify
from .signatures import causes
from .types import Diagnosis, Evidence


def diagnose_row(row: Any) -> dict[str, Any]:
    """Diagnose {"id", "log", "exit_code", "pod"}.

    Returns {"id", "cause", "phase", "helps", "first_move", "evidence"}. Anything may be missing
    or of the wrong type; the answer is then `unknown`, never an error.
    """
    raw: Mapping[str, Any] = row if isinstance(row, Mapping) else {}
    log, code, pod = raw.get("log"), raw.get("exit_code"), raw.get("pod")
    if isinstance(log, list):
        log = "\n".join(line for line in log if isinstance(line, str))
    found = classify(
        Evidence(
            log=log if isinstance(log, str) else "",
            exit_code=code if isinstance(code, int) and not isinstance(code, bool) else None,
            pod=pod if isinstance(pod, Mapping) else None,
        )
    )
    return {
        "id": raw.get("id"),
        "cause": found.cause,
        "phase": found.phase,
        "helps": found.helps,
        "first_move": first_move(found, raw.get("engine") or generation(log)),
        "evidence": list(found.evidence),
    }


# What only the engines print whose activations are outside the memory budget: vLLM's V0 line and
# the fork of it in ipex-llm (vLLM worker/xpu_worker.py, engine/async_llm_engine.py; IPEX's texts).
_V0 = (
    "ipex_llm",
    "ipex-llm",
    "/vllm/worker/",
    "# GPU blocks:",
    "MQLLMEngine",
    "already allocated;",
)
_TAIL_CHARS = 200_000


def generation(log: Any) -> str:
    """ "v0" where the log shows an engine of that line, else ""."""
    if not isinstance(log, str):
        return ""
    return "v0" if any(mark in log[-_TAIL_CHARS:] for mark in _V0) else ""


def first_move(found: Diagnosis, engine: Any = None) -> str:
    """The first remedy for a cause on an engine's generation. Healing owns the whole ladder."""
    moves = causes()[found.cause]["first_move"]
    old = isinstance(engine, str) and any(word in engine.lower() for word in ("v0", "ipex"))
    move: str = moves.get("v0") if old and "v0" in moves else moves["default"]
    if "warmup_sequences" in found.figures:
        move = moves.get("sampler", move)
    if found.cause == "bad_arguments" and (derived := found.figures.get("max_model_len_derived")):
        move = f"lower max-model-len to {derived}"
    return move
