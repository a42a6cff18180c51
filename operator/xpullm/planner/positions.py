"""How long a context the engine takes: positions of a config.json and their rope scaling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xpullm.planner.fields import FactsError, Fields

_FACTOR_LIMIT = 1024
# Types whose max_position_embeddings is the scaled length already (vLLM config/model.py,
# _get_and_verify_max_len). The legacy names su and mrope are those of longrope and default.
_SCALED_ALREADY = frozenset({"su", "longrope", "llama3"})

# Positions of a video run on with its length: mrope.py, cache_max_position_num.
_MROPE_TIMES = 4


def longest_context(fields: Fields, model_type: str, unsure: list[str]) -> int:
    """The longest max-model-len that the engine takes, tokens (vLLM config/model.py,
    _get_and_verify_max_len). Raises FactsError for a scaling that is no number."""
    longest = fields.optional("max_position_embeddings")
    if not longest:
        unsure.append("max_position_embeddings is missing; 4096 assumed")
        longest = 4096
    if "gemma3" in model_type:  # scaled already, whatever its type
        return longest
    factor = 1.0
    for scaling in _scalings(fields):
        kind = _kind(scaling)
        if kind in _SCALED_ALREADY:
            continue
        factor = _factor(scaling) if "factor" in scaling else factor
        if kind == "yarn":
            original = Fields(scaling, "rope_scaling").optional("original_max_position_embeddings")
            if not original:
                unsure.append("yarn without original_max_position_embeddings; not counted")
                return longest
            longest = original
    return int(longest * factor)


def rotary_rows(fields: Fields, longest: int) -> int:
    """Rows of the rotary table: one per position that scaling makes (vLLM rotary_embedding/)."""
    for scaling in _scalings(fields):
        if _kind(scaling) == "mrope" or "mrope_section" in scaling:
            return longest * _MROPE_TIMES
        if _kind(scaling) == "linear" and "gemma3" in str(fields.get("model_type") or ""):
            return int(longest * _factor(scaling))  # linear_scaling_rope.py multiplies once more
    return longest


def _scalings(fields: Fields) -> Iterator[Mapping[str, Any]]:
    """rope_scaling, or rope_parameters as transformers 5 writes it: one, or one per layer type."""
    for name in ("rope_scaling", "rope_parameters"):
        found = fields.mapping(name)
        if not found:
            continue
        nested = [part for part in found.values() if isinstance(part, Mapping)]
        yield from nested if nested and not _kind(found) else [found]
        return


def _kind(scaling: Mapping[str, Any]) -> str:
    return str(scaling.get("rope_type") or scaling.get("type") or "")


def _factor(scaling: Mapping[str, Any]) -> float:
    """1 where it is null, as in vLLM. Raises FactsError."""
    factor = scaling.get("factor")
    if factor is None:
        return 1.0
    number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
    if not number or not 1 <= factor <= _FACTOR_LIMIT:  # NaN compares false too
        raise FactsError("rope_scaling.factor", factor, f"must be from 1 to {_FACTOR_LIMIT}")
    return float(factor)
