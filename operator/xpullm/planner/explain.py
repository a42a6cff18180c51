"""The ledger's lines for people: formula, inputs and source of every term."""

from __future__ import annotations

from dataclasses import replace

from xpullm.planner.draft import SOURCE as DRAFT_SOURCE
from xpullm.planner.encoder import EncoderLoad, encoder_load
from xpullm.planner.lora import SOURCE as LORA_SOURCE
from xpullm.planner.lora import lora_slots
from xpullm.planner.sizes import Sizes, batched_tokens, utilization
from xpullm.planner.speculation import speculation
from xpullm.planner.target import Target
from xpullm.planner.types import Arguments, Ledger, Term

ENCODER_SOURCE = (
    "vLLM v1/worker/gpu_model_runner.py profile_run; peaks printed for Qwen2.5-VL-3B and 7B"
)


def explained(where: Target, arguments: Arguments, s: Sizes, ledger: Ledger) -> Ledger:
    """The same ledger with its terms. Their sum is the visible memory."""
    terms = (
        Term(
            "context",
            ledger.context_bytes,
            "taken before the engine's first snapshot",
            f"{where.context_bytes >> 20} MiB on {where.runtime.platform}",
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
        _outside(where, arguments, s, ledger),
        Term(
            "reserve",
            ledger.reserve_bytes,
            "room for fragmentation under the worst load",
            f"{s.margin >> 20} MiB on {where.runtime.platform}",
            "measured by us, vLLM 0.25: at least 0.25 GiB held in 17 of 17 runs",
        ),
    )
    held = sum(term.bytes for term in terms)
    free = Term(
        "free",
        ledger.free_bytes,
        "visible - all of the above",
        f"visible {ledger.visible_bytes} bytes, above {held} bytes",
        where.visible_source,
    )
    return replace(ledger, terms=(*terms, free))


def _weights(where: Target, arguments: Arguments, s: Sizes) -> Term:
    q, facts = where.quantization, where.facts
    return Term(
        "weights",
        s.weights.resident - s.lora - s.draft,
        "matrices x bytes per weight + vocabulary x hidden x 2 + norms, blocks as allocated"
        + (" + vision tower x 2 bytes, whole on every rank" if facts.vision_params else "")
        + (" - what cpu-offload-gb moves" if arguments.cpu_offload_gib else ""),
        f"{q.name}; {facts.layers} layers, hidden {facts.hidden}, vocabulary {facts.vocab}"
        f"{' (tied)' if facts.tied else ''}, {arguments.tensor_parallel_size} rank(s)"
        + (f", vision tower of {facts.vision_params} parameters" if facts.vision_params else "")
        + (f", {arguments.cpu_offload_gib:g} GiB" if arguments.cpu_offload_gib else ""),
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
    parts = {"MLP": act.mlp, "attention": act.attention + act.latent, "sampling": act.sampling}
    worst = max(parts, key=lambda name: parts[name])
    formula = "max(MLP, attention, sampling) + the matrix library's workspace"
    inputs = [
        f"{worst}; {batched_tokens(where, arguments)} batched tokens,"
        f" {arguments.max_num_seqs} sequences"
    ]
    sources = [act.sampler.source]
    if act.experts:
        formula += " + expert workspace"
        inputs.append(f"experts {act.experts} bytes")
    if act.latent:
        formula += "; attention with the latent's workspace"
        inputs.append(f"latent {act.latent} bytes")
    encoder = encoder_load(where, arguments, batched_tokens(where, arguments))
    if encoder.profiled and encoder.working + encoder.kept:
        formula = f"max(text + items kept, items encoded + their rows in the MLP); text: {formula}"
        inputs.append(_items(encoder))
        sources.append(ENCODER_SOURCE)
    if where.accounting.pool != "peak":
        inputs.append("not reserved by this engine")
    return Term("activations", act.peak, formula, "; ".join(inputs), "; ".join(sources))


def _outside(where: Target, arguments: Arguments, s: Sizes, ledger: Ledger) -> Term:
    sampler = s.activation.sampler
    formula = f"fixed + {sampler.runtime_units:g} U, U = sequences x vocabulary x 4"
    inputs = f"fixed {where.runtime.fixed_bytes} bytes, U {s.activation.unit} bytes"
    source = sampler.source
    if sampler.runtime_rows:
        formula += " + vocabulary x 4 per compute unit"
        inputs += f", vocabulary {where.facts.vocab}, {where.compute_units} compute units"
    encoder = encoder_load(where, arguments, batched_tokens(where, arguments))
    if not encoder.profiled and encoder.working + encoder.kept:
        formula += " + what encoding adds to the peak, which the profile skips"
        inputs += f"; {_items(encoder)}"
        source += f"; {ENCODER_SOURCE}"
    return Term("outside", ledger.outside_bytes, formula, inputs, source)


def _items(encoder: EncoderLoad) -> str:
    return (
        f"encoder {encoder.working} bytes while encoding, {encoder.kept} bytes kept,"
        f" {encoder.rows} rows per item"
    )


def _kv(where: Target, arguments: Arguments, s: Sizes) -> Term:
    share = utilization(where, arguments)
    if s.pinned:
        formula = "pinned: whole blocks x bytes of a block"
    elif where.accounting.pool == "current":
        formula = f"{share:g} x total - weights (activations are not in the sum)"
    else:
        formula = f"{share:g} x total - weights - activations - runtime"
    return Term(
        "KV cache",
        max(0, s.pool),
        formula,
        f"{s.layout.token_bytes} bytes per token, blocks of {s.layout.block_size} tokens",
        where.accounting.source,
    )
