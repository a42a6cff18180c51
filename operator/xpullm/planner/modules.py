"""The tensors of one layer and of the whole model on one rank, as the engine builds them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from xpullm.planner.facts import ModelFacts

# vLLM model_executor/layers/vocab_parallel_embedding.py DEFAULT_VOCAB_PADDING_SIZE.
VOCAB_PADDING = 64


@dataclass(frozen=True, slots=True)
class Linear:
    """A weight matrix of one rank: `copies` experts of `inputs` x `outputs`. `kept_16bit`: no
    format quantizes it (routers, small projections)."""

    name: str
    inputs: int
    outputs: int
    copies: int = 1
    bias: bool = False
    kept_16bit: bool = False
    expert: bool = False

    @property
    def part(self) -> str:
        """The part of a layer that checkpoints name in their ignore lists."""
        if self.name.startswith("shared"):
            return "shared_expert"
        if self.name in ("in_proj_qkvz", "out_proj"):
            return "linear_attn"
        return "mlp" if self.name.startswith(("gate", "down", "experts")) else "self_attn"

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs * self.copies


@dataclass(frozen=True, slots=True)
class Layer:
    """Layers of one kind on one rank: how many, their matrices, and elements of norms and such."""

    count: int
    linears: tuple[Linear, ...]
    small: int


@dataclass(frozen=True, slots=True)
class Model:
    """One rank's share of a model: its layers, one vocabulary matrix, and how many of these."""

    layers: tuple[Layer, ...]
    vocab_rows: int
    embedding: bool
    head: bool
    rotary: int
    vision_params: int


def up(value: int, step: int) -> int:
    """`value` rounded up to a multiple of `step`."""
    return -(-value // step) * step


@lru_cache(maxsize=4096)
def rank_model(facts: ModelFacts, tensor: int, pipeline: int, last_stage: bool) -> Model:
    """What one rank holds. Pipeline stages hold ceil(layers / stages) layers; the first has the
    embedding, the last the head (`last_stage`)."""
    share = -(-facts.layers // pipeline)
    layers: list[Layer] = []
    for attention, attention_count in _attention_kinds(facts):
        for moe, count in _split(facts, attention, attention_count):
            on_rank = -(-count * share // facts.layers)
            linears = () if attention == "mlp" else _attention(facts, attention, tensor)
            linears += () if moe is None else _mlp(facts, moe, tensor)
            linears += _per_layer_input(facts, tensor)
            layers.append(Layer(on_rank, linears, _small(facts, attention)))
    rows = up(facts.vocab, VOCAB_PADDING) // tensor
    first = pipeline == 1 or not last_stage
    last = pipeline == 1 or last_stage
    rotary = 0 if facts.transformers_backend else facts.rotary_rows * facts.rotary_width
    return Model(
        tuple(x for x in layers if x.count),
        rows,
        first or (facts.tied and last),
        last and not facts.tied,
        rotary,
        facts.vision_params if first else 0,
    )


def _attention_kinds(facts: ModelFacts) -> tuple[tuple[str, int], ...]:
    kinds = (
        ("full", facts.full_layers),
        ("window", facts.window_layers),
        ("linear", facts.linear_layers),
        ("mlp", facts.mlp_layers),
    )
    return tuple(k for k in kinds if k[1])


def _split(facts: ModelFacts, kind: str, count: int) -> tuple[tuple[bool | None, int], ...]:
    """(whether it has experts, layers): None for layers without an MLP."""
    mixer = facts.mamba
    if mixer is not None and kind != "mlp":
        has_mlp = mixer.with_mlp if kind == "linear" else mixer.attention_with_mlp
        if not has_mlp:
            return ((None, count),)
    moe = facts.moe_layers if kind == "mlp" else count * facts.moe_layers // facts.layers
    return tuple(x for x in ((False, count - moe), (True, moe)) if x[1])


def local_kv_heads(heads: int, tensor: int) -> int:
    """KV heads of one rank: replicated where there are more ranks than heads."""
    return max(1, heads // tensor)


def _attention(facts: ModelFacts, kind: str, tensor: int) -> tuple[Linear, ...]:
    h = facts.hidden
    if kind == "linear" and facts.mamba is not None:
        return (
            Linear("in_proj", h, facts.mamba.projected(tensor)),
            Linear("out_proj", facts.mamba.inner // tensor, h),
        )
    if kind == "linear":
        keys = facts.linear_key_heads * facts.linear_key_dim // tensor
        values = facts.linear_value_heads * facts.linear_value_dim // tensor
        heads = max(1, facts.linear_value_heads // tensor)
        return (
            Linear("in_proj_qkvz", h, 2 * keys + 2 * values),
            Linear("in_proj_ba", h, 2 * heads, kept_16bit=True),
            Linear("out_proj", values, h),
        )
    if facts.is_mla:
        return _latent_attention(facts, tensor)
    head_dim, kv_heads = facts.head_dim, facts.kv_heads
    if kind == "full" and facts.window_layers:
        head_dim, kv_heads = facts.global_head_dim, facts.global_kv_heads
    queries = -(-facts.heads // tensor) * head_dim * (2 if facts.output_gate else 1)
    keys = local_kv_heads(kv_heads, tensor) * head_dim
    return (
        Linear("qkv_proj", h, queries + 2 * keys, bias=facts.qkv_bias),
        Linear("o_proj", -(-facts.heads // tensor) * head_dim, h),
    )


def _latent_attention(facts: ModelFacts, tensor: int) -> tuple[Linear, ...]:
    h, heads = facts.hidden, -(-facts.heads // tensor)
    key = facts.nope_head_dim + facts.rope_head_dim
    latent = facts.kv_lora_rank + facts.rope_head_dim
    if facts.q_lora_rank:
        query = (
            Linear("fused_qkv_a_proj", h, facts.q_lora_rank + latent),
            Linear("q_b_proj", facts.q_lora_rank, heads * key),
        )
    else:
        query = (Linear("q_proj", h, heads * key), Linear("kv_a_proj", h, latent))
    up_width = heads * (facts.nope_head_dim + facts.v_head_dim)
    # The absorbed form keeps kv_b_proj and the two matrices cut from it (W_UK, W_UV), 16-bit:
    # vLLM model_executor/layers/attention/mla_attention.py process_weights_after_loading.
    return (
        *query,
        Linear("kv_b_proj", facts.kv_lora_rank, up_width),
        Linear("w_uk_uv", facts.kv_lora_rank, up_width, kept_16bit=True),
        Linear("o_proj", heads * facts.v_head_dim, h),
    )


def _mlp(facts: ModelFacts, moe: bool, tensor: int) -> tuple[Linear, ...]:
    h = facts.hidden
    gates = 2 if facts.gated_mlp else 1
    if not moe:
        inner = -(-facts.intermediate // tensor)
        return (
            Linear("gate_up_proj", h, gates * inner),
            Linear("down_proj", inner, h),
        )
    inner = -(-facts.expert_intermediate // tensor)
    experts = (
        Linear("experts.w13", h, gates * inner, facts.experts, facts.expert_bias, expert=True),
        Linear("experts.w2", inner, h, facts.experts, facts.expert_bias, expert=True),
        Linear("router", h, facts.experts, kept_16bit=True),
    )
    if not facts.shared_intermediate:
        return experts
    shared = -(-facts.shared_intermediate // tensor)
    return (
        *experts,
        Linear("shared.gate_up_proj", h, gates * shared),
        Linear("shared.down_proj", shared, h),
    )


def _per_layer_input(facts: ModelFacts, tensor: int) -> tuple[Linear, ...]:
    """A layer's own slice of the second embedding and its projections (vLLM models/gemma4.py,
    gemma3n.py: embed_tokens_per_layer has vocabulary x layers x width elements)."""
    width = facts.per_layer_width
    if not width:
        return ()
    return (
        Linear("per_layer_embedding", facts.per_layer_vocab // tensor, width, kept_16bit=True),
        Linear("per_layer_model_projection", facts.hidden, width),
        Linear("per_layer_input_gate", facts.hidden, width),
        Linear("per_layer_projection", width, facts.hidden),
    )


def _small(facts: ModelFacts, kind: str) -> int:
    """Elements of norms and of a linear layer's convolution."""
    elements = (facts.norms + bool(facts.per_layer_width)) * facts.hidden
    if facts.qk_norm:
        elements += 2 * facts.head_dim
    if kind == "linear" and facts.mamba is not None:  # convolution, A, D, steps (float32), norm
        mixer = facts.mamba
        return elements + mixer.convolved(1) * (mixer.kernel + 1) + 6 * mixer.heads + mixer.inner
    if kind == "linear":
        keys = facts.linear_key_heads * facts.linear_key_dim
        values = facts.linear_value_heads * facts.linear_value_dim
        elements += (2 * keys + values) * facts.conv_kernel
    return elements
