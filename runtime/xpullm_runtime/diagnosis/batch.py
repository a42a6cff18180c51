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
    old, flag = engine_of(pod)
    return {
        "id": raw.get("id"),
        "cause": found.cause,
        "phase": found.phase,
        "helps": found.helps,
        "first_move": first_move(found, raw.get("engine") or old or generation(log), flag),
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


# Flags that set the size of the KV pool: by these it is pinned, by the last one it is what is left.
_PINS = ("kv-cache-memory-bytes", "num-gpu-blocks-override")
_BUDGET = "gpu-memory-utilization"
_COMMAND_CHARS = 20_000


def engine_of(pod: Any, container: str = "engine") -> tuple[str, str]:
    """(engine's generation, flag that sets its KV pool) by a pod's own command, image and
    environment; "" for what they don't say."""
    spec = pod.get("spec") if isinstance(pod, Mapping) else None
    listed = spec.get("containers") if isinstance(spec, Mapping) else None
    all_of_it = [c for c in listed if isinstance(c, Mapping)] if isinstance(listed, list) else []
    chosen = next((c for c in all_of_it if c.get("name") == container), None)
    if chosen is None:
        return "", ""
    words = [word for key in ("command", "args") for word in _strings(chosen.get(key))]
    command = " ".join(words)[:_COMMAND_CHARS].replace("_", "-")
    image = chosen.get("image")
    told = {
        (entry.get("name"), entry.get("value"))
        for entry in chosen.get("env") or ()
        if isinstance(entry, Mapping) and isinstance(entry.get("value"), str)
    }
    old = "ipex-llm" in f"{image if isinstance(image, str) else ''} {command}"
    generation = "v0" if old or ("VLLM_USE_V1", "0") in told else ""
    if "--model" not in command and " serve " not in f" {command} ":
        return generation, ""
    return generation, next((flag for flag in _PINS if f"--{flag}" in command), _BUDGET)


def _strings(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def first_move(found: Diagnosis, engine: Any = None, pool_flag: str = "") -> str:
    """The first remedy for a cause on an engine's generation. Healing owns the whole ladder.

    `pool_flag`: what sets the size of the engine's KV pool, where that is known.
    """
    moves = causes()[found.cause]["first_move"]
    old = isinstance(engine, str) and any(word in engine.lower() for word in ("v0", "ipex"))
    outside = old and pool_flag not in _PINS
    move: str = moves.get("v0") if outside and "v0" in moves else moves["default"]
    if pool_flag:
        move = move.replace(_PINS[0], pool_flag)
    if "warmup_sequences" in found.figures:
        move = moves.get("sampler", move)
    if found.cause == "bad_arguments" and (derived := found.figures.get("max_model_len_derived")):
        move = f"lower max-model-len to {derived}"
    return move
