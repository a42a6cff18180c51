"""What the planner knows of a model: parsed from the fields of its config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpullm.catalog import Family, families, quantizations
from xpullm.planner.fields import FactsError, Fields
from xpullm.planner.mamba import Mamba, mamba_layers, mamba_of
from xpullm.planner.positions import longest_context, rotary_rows
from xpullm.planner.stored import Stored, stored_format
from xpullm.planner.towers import tower_params
from xpullm.planner.unread import refuse_unread

REQUIRED = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "intermediate_size",
)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Geometry of one model. Counts are layers, heads, experts; widths are features.

    Layers are split by kind: `full_layers` attend to everything, `window_layers` to the last
    `window` tokens, `linear_layers` keep a constant state (Gated DeltaNet, mamba). `moe_layers` of
    them have experts. `stored` is how the checkpoint is quantized (None: 16 or 32 bit).
    `unsure` says, for people, what was assumed because the config doesn't say.
    """

    architecture: str
    model_type: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    max_position: int
    dtype: str
    full_layers: int
    window_layers: int
    linear_layers: int
    window: int
    global_head_dim: int
    global_kv_heads: int
    experts: int
    experts_per_token: int
    expert_intermediate: int
    shared_intermediate: int
    moe_layers: int
    kv_lora_rank: int
    q_lora_rank: int
    rope_head_dim: int
    nope_head_dim: int
    v_head_dim: int
    linear_key_heads: int
    linear_value_heads: int
    linear_key_dim: int
    linear_value_dim: int
    conv_kernel: int
    mamba: Mamba | None
    mlp_layers: int
    state_bytes: int
    gated_mlp: bool
    keeps_gate_up: bool
    qkv_bias: bool
    qk_norm: bool
    output_gate: bool
    norms: int
    expert_bias: bool
    head_before_tie: bool
    transformers_backend: bool
    multimodal: bool
    vision_params: int
    encoder_item_tokens: int
    encoder_token_bytes: int
    encoder_input_bytes: int
    encoder_video: int
    encoder_each_sequence: bool
    unmodelled: str
    rotary_rows: int
    rotary_width: int
    rotary_tables: int
    per_layer_vocab: int
    per_layer_width: int
    stored: Stored | None
    unsure: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """Few fields are enough to tell models apart; facts key every cache."""
        return hash((self.architecture, self.hidden, self.layers, self.intermediate, self.vocab))

    @property
    def is_moe(self) -> bool:
        """Has experts in some layer."""
        return self.moe_layers > 0

    @property
    def is_mla(self) -> bool:
        """Multi-head latent attention: one compressed latent per token."""
        return self.kv_lora_rank > 0

    @property
    def is_hybrid(self) -> bool:
        """Has layers that keep a state instead of keys and values."""
        return self.linear_layers > 0

    @property
    def attention_width(self) -> int:
        """Features of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Features of all key heads together."""
        return self.kv_heads * self.head_dim


def parse_config(config: Mapping[str, Any]) -> ModelFacts:
    """Facts from config.json fields. Raises FactsError (field, value, way out) for what is missing
    or absurd; what may be assumed is assumed and named in `unsure`."""
    outer = Fields(config, "config.json")
    text = outer.mapping("text_config")
    fields = Fields({**config, **text}, "config.json") if text else outer
    unsure: list[str] = []
    model_type = str(fields.get("model_type") or "")
    known = families()
    family = known.get(model_type) or known.get(str(config.get("model_type") or "")) or known[""]
    if not family.name:
        refuse_unread(fields, model_type)
        unsure.append(
            f"architecture {model_type or 'unnamed'!r} isn't known; computed as a decoder with a"
            " gated MLP"
        )
    missing = [f for f in REQUIRED if fields.get(f) is None and f != "intermediate_size"]
    if missing:
        raise FactsError(
            missing[0],
            None,
            f"is missing; needed are {', '.join(REQUIRED)} (set them in spec.model.facts)",
        )
    hidden = fields.count("hidden_size")
    layers = fields.count("num_hidden_layers", high=4096)
    heads = fields.count("num_attention_heads")
    head_dim = fields.optional("head_dim") or max(1, hidden // heads)
    experts = fields.first(
        "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"
    )
    shared_mlp = fields.first("shared_expert_intermediate_size", "shared_intermediate_size")
    intermediate = fields.optional("intermediate_size") or fields.optional("ffn_dim")
    if family.mamba and shared_mlp and not experts:
        intermediate = shared_mlp  # granitemoehybrid.py: without experts the shared MLP is all
    expert_intermediate = fields.optional("moe_intermediate_size") or intermediate
    if not intermediate and not (experts and expert_intermediate):
        raise FactsError("intermediate_size", None, "is missing; it is the width of the MLP")
    mamba: Mamba | None = None
    mlp_layers = 0
    moe_layers = _moe_layers(fields, layers) if experts and not family.mamba else 0
    if family.mamba:
        mamba = mamba_of(fields, family.mamba, hidden, family.mamba_state)
        by_kind = mamba_layers(fields, family.mamba, layers)
        kinds = (by_kind.attention, 0, by_kind.mamba)
        mlp_layers = by_kind.mlp + by_kind.moe
        moe_layers = by_kind.moe if family.mamba == "alone" else layers if experts else 0
        if moe_layers and fields.get("moe_latent_size"):
            value = fields.get("moe_latent_size")
            raise FactsError("moe_latent_size", value, "isn't understood: experts of a latent")
    else:
        kinds = _layer_kinds(fields, layers, unsure)
    mla = fields.optional("kv_lora_rank")
    linear = kinds[2] > 0
    each = fields.optional("moe_shared_expert_intermediate_size") or expert_intermediate
    shared = shared_mlp or each * fields.first("n_shared_experts", "moe_num_shared_experts")
    max_position = longest_context(fields, model_type, unsure)
    multimodal = (
        family.multimodal
        or bool(outer.mapping("vision_config"))
        or _first_architecture(config).endswith("ForConditionalGeneration")
    )
    if multimodal and not family.multimodal and not family.encoder_item_tokens:
        unsure.append(
            f"the encoder isn't known; {family.encoder_token_kib} KiB for each token of the batch"
        )
    kv_heads = fields.optional("num_key_value_heads") or heads
    global_kv_heads = fields.optional("num_global_key_value_heads") or kv_heads
    for name, count in (
        ("num_key_value_heads", kv_heads),
        ("num_global_key_value_heads", global_kv_heads),
    ):
        if heads % count and not mla:  # vLLM attention/layer.py: num_heads % num_kv_heads == 0
            raise FactsError(name, count, f"must divide num_attention_heads, which is {heads}")
    return ModelFacts(
        architecture=_first_architecture(config),
        model_type=model_type,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=intermediate,
        vocab=fields.count("vocab_size"),
        tied=family.always_tied or fields.flag("tie_word_embeddings"),
        max_position=max_position,
        dtype=_dtype(fields),
        full_layers=kinds[0],
        window_layers=kinds[1],
        linear_layers=kinds[2],
        window=fields.optional("sliding_window") if kinds[1] else 0,
        global_head_dim=fields.optional("global_head_dim") or head_dim,
        global_kv_heads=global_kv_heads,
        experts=experts,
        experts_per_token=fields.first(
            "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"
        )
        or (2 if experts else 0),
        expert_intermediate=expert_intermediate if experts else 0,
        shared_intermediate=shared if experts else 0,
        moe_layers=moe_layers,
        kv_lora_rank=mla,
        q_lora_rank=fields.optional("q_lora_rank"),
        rope_head_dim=fields.optional("qk_rope_head_dim") if mla else 0,
        nope_head_dim=fields.optional("qk_nope_head_dim") if mla else 0,
        v_head_dim=fields.optional("v_head_dim") or head_dim,
        linear_key_heads=fields.optional("linear_num_key_heads") if linear else 0,
        linear_value_heads=fields.optional("linear_num_value_heads") if linear else 0,
        linear_key_dim=fields.optional("linear_key_head_dim") if linear else 0,
        linear_value_dim=fields.optional("linear_value_head_dim") if linear else 0,
        conv_kernel=fields.optional("linear_conv_kernel_dim") if linear else 0,
        mamba=mamba,
        mlp_layers=mlp_layers,
        state_bytes=4 if fields.get("mamba_ssm_dtype") in (None, "float32") else 2,
        gated_mlp=family.gated_mlp,
        keeps_gate_up=family.keeps_gate_up,
        qkv_bias=family.qkv_bias or fields.flag("attention_bias"),
        qk_norm=family.qk_norm,
        output_gate=family.output_gate,
        norms=family.norms,
        expert_bias=family.expert_bias,
        head_before_tie=family.head_before_tie,
        transformers_backend=family.transformers_backend,
        multimodal=multimodal,
        vision_params=tower_params(outer, family, unsure) if multimodal else 0,
        encoder_item_tokens=family.encoder_item_tokens if multimodal else 0,
        encoder_token_bytes=family.encoder_token_kib * 1024 if multimodal else 0,
        encoder_input_bytes=family.encoder_input_kib * 1024 if multimodal else 0,
        encoder_video=family.encoder_video,
        encoder_each_sequence=family.encoder_each_sequence,
        unmodelled=family.unmodelled,
        rotary_rows=rotary_rows(fields, max_position) if _rotates(fields, family) else 0,
        rotary_width=_rotary_width(fields, head_dim),
        rotary_tables=2
        if kinds[0] and kinds[1] and family.name.startswith(("gemma3", "gemma4"))
        else 1,
        per_layer_vocab=fields.optional("vocab_size_per_layer_input") or fields.count("vocab_size"),
        per_layer_width=fields.optional("hidden_size_per_layer_input"),
        stored=stored_format(config, quantizations()),
        unsure=tuple(unsure),
    )


def _first_architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, (list, tuple)) and names else ""


def _dtype(fields: Fields) -> str:
    value = str(fields.get("torch_dtype") or fields.get("dtype") or "bfloat16")
    return value.removeprefix("torch.")


def _layer_kinds(fields: Fields, layers: int, unsure: list[str]) -> tuple[int, int, int]:
    """(full, window, linear): from layer_types, its counts, or the older fields."""
    counts = dict(fields.mapping("layer_types_count"))
    listed = fields.get("layer_types")
    if isinstance(listed, (list, tuple)):
        counts = {}
        for kind in listed[:layers]:
            counts[str(kind)] = counts.get(str(kind), 0) + 1
    if counts and all(isinstance(n, int) and n >= 0 for n in counts.values()):
        return _counted(fields, counts, layers, unsure)
    interval = fields.optional("full_attention_interval")
    if interval:
        full = layers // interval
        counts = {"full_attention": full, "linear_attention": layers - full}
        return _counted(fields, counts, layers, unsure)
    window = fields.optional("sliding_window")
    if not window or fields.get("use_sliding_window") is False:
        return layers, 0, 0
    pattern = fields.optional("sliding_window_pattern")
    model_type = fields.get("model_type")
    if model_type in ("gemma2", "cohere2", "gpt_oss") and not pattern:
        pattern = 4 if model_type == "cohere2" else 2
    if model_type in ("gemma3", "gemma3_text") and not pattern:
        pattern = 6
    if pattern:
        return layers // pattern, layers - layers // pattern, 0
    if model_type in ("mistral", "mixtral", "phi3", "starcoder2", "qwen2") and window < (
        fields.optional("max_position_embeddings") or window + 1
    ):
        return 0, layers, 0
    if model_type not in ("mistral", "mixtral", "phi3", "starcoder2", "qwen2", "phimoe", "phi3_v"):
        unsure.append("sliding_window without a layer pattern; all layers take full length")
    return layers, 0, 0


_LAYER_KINDS = frozenset(
    {"full_attention", "attention", "sliding_attention", "chunked_attention", "linear_attention",
     "mamba"}
)  # fmt: skip


def _counted(
    fields: Fields, counts: Mapping[str, int], layers: int, unsure: list[str]
) -> tuple[int, int, int]:
    """Kinds from their counts; layers of a kind whose state isn't described count as full ones."""
    unknown = sorted(kind for kind, n in counts.items() if n and kind not in _LAYER_KINDS)
    if unknown:
        unsure.append(f"layers of kind {', '.join(unknown)} aren't known; counted as attention")
    window = min(counts.get("sliding_attention", 0) + counts.get("chunked_attention", 0), layers)
    if not fields.optional("sliding_window"):
        window = 0
    linear = min(counts.get("linear_attention", 0) + counts.get("mamba", 0), layers - window)
    described = ("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim")
    if linear and not all(fields.optional(name) for name in (*described, "linear_value_head_dim")):
        unsure.append(f"the state of {linear} linear layers isn't described; counted as attention")
        linear = 0
    return layers - window - linear, window, linear


def _moe_layers(fields: Fields, layers: int) -> int:
    dense = fields.first("first_k_dense_replace", "moe_layer_start_index")
    only = fields.get("mlp_only_layers")
    if isinstance(only, (list, tuple)):
        dense += len(only)
    listed = fields.get("moe_layer_freq")
    if isinstance(listed, (list, tuple)):  # a mark per layer (DeepSeek, MiMo)
        if len(listed) != layers:
            raise FactsError(
                "moe_layer_freq", listed, f"has {len(listed)} marks for {layers} layers"
            )
        return sum(1 for mark in listed if mark)
    step = fields.first("decoder_sparse_step", "moe_layer_freq", "moe_layer_interval") or 1
    return max(0, (layers - dense) // step)


def _rotates(fields: Fields, family: Family) -> bool:
    """Whether positions are rotated at all; models with states may do without."""
    return family.rotary and fields.get("position_embedding_type") != "nope"


def _rotary_width(fields: Fields, head_dim: int) -> int:
    """Features of a head that are rotated; latent attention has its own rotary part."""
    if fields.optional("kv_lora_rank"):
        return fields.optional("qk_rope_head_dim")
    if full := fields.optional("global_head_dim"):
        return full  # padded to the whole head (vLLM rotary_embedding/gemma4_rope.py)
    factor = fields.get("partial_rotary_factor")
    partial = isinstance(factor, float) and 0 < factor < 1
    return max(1, int(head_dim * factor)) if partial else head_dim
