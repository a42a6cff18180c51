"""How a checkpoint is quantized: its own quantization_config, in catalogue terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import lcm
from typing import Any

from xpullm.catalog import Quantization


@dataclass(frozen=True, slots=True)
class Stored:
    """The checkpoint's own format: catalogue name, bits per weight, group size (0: channel), zero
    points, whether the head is quantized, which parts of a layer are kept in 16 bit, and the side
    of the blocks that share a scale (0: none)."""

    name: str
    method: str
    bits: int
    group_size: int
    symmetric: bool
    lm_head: bool
    kept: frozenset[str] = frozenset()
    block: int = 0


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
    head = values.get("lm_head") is True
    return Stored(name, method, bits, group, symmetric, head, _kept(values), _block(values))


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


def _block(values: Mapping[str, Any]) -> int:
    """Side of a block (fp8: weight_block_size, compressed-tensors: block_structure); of an oblong
    one the least that both sides divide."""
    shape = values.get("weight_block_size") or _compressed_weights(values).get("block_structure")
    if not isinstance(shape, (list, tuple)) or len(shape) != 2:
        return 0
    return lcm(*(_number(side) for side in shape))


def _compressed_weights(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights section of the first compressed-tensors config group."""
    groups = values.get("config_groups")
    if isinstance(groups, Mapping):
        for group in groups.values():
            if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping):
                return dict(group["weights"])
    return {}


# Words in a checkpoint's ignore list that name a part of every layer. A pattern with a layer number
# is about that layer alone and is left out.
_PARTS = ("linear_attn", "self_attn", "mlp", "shared_expert")


def _kept(values: Mapping[str, Any]) -> frozenset[str]:
    listed: list[str] = []
    for field in ("ignore", "modules_to_not_convert", "ignored_layers"):
        names = values.get(field)
        if isinstance(names, (list, tuple)):
            listed += [n for n in names[:4096] if isinstance(n, str)]
    return frozenset(
        part
        for part in _PARTS
        for name in listed
        if part in name and not any(c.isdigit() for c in name) and _whole(name, part)
    )


def _whole(name: str, part: str) -> bool:
    """Whether the pattern means the whole part: nothing but wild cards follows it."""
    return not name.rpartition(part)[2].strip(".*$)+")


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
