"""The ledger's lines for people: formula, inputs and source of every term."""

from __future__ import annotations

from dataclasses import replace

from xpullm.planner.draft import SOURCE as DRAFT_SOURCE
from xpullm.planner.lora import SOURCE as LORA_SOURCE
from xpullm.planner.lora import lora_slots
from xpullm.planner.sizes import Sizes, batched_tokens, utilization
from xpullm.planner.speculation import speculation
from xpullm.planner.target import Target
from xpullm.planner.types import Arguments, Ledger, Term


def explained(where: Target, arguments: Arguments, s: Sizes, ledger: Ledger) -> Ledger:
    """The same ledger with its terms. Their sum is the visible memory."""
    terms = (
        Term(
            "context",
            ledger.context_bytes,
            "taken before the engine's first snapshot",
            where.runtime.platform,
            where.runtime.context_source,
        ),
        _weights(where, arguments, s),
        *_adapters(arguments, s),
        *_draft(arguments, s),
        _activation(where, arguments, s),
        Term(
            "runtime",
            s.runtime,
            "memory outside the framework's allocator",
            f"{arguments.tensor_parallel_size} rank(s)",
            where.runtime.source,
        ),
        Term(
            "graphs",
            s.graphs,
            "capture sizes x layers x one graph's share",
            "eager" if arguments.enforce_eager else f"max-num-seqs {arguments.max_num_seqs}",
            where.runtime.graph_source,
        ),
        _kv(where, arguments, s),
        Term(
            "outside",
            ledger.outside_bytes,
            f"fixed + {s.activation.sampler.runtime_units:g} U + V x 4 per compute unit",
            f"U {s.activation.unit}, {where.compute_units} compute units",
            s.activation.sampler.source,
        ),
        Term(
            "reserve",
            ledger.reserve_bytes,
            "fragmentation under the worst load",
            "",
            "measured by us, vLLM 0.25: at least 0.25 GiB held in 17 of 17 runs",
        ),
        Term("free", ledger.free_bytes, "visible - all of the above", "", ""),
    )
    return replace(ledger, terms=terms)


def _weights(where: Target, arguments: Arguments, s: Sizes) -> Term:
    q, facts = where.quantization, where.facts
    return Term(
        "weights",
        s.weights.resident - s.lora - s.draft,
        "matrices x bytes per weight + vocabulary x hidden x 2 + norms, blocks as allocated",
        f"{q.name}; {facts.layers} layers, hidden {facts.hidden}, vocabulary {facts.vocab}"
        f"{' (tied)' if facts.tied else ''}, {arguments.tensor_parallel_size} rank(s)",
        q.source,
    )


def _adapters(arguments: Arguments, s: Sizes) -> tuple[Term, ...]:
    if not s.lora:
        return ()
    slots, rank, sharded = lora_slots(arguments)
    return (
        Term(
            "LoRA adapters",
            s.lora,
            "slots x rank x 2 x sum of (inputs x fused matrices + outputs) of every adapted matrix"
            " and of embedding and head",
            f"max-loras {slots}, max-lora-rank {rank},"
            f" {arguments.tensor_parallel_size} rank(s){', fully sharded' if sharded else ''}",
            LORA_SOURCE,
        ),
    )


def _draft(arguments: Arguments, s: Sizes) -> tuple[Term, ...]:
    asked = speculation(arguments.extra)
    if not s.draft:
        return ()
    formula = "its own matrices and vocabulary, as of the model"
    if asked.predicts:
        formula = "the largest layer + 2 x hidden x hidden x 2; embedding and head are shared"
    return (
        Term(
            "draft model",
            s.draft,
            f"{formula}; its keys and values share the KV cache",
            f"{asked.name or 'a layer of the checkpoint'}, {asked.tokens} token(s) per step",
            DRAFT_SOURCE,
        ),
    )


def _activation(where: Target, arguments: Arguments, s: Sizes) -> Term:
    act = s.activation
    parts = {"MLP": act.mlp, "attention": act.attention, "sampling": act.sampling}
    parts["encoder"] = act.encoder
    worst = max(parts, key=lambda name: parts[name])
    tokens = batched_tokens(where, arguments)
    reserved = where.accounting.pool == "peak"
    return Term(
        "activations",
        act.peak,
        "max(MLP, attention, sampling) + expert and latent workspaces",
        f"{worst}; {tokens} batched tokens, {arguments.max_num_seqs} sequences"
        + ("" if reserved else "; not reserved by this engine"),
        act.sampler.source,
    )


def _kv(where: Target, arguments: Arguments, s: Sizes) -> Term:
    share = utilization(where, arguments)
    if s.pinned:
        formula = "pinned"
    elif where.accounting.pool == "current":
        formula = f"{share:g} x total - weights (activations are not in the sum)"
    else:
        formula = f"{share:g} x total - weights - activations - runtime"
    return Term(
        "KV cache",
        max(0, s.pool),
        formula,
        f"{s.layout.token_bytes} bytes per token, blocks of {s.layout.block_size}",
        where.accounting.source,
    )
