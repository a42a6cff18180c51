"""All device terms of one rank for given arguments: the only place that puts formulas together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

from xpullm.planner.activation import Activation, activation, graph_bytes
from xpullm.planner.draft import NO_DRAFT, Draft, draft_of
from xpullm.planner.encoder import NONE as NO_ENCODER
from xpullm.planner.encoder import encoder_load
from xpullm.planner.kv import KVLayout, kv_element_bytes, kv_layout
from xpullm.planner.lora import lora_bytes
from xpullm.planner.speculation import speculation
from xpullm.planner.target import Target
from xpullm.planner.types import Arguments
from xpullm.planner.weights import Weights, is_plain, weights

# Our own error in the sum of weights, activation and runtime, measured: 0.02 GiB at worst over the
# 16-bit rows; the engine's printed two decimals are in it.
UNCERTAIN = 16 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of one rank. `hole` is what the first real requests allocate outside the profile,
    `warmup` what the engine's own warm-up needs at once; `graphs_outside` graphs that no budget
    holds. `budget` is utilization x total; `pool` the KV cache that results (it may be negative).
    `lora` and `draft` are the parts of the weights that adapters and a draft model take.
    """

    weights: Weights
    activation: Activation
    runtime: int
    graphs: int
    graphs_outside: int
    hole: int
    warmup: int
    margin: int
    budget: int
    pool: int
    pinned: bool
    layout: KVLayout
    lora: int
    draft: int
    ranks: int

    @property
    def sure_pool(self) -> int:
        """The pool to count on: what the engine sizes by itself may turn out smaller."""
        return self.pool if self.pinned else self.pool - UNCERTAIN

    @property
    def used(self) -> int:
        """Everything but the KV cache, its context and its margin."""
        return self.weights.resident + self.activation.peak + self.runtime + self.graphs + self.hole


def utilization(target: Target, arguments: Arguments) -> float:
    """The utilization that applies: the argument, or the engine's default."""
    given = arguments.gpu_memory_utilization
    return target.engine.default_utilization if given is None else given


def batched_tokens(target: Target, arguments: Arguments) -> int:
    """Rows of the largest step: without chunked prefill, engines raise it to the model length."""
    tokens = arguments.max_num_batched_tokens
    chunked = arguments.enable_chunked_prefill
    if chunked is None:
        chunked = target.engine.chunked_prefill == "default"
    if target.accounting.prefill_follows_context and not chunked:
        return max(tokens, arguments.max_model_len, 2048)
    return tokens


def sizes(target: Target, arguments: Arguments) -> Sizes:
    """Computes every term. The worst pipeline stage counts."""
    facts, accounting, runtime = target.facts, target.accounting, target.runtime
    tensor, pipeline = arguments.tensor_parallel_size, arguments.pipeline_parallel_size
    stage = _worst_stage(target, tensor, pipeline)
    tokens = batched_tokens(target, arguments)
    element = kv_element_bytes(arguments.kv_cache_dtype, target.form.element)
    block = arguments.block_size or runtime.block_size or target.engine.block_size
    asked = speculation(arguments.extra)
    draft = draft_of(target, arguments, asked) if asked.drafts else NO_DRAFT
    if draft.resident:
        stage = _with_draft(stage, draft)
    encoder = encoder_load(target, arguments, tokens)
    act = activation(
        facts,
        accounting,
        runtime,
        tokens=tokens,
        sequences=arguments.max_num_seqs,
        max_model_len=arguments.max_model_len,
        tensor=tensor,
        block_size=block,
        element=target.form.element,
        quantized=not is_plain(target.form) and not target.quantization.moe_only,
        activations_8bit=target.activations_8bit,
        compiled=not arguments.enforce_eager,
        speculative_tokens=asked.tokens,
        encoder=encoder if encoder.profiled else NO_ENCODER,
    )
    if draft.facts is not None:
        act = _with_step(act, _draft_activation(target, arguments, draft, tokens, block))
    graphs = (
        0
        if arguments.enforce_eager
        else graph_bytes(facts, runtime, arguments.max_num_seqs, pipeline)
    )
    inside = graphs if accounting.graphs_in_budget and act.sampler.warmup_units < 2 else 0
    non_torch = runtime.ranks_bytes if tensor > 1 else runtime.one_rank_bytes
    layout = kv_layout(
        facts,
        tensor,
        pipeline,
        block,
        element,
        tokens,
        accounting.hybrid_groups and "disable-hybrid-kv-cache-manager" not in dict(arguments.extra),
        (draft.layers, draft.token_bytes),
        asked.tokens,
        prefix_caching(arguments),
    )
    lora = lora_bytes(facts, arguments)
    if lora:
        stage = _with_lora(stage, lora)
    budget = ceil(utilization(target, arguments) * target.total_bytes)
    offload = int((arguments.cpu_offload_gib or 0) * (1 << 30))
    if offload:
        stage = _offloaded(stage, offload)
    pool, pinned = _pool(target, arguments, budget, stage, act, non_torch, inside, layout)
    # An encoder that the profile skips comes on top of it at the first request.
    unseen = 0 if encoder.profiled else max(0, act.with_encoder(encoder) - act.peak)
    if facts.mamba is not None:  # nor does the profile scan
        scan = facts.mamba.scan_bytes(tokens, arguments.max_num_seqs, tensor)
        unseen += max(0, act.attention + scan - act.peak)
    rows = target.compute_units * facts.vocab * 4 if act.sampler.runtime_rows else 0
    outside = act.sampler
    return Sizes(
        weights=stage,
        activation=act,
        runtime=non_torch,
        graphs=graphs,
        graphs_outside=graphs - inside,
        hole=runtime.fixed_bytes + rows + int(outside.runtime_units * act.unit) + unseen,
        warmup=runtime.fixed_bytes + rows + int(outside.warmup_units * act.unit),
        margin=runtime.margin_bytes,
        budget=budget,
        pool=pool,
        pinned=pinned,
        layout=layout,
        lora=lora,
        draft=draft.resident,
        ranks=tensor * pipeline,
    )


def _pool(
    target: Target,
    arguments: Arguments,
    budget: int,
    stage: Weights,
    act: Activation,
    non_torch: int,
    graphs: int,
    layout: KVLayout,
) -> tuple[int, bool]:
    accounting = target.accounting
    if arguments.kv_cache_memory_bytes is not None and accounting.pin == "kv-cache-memory-bytes":
        return arguments.kv_cache_memory_bytes, True  # other generations accept but ignore it
    if arguments.num_gpu_blocks_override is not None:
        return arguments.num_gpu_blocks_override * layout.block_bytes, True
    if accounting.pool == "current":
        return budget - stage.resident, False
    runtime = accounting.runtime_assumed_bytes if accounting.runtime == "assumed" else non_torch
    return budget - stage.resident - act.peak - runtime - graphs, False


@lru_cache(maxsize=4096)
def _worst_stage(target: Target, tensor: int, pipeline: int) -> Weights:
    last = weights(target.facts, target.form, tensor, pipeline, True)
    if pipeline == 1:
        return last
    first = weights(target.facts, target.form, tensor, pipeline, False)
    return max(first, last, key=lambda w: w.resident)


def _with_draft(stage: Weights, draft: Draft) -> Weights:
    """The draft's weights, which follow the loaded model's."""
    return replace(
        stage,
        resident=stage.resident + draft.resident,
        peak=max(stage.peak, stage.resident + draft.peak),
        other=stage.other + draft.resident,
    )


def _draft_activation(
    target: Target, arguments: Arguments, draft: Draft, tokens: int, block: int
) -> Activation:
    """The draft model's own step, which the profile runs too."""
    return activation(
        draft.facts or target.facts,
        target.accounting,
        target.runtime,
        tokens=tokens,
        sequences=arguments.max_num_seqs,
        max_model_len=arguments.max_model_len,
        tensor=draft.tensor,
        block_size=block,
        element=target.form.element,
        quantized=False,
        activations_8bit=False,
        compiled=not arguments.enforce_eager,
        speculative_tokens=0,
        encoder=NO_ENCODER,
    )


def _with_step(act: Activation, other: Activation) -> Activation:
    """The larger of two steps that never run at once."""
    return replace(act, peak=max(act.peak, other.peak), text=max(act.text, other.text))


def _with_lora(stage: Weights, lora: int) -> Weights:
    """The adapters' slots, which follow the loaded model."""
    resident = stage.resident + lora
    return replace(
        stage, resident=resident, peak=max(stage.peak, resident), other=stage.other + lora
    )


def _offloaded(stage: Weights, offload: int) -> Weights:
    """--cpu-offload-gb keeps layers, not the vocabulary, in host memory."""
    moved = min(offload, stage.layers)
    return Weights(
        stage.resident - moved,
        stage.peak - moved,
        stage.embedding,
        stage.head,
        stage.layers - moved,
        stage.other,
    )


def prefix_caching(arguments: Arguments) -> bool:
    """Whether --enable-prefix-caching is given. Models with states don't cache prefixes otherwise
    (vLLM config/model.py is_prefix_caching_supported), and keep one more state block with it."""
    value = dict(arguments.extra).get("enable-prefix-caching", "false")
    return value is None or value.casefold() == "true"
