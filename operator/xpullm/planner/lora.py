"""Device memory of LoRA adapters: the slots that the engine allocates while it loads the model.

Every slot is filled with zeros at start, whatever an adapter brings (vLLM lora/layers/*.py,
create_lora_weights): for each adapted matrix A of rank x inputs, one for each matrix that was fused
into it, and B of outputs x rank. The buffers count as weights: the engine's pool shrinks by them.
"""

from __future__ import annotations

from functools import lru_cache

from xpullm.planner.facts import ModelFacts
from xpullm.planner.modules import Linear, rank_model
from xpullm.planner.types import Arguments

SOURCE = "vLLM lora/layers/*.py create_lora_weights, lora/model_manager.py _create_lora_modules"
# Matrices fused into one, each with an A of its own (vLLM packed_modules_mapping of the models;
# MergedColumnParallelLinearVariableSliceWithLoRA for more than two).
_FUSED = {
    "qkv_proj": 3,
    "gate_up_proj": 2,
    "shared.gate_up_proj": 2,
    "experts.w13": 2,
    "fused_qkv_a_proj": 2,
    "in_proj": 5,
    "in_proj_qkvz": 4,
    "in_proj_ba": 2,
}
# Sharded by rows (inputs) and not at all; all others are sharded by columns (outputs).
_ROWS = frozenset({"o_proj", "out_proj", "down_proj", "shared.down_proj", "experts.w2"})
_WHOLE = frozenset({"router", "fused_qkv_a_proj", "kv_a_proj"})
# Not adapted: copies cut from another matrix, and the embedding of the layers' own inputs.
_NEVER = frozenset({"w_uk_uv", "per_layer_embedding"})


def lora_slots(arguments: Arguments) -> tuple[int, int, bool]:
    """(slots, rank, fully sharded) from the flags; 0 slots where LoRA is off. The defaults are
    vLLM's (config/lora.py)."""
    extra = dict(arguments.extra)
    if not _on(extra, "enable-lora"):
        return 0, 0, False
    slots, rank = _integer(extra.get("max-loras"), 1), _integer(extra.get("max-lora-rank"), 16)
    return slots, rank, _on(extra, "fully-sharded-loras")


def lora_bytes(facts: ModelFacts, arguments: Arguments) -> int:
    """Bytes of all slots on the rank that holds most."""
    slots, rank, sharded = lora_slots(arguments)
    if not slots:
        return 0
    tensor, pipeline = arguments.tensor_parallel_size, arguments.pipeline_parallel_size
    return slots * _slot(facts, rank, tensor, pipeline, sharded)


def host_lora_bytes(facts: ModelFacts, arguments: Arguments) -> int:
    """Host memory of the adapters that one rank keeps to swap in; at least those in its slots."""
    slots, rank, _ = lora_slots(arguments)
    if not slots:
        return 0
    kept = max(slots, _integer(dict(arguments.extra).get("max-cpu-loras"), slots))
    return kept * _slot(facts, rank, 1, 1, False)


@lru_cache(maxsize=4096)
def _slot(facts: ModelFacts, rank: int, tensor: int, pipeline: int, sharded: bool) -> int:
    """One slot in 16 bit (lora-dtype auto is the model's). Experts have adapters of their own: an
    engine that adapts attention alone takes less. Embedding and head are never sharded."""
    model = rank_model(facts, tensor, pipeline, True)
    widths = sum(
        layer.count * sum(_width(linear, tensor if sharded else 1) for linear in layer.linears)
        for layer in model.layers
    )
    vocabulary = 2 if pipeline == 1 else 1
    return 2 * rank * (widths + vocabulary * (facts.vocab + facts.hidden))


def _width(linear: Linear, parts: int) -> int:
    """Elements per rank of A and B together; `parts`: ranks that share what they all hold."""
    if linear.name in _NEVER:
        return 0
    inputs, outputs = linear.inputs * _FUSED.get(linear.name, 1), linear.outputs
    if linear.name in _ROWS:
        outputs = -(-outputs // parts)
    elif linear.name not in _WHOLE:
        inputs = -(-inputs // parts)
    return linear.copies * (inputs + outputs)


def _on(extra: dict[str, str | None], name: str) -> bool:
    value = extra.get(name, "false")
    return value is None or value.casefold() == "true"


def _integer(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else default
