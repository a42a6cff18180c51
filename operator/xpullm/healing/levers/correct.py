"""Correct an argument of our own that the engine refused: a value it names, or a flag it lacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from xpullm.healing.ladder import Move
from xpullm.healing.levers.common import Answer, proposal, user_rejection, with_field
from xpullm.healing.situation import Rejection, Situation, Why
from xpullm.planner.types import Arguments

Change = tuple[str, str, str, Arguments]  # flag, before, after, all arguments
Correction = Callable[[Situation, "re.Match[str]"], Change | None]


def correct(situation: Situation, _move: Move) -> Answer:
    """The first correction whose sentence stands in the evidence."""
    for line in situation.diagnosis.evidence:
        for pattern, correction in CORRECTIONS:
            if (found := pattern.search(line)) is None:
                continue
            if (made := correction(situation, found)) is None:
                continue
            lever, before, after, arguments = made
            if owned := user_rejection(situation, lever, before):
                return owned
            if arguments == situation.arguments:
                continue
            return proposal(
                lever,
                before,
                after,
                situation.replan(arguments),
                "the engine refused it",
                direction=_sign(before, after),
                relief_bytes=1,
            )
    return Rejection("correct-arguments", Why.NOT_APPLICABLE, "the log names no value to use")


def _sign(before: str, after: str) -> int:
    try:
        return (float(after) > float(before)) - (float(after) < float(before))
    except ValueError:
        return 0


def _derived_length(situation: Situation, found: re.Match[str]) -> Change | None:
    length = int(found["value"])
    if not situation.wish.min_context <= length < situation.arguments.max_model_len:
        return None
    return _changed(situation.arguments, "max_model_len", length)


def _tokens_at_least(situation: Situation, found: re.Match[str]) -> Change | None:
    arguments, least = situation.arguments, int(found["value"])
    if not arguments.max_num_batched_tokens < least <= arguments.max_model_len:
        return None
    return _changed(arguments, "max_num_batched_tokens", least)


def _sequences_at_most(situation: Situation, found: re.Match[str]) -> Change | None:
    most = int(found["value"])
    if not situation.wish.min_concurrency <= most < situation.arguments.max_num_seqs:
        return None
    return _changed(situation.arguments, "max_num_seqs", most)


def _changed(arguments: Arguments, field: str, value: int) -> Change:
    flag, before = field.replace("_", "-"), str(getattr(arguments, field))
    return flag, before, str(value), with_field(arguments, field, value)


def _unknown_flag(situation: Situation, found: re.Match[str]) -> Change | None:
    """Leave out a flag that this image's engine does not know."""
    flag = found["flag"]
    arguments = situation.arguments
    if flag == "kv-cache-memory-bytes" and arguments.gpu_memory_utilization is None:
        return None  # nothing else would bound the pool
    optional = {
        "kv-cache-memory-bytes": "kv_cache_memory_bytes",
        "num-gpu-blocks-override": "num_gpu_blocks_override",
        "block-size": "block_size",
        "enable-chunked-prefill": "enable_chunked_prefill",
        "no-enable-chunked-prefill": "enable_chunked_prefill",
        "swap-space": "swap_space_gib",
        "cpu-offload-gb": "cpu_offload_gib",
        "dtype": "dtype",
    }
    field = optional.get(flag)
    if field is not None and getattr(arguments, field) is not None:
        return flag, str(getattr(arguments, field)), "", with_field(arguments, field, None)
    extra = tuple(item for item in arguments.extra if item[0] != flag)
    if extra == arguments.extra:
        return None
    before = next((value or "on" for name, value in arguments.extra if name == flag), "on")
    return flag, before, "", replace(arguments, extra=extra)


# The sentences are vLLM's: config/model.py, config/scheduler.py, and argparse.
CORRECTIONS: tuple[tuple[re.Pattern[str], Correction], ...] = (
    (
        re.compile(
            r"User-specified max_model_len \(\d+\) is greater than the derived max_model_len "
            r"\((?:[\w.]+=)?(?P<value>\d{1,9})"
        ),
        _derived_length,
    ),
    (
        re.compile(
            r"max_num_batched_tokens \(\d+\) is smaller than max_model_len \((?P<value>\d{1,9})\)"
        ),
        _tokens_at_least,
    ),
    (
        re.compile(
            r"max_num_batched_tokens \((?P<value>\d{1,9})\) must be greater than or equal to "
            r"max_num_seqs"
        ),
        _sequences_at_most,
    ),
    (re.compile(r"unrecognized arguments:.*?--(?P<flag>[a-z][a-z0-9-]{1,60})"), _unknown_flag),
)
