"""Device memory of what drafts tokens: a draft model of its own, or one more layer of the target.

The engine loads it after the model and counts it as weights (vLLM v1/worker/gpu_model_runner.py
load_model); its layers join the KV cache groups of the target and share the pool.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xpullm.catalog import quantization_for
from xpullm.planner.facts import ModelFacts
from xpullm.planner.kv import kv_element_bytes, layer_token_bytes
from xpullm.planner.modules import Layer, rank_model
from xpullm.planner.speculation import Speculation
from xpullm.planner.target import Target, weight_format
from xpullm.planner.types import Arguments
from xpullm.planner.weights import WeightFormat, tensors, weights

SOURCE = "vLLM v1/worker/gpu_model_runner.py load_model, v1/spec_decode; draft's own geometry"


@dataclass(frozen=True, slots=True)
class Draft:
    """Bytes on one rank. `resident` stays, `peak` is the most that loading needs; `layers` share
    the pool with `token_bytes` per layer and token. `facts` and `tensor` give its activations."""

    resident: int = 0
    peak: int = 0
    layers: int = 0
    token_bytes: int = 0
    facts: ModelFacts | None = None
    tensor: int = 1


NO_DRAFT = Draft()


def draft_of(target: Target, arguments: Arguments, asked: Speculation) -> Draft:
    """What drafting takes for these arguments."""
    draft = _weights_of(target, arguments, asked)
    if not asked.keeps_logits:
        return draft
    # vLLM v1/worker/gpu/spec_decode/speculator.py draft_logits; fp32 where the head is.
    kept = arguments.max_num_seqs * asked.tokens * target.facts.vocab * 4
    return replace(draft, resident=draft.resident + kept, peak=draft.peak + kept)


def _weights_of(target: Target, arguments: Arguments, asked: Speculation) -> Draft:
    tensor = arguments.tensor_parallel_size
    if asked.tensor is not None:
        tensor = min(tensor, max(1, asked.tensor))
    dtype = asked.kv_cache_dtype or arguments.kv_cache_dtype
    element = kv_element_bytes(dtype, target.form.element)
    if asked.predicts:
        model = asked.draft or target.facts
        return _one_layer(target, model, tensor, layer_token_bytes(model, tensor, element))
    facts = asked.draft
    if facts is None:
        return NO_DRAFT
    own = facts.stored.name if facts.stored else "bf16"
    form = _format(target, facts, asked.quantization or own)
    whole = weights(facts, form, tensor, 1, True)
    return Draft(
        whole.resident,
        whole.peak,
        facts.layers,
        layer_token_bytes(facts, tensor, element),
        facts,
        tensor,
    )


def _one_layer(target: Target, facts: ModelFacts, tensor: int, token_bytes: int) -> Draft:
    """The largest kind of layer, and the projection of its two inputs. A checkpoint that is stored
    quantized may keep it in 16 bit. While loading it has an embedding and a head of its own, then
    it shares the target's."""
    form = target.form
    plain = _format(target, facts, "bf16")
    forms = (form,) if form.quantization.online else (form, plain)
    model = rank_model(facts, tensor, 1, True)
    layer = max(_layer_bytes(f, kind) for f in forms for kind in model.layers)
    resident = layer + 2 * facts.hidden**2 * form.element
    shared = 2 * model.vocab_rows * facts.hidden * form.element
    return Draft(resident, resident + shared, 1, token_bytes, None, tensor)


def _layer_bytes(form: WeightFormat, layer: Layer) -> int:
    return sum(sum(tensors(form, m)) for m in layer.linears) + layer.small * form.element


def _format(target: Target, facts: ModelFacts, name: str) -> WeightFormat:
    quantization = quantization_for(name, target.engine.name)
    return weight_format(
        quantization,
        facts.stored,
        target.engine,
        target.runtime,
        target.form.element,
        target.accounting.expert_multiples.get(target.runtime.platform, (1, 1)),
    )
