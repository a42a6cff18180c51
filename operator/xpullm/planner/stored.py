"""How a checkpoint is quantized: its own quantization_config, in catalogue terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpullm.catalog import Quantization


@dataclass(frozen=True, slots=True)
class Stored:
    """The checkpoint's own format: catalogue name, bits per weight, group size (0: channel), zero
    points, and whether the head or the experts alone are quantized."""

    name: str
    method: str
    bits: int
    group_size: int
    symmetric: bool
    lm_head: bool


def stored_format(config: Mapping[str, Any], known: Mapping[str, Quantization]) -> Stored | None:
    """The checkpoint's format, or None for an unquantized one. An unknown method keeps its own
    name, so that the refusal can say it."""
    section = config.get("quantization_config")
    if not isinstance(section, Mapping):
        text = config.get("text_config")
        section = text.get("quantization_config") if isinstance(text, Mapping) else None
    values: Mapping[str, Any] = section if isinstance(section, Mapping) else {}
    method = str(values.get("quant_method") or config.get("quant_method") or "").casefold()
    if not method:
        return None
    name = next((n for n, q in known.items() if method in q.methods), method)
    bits, group, symmetric = _layout(values, known.get(name))
    return Stored(name, method, bits, group, symmetric, values.get("lm_head") is True)


def _layout(values: Mapping[str, Any], entry: Quantization | None) -> tuple[int, int, bool]:
    weights = _compressed_weights(values)
    bits = _number(weights.get("num_bits", values.get("bits", values.get("w_bit"))))
    group = weights.get("group_size", values.get("group_size", values.get("q_group_size")))
    symmetric = weights.get("symmetric", values.get("sym", True)) is not False
    if values.get("zero_point") is True:
        symmetric = False
    if not bits:
        bits = entry.weight_bits or round(entry.linear_bytes * 8) if entry else 16
    size = _number(group) if group is not None else (entry.group_size if entry else 0)
    return bits, size, symmetric


def _compressed_weights(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights section of the first compressed-tensors config group."""
    groups = values.get("config_groups")
    if isinstance(groups, Mapping):
        for group in groups.values():
            if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping):
                return dict(group["weights"])
    return {}


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
