"""Resident weights of one rank, and the peak while they are loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from xpullm.catalog import Quantization
from xpullm.planner.allocator import Allocator
from xpullm.planner.facts import ModelFacts
from xpullm.planner.modules import Layer, Linear, Model, rank_model, up

# A group's scale where the format has no size of its own: one 16-bit number.
_SCALE = 2
# Layers that are simulated one by one; the rest repeat the last of them.
_SIMULATED = 6


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of one rank. `peak` is the most that loading needs at once on the device."""

    resident: int
    peak: int
    embedding: int
    head: int
    layers: int
    other: int


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """A quantization as bytes: what one matrix becomes on the device.

    `bits` is 0 for formats with a fixed size per weight. `zero_bits`: of one group's zero point.
    `kept`: parts of a layer that the checkpoint keeps in 16 bit.
    `expert_multiples`: what the hidden and intermediate size of experts are rounded up to.
    `on_device`: an online quantization stages the 16-bit matrix there.
    """

    quantization: Quantization
    bits: int
    group: int
    zero_bits: int
    kept: frozenset[str]
    element: int
    lm_head: bool
    on_device: bool
    max_split: int
    expert_multiples: tuple[int, int] = (1, 1)


def applies(form: WeightFormat, linear: Linear) -> bool:
    """Whether this matrix is quantized."""
    q = form.quantization
    if linear.kept_16bit or (q.moe_only and not linear.expert) or linear.part in form.kept:
        return False
    return linear.inputs % q.in_features_multiple == 0 and not is_plain(form)


def is_plain(form: WeightFormat) -> bool:
    """No quantization at all."""
    return not form.quantization.weight_bits and form.quantization.linear_bytes >= 2


def padded(form: WeightFormat, linear: Linear) -> Linear:
    """The matrix as the format's kernel needs it: experts rounded up in both directions."""
    hidden, inner = form.expert_multiples
    if not linear.expert or (hidden, inner) == (1, 1):
        return linear
    if linear.name == "experts.w13":  # gate and up are rounded up each
        half = up(linear.outputs // 2, inner)
        return replace(linear, inputs=up(linear.inputs, hidden), outputs=2 * half)
    return replace(linear, inputs=up(linear.inputs, inner), outputs=up(linear.outputs, hidden))


def tensors(form: WeightFormat, linear: Linear) -> tuple[int, ...]:
    """Bytes of the tensors that one matrix has on the device, biases apart."""
    if not applies(form, linear):
        return (linear.weights * form.element,)
    q = form.quantization
    if not form.bits:
        return (
            int(linear.weights * q.linear_bytes),
            q.channel_scale_bytes * linear.outputs * linear.copies,
        )
    groups = -(-linear.inputs // form.group) if form.group else 1
    columns = linear.outputs * linear.copies
    # Zero points are stored whether they are used or not (gptq.py, awq.py: qzeros).
    zeros = groups * columns * form.zero_bits // 8
    return (
        linear.weights * form.bits // 8,
        int(groups * columns * (q.scale_bytes or _SCALE)),
        zeros,
        4 * linear.inputs,
    )


@lru_cache(maxsize=4096)
def weights(
    facts: ModelFacts, form: WeightFormat, tensor: int, pipeline: int, last_stage: bool
) -> Weights:
    """Simulates loading on one rank."""
    model = rank_model(facts, tensor, pipeline, last_stage)
    heap = Allocator(form.max_split)
    vocab = model.vocab_rows * facts.hidden * form.element
    embedding = heap.take(vocab) if model.embedding else 0
    layers, extra_peak = _load_layers(facts, form, model, heap)
    head = 0
    dropped = 0
    if model.head:
        quantized = form.lm_head and not is_plain(form)
        row = Linear("lm_head", facts.hidden, model.vocab_rows)
        head = sum(tensors(form, row)) if quantized else heap.take(vocab)
    elif facts.tied and facts.head_before_tie:
        dropped = vocab
    other = model.vision_params * form.element
    if facts.rotary_tables > 1:  # window layers have a table of their own, not scaled
        other += facts.max_position * facts.head_dim * form.element
    simulated = embedding + head + layers
    resident = simulated + other
    return Weights(resident, resident + max(extra_peak, dropped), embedding, head, layers, other)


def _load_layers(
    facts: ModelFacts, form: WeightFormat, model: Model, heap: Allocator
) -> tuple[int, int]:
    """Bytes of all layers, and what the worst moment needed beyond what stays."""
    total = 0
    worst = 0
    rotary_done = model.rotary == 0
    for kind in model.layers:
        steps = min(kind.count, _SIMULATED)
        last = 0
        for _ in range(steps):
            before = heap.allocated
            heap.peak = before
            _load_layer(form, kind, heap)
            last = heap.allocated - before
            worst = max(worst, heap.peak - heap.allocated)
            if not rotary_done:
                before_rotary = heap.allocated
                _rotary_table(model.rotary, heap, form.element)
                last_rotary = heap.allocated - before_rotary
                rotary_done = True
                total += last_rotary
            total += last
        total += (kind.count - steps) * last
    return total + facts.hidden * form.element, worst


def _load_layer(form: WeightFormat, layer: Layer, heap: Allocator) -> None:
    online = form.quantization.online and form.on_device
    for given in layer.linears:
        linear = padded(form, given)
        staged = heap.take(linear.weights * form.element) if online else 0
        for size in tensors(form, linear):
            if size:
                heap.take(size)
        if staged:
            heap.give(staged)
        if linear.bias:
            heap.take(linear.outputs * linear.copies * form.element)
    heap.take(layer.small * form.element)


def _rotary_table(elements: int, heap: Allocator, element: int) -> None:
    """cos and sin of all positions: float32 while computed, then cast. The temporaries stay behind
    as free blocks (vLLM rotary_embedding/base.py _compute_cos_sin_cache)."""
    half = elements // 2 * 4
    parts = [heap.take(half) for _ in range(3)]
    table = heap.take(elements * 4)
    for part in parts:
        heap.give(part)
    heap.take(elements * element)
    heap.give(table)


def checkpoint_bytes(facts: ModelFacts, tensor: int = 1) -> int:
    """The model in 16 bit, all ranks together: what an online quantization reads."""
    model = rank_model(facts, 1, 1, True)
    layers = sum(x.count * (sum(m.weights for m in x.linears) + x.small) for x in model.layers)
    vocab = up(model.vocab_rows, 1) * facts.hidden * (1 if facts.tied else 2)
    return 2 * (layers + vocab + model.vision_params) * max(1, tensor)
