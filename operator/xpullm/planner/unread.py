"""Fields of an unknown architecture that move memory and that nothing here understands."""

from __future__ import annotations

from xpullm.planner.fields import FactsError, Fields

# What describes experts and states in configurations of transformers, under names of one family.
_EXPERTS = ("moe_", "num_experts", "n_routed", "num_local_experts")
_STATES = (
    "mamba_", "ssm_", "layers_block_type", "hybrid_override_pattern", "attn_layer_indices",
    "attn_layer_period", "linear_attn_config", "short_conv", "conv_L_cache",
)  # fmt: skip
_READ = frozenset(
    {
        "num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok",
        "num_experts_per_token", "moe_topk", "moe_intermediate_size", "moe_layer_freq",
        "moe_num_experts", "moe_k", "moe_num_shared_experts", "moe_layer_start_index",
        "moe_layer_interval", "mamba_ssm_dtype",
    }
)  # fmt: skip
# How experts are chosen and trained, which moves no memory.
_HARMLESS = ("loss", "router", "coef", "jitter", "dropout", "capacity", "norm", "scal", "gate")


def refuse_unread(fields: Fields, model_type: str) -> None:
    """Raises FactsError where an unknown architecture has experts or states that its fields
    describe in words not understood: a dense decoder of the same size would be a silent guess."""
    experts = [n for n in _unread(fields, _EXPERTS) if not any(w in n for w in _HARMLESS)]
    states = _unread(fields, _STATES)
    if not experts and not states:
        return
    needed = []
    if experts:
        needed.append("num_experts, num_experts_per_tok and moe_intermediate_size")
    if states:
        needed.append("layer_types and the linear_* fields of its state")
    names = (*experts, *states)
    raise FactsError(
        names[0],
        fields.get(names[0]),
        f"isn't understood for the unknown architecture {model_type or 'unnamed'!r}"
        f" (also: {', '.join(names[1:6]) or 'nothing else'}), and it decides memory; give in"
        f" spec.model.facts the model_type of a known architecture that is built alike, with"
        f" {' and '.join(needed)}",
    )


def _unread(fields: Fields, prefixes: tuple[str, ...]) -> list[str]:
    return sorted(
        name
        for name in fields.names()
        if name.startswith(prefixes) and name not in _READ and fields.get(name)
    )
