"""Random worlds: a model, a card, an engine generation, and one or two hidden truths.

Only published facts are taken from the catalogue (card sizes); what a model weighs and what its
forward pass takes are this file's and `world`'s own arithmetic.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.bench.healing.world import GIB, MIB, Geometry, Truth


@dataclass(frozen=True, slots=True)
class Setup:
    """An engine generation on a card. `pool`: how a person would run it."""

    engine: str
    version: str
    gpu: str
    total_gib: float
    quantizations: tuple[str, ...]
    accounting: str
    sizing: str
    start_gate: bool
    sampler: tuple[float, float, int, float]
    block: int = 64


V0_SAMPLER = (9.58, 0.0, 0, 0.0)
SORT_SAMPLER = (7.65, 0.0, 0, 0.0)
V2_SAMPLER = (1.5, 1.03, 132, 3.0)
ARC = ("sym_int4", "fp8_e5m2", "fp16")
PRO = ("fp8", "fp16", "gptq", "awq")
A770 = "arc-a770-16g"
SETUPS = (
    Setup(
        "ipex-llm", "0.8.3-b22", "arc-a770-16g", 15.11, ARC, "v0", "pinned", False, V0_SAMPLER, 8
    ),
    Setup("ipex-llm", "0.8.3-b22", "arc-a770-16g", 15.11, ARC, "v0", "free", False, V0_SAMPLER, 8),
    Setup("vllm", "0.26.0", "arc-b580", 11.33, PRO, "v1", "pinned", True, V2_SAMPLER),
    Setup("vllm", "0.26.0", "arc-pro-b60", 22.71, PRO, "v1", "pinned", True, V2_SAMPLER),
    Setup("vllm", "0.26.0", "arc-pro-b60", 22.71, PRO, "v1", "free", True, V2_SAMPLER),
    Setup("vllm", "0.26.0", "arc-b580", 11.33, PRO, "v1", "free", True, V2_SAMPLER),
)
# Bytes per weight of a quantized linear layer with its scales: 4-bit blocks of 64 with a 16-bit
# scale (34/64), groups of 128 with scale and zero point, 8-bit, 16-bit.
BYTES = {
    "sym_int4": 34 / 64,
    "gptq": 0.5 + 2.5 / 128,
    "awq": 0.5 + 2.5 / 128,
    "fp8": 1.0,
    "fp8_e5m2": 1.0,
    "fp16": 2.0,
}
ONLINE = {"sym_int4", "fp8", "fp8_e5m2"}
QUANTIZED_HEAD = {"sym_int4", "fp8_e5m2"}


@dataclass(frozen=True, slots=True)
class Case:
    """One world to heal in. `hidden` names the truths; `facts` is the model's config.json."""

    number: int
    setup: Setup
    geometry: Geometry
    truth: Truth
    quantization: str
    hidden: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    context: int | None = None
    concurrency: int | None = None

    @property
    def cause(self) -> str:
        return "+".join(self.hidden)


def draw(seed: int) -> Case:
    """The world of this number, the same every time."""
    rng = random.Random(seed)
    setup = rng.choice(SETUPS)
    quantization = rng.choice(setup.quantizations)
    facts, geometry = _model(rng, setup, quantization)
    profile, load, rows, warm_up = setup.sampler
    truth = Truth(
        pool=setup.accounting,
        total=int(setup.total_gib * GIB),
        context=int(rng.uniform(0.05, 0.15) * GIB),
        runtime=int(rng.uniform(0.15, 0.45) * GIB),
        block=setup.block,
        start_gate=setup.start_gate,
        torn=int(rng.uniform(0.0, 0.2) * GIB),
        activation=rng.uniform(0.95, 1.1),
        weights=rng.uniform(1.0, 1.01),
        sampler_profile=profile,
        sampler_load=load,
        sampler_rows=rows,
        warm_up=warm_up,
        figures=_figures(rng, setup),
    )
    hidden = _hidden(rng)
    for name in hidden:
        truth = _hide(rng, name, truth, quantization, geometry)
    return Case(
        seed,
        setup,
        geometry,
        truth,
        quantization,
        hidden,
        facts,
        rng.choice([None, None, 4096, 8192, 16384]),
        rng.choice([None, None, 2, 4, 8]),
    )


MEMORY = ("foreign", "surprise", "activation", "torn", "leak", "weights")
OTHERS = ("single", "host", "lost", "ccl", "gated", "driver", "endless-leak")


def _hidden(rng: random.Random) -> tuple[str, ...]:
    if rng.random() < 0.2:
        return (rng.choice(OTHERS),)
    first = rng.choice(MEMORY)
    second = rng.choice(MEMORY)
    return (first,) if rng.random() < 0.6 or first == second else (first, second)


def _figures(rng: random.Random, setup: Setup) -> str:
    """What an out-of-memory message prints: by torch's age and what the driver lets a pod see."""
    if setup.accounting == "v0":
        return rng.choices(["reserved", "none"], [0.85, 0.15])[0]
    return rng.choices(["free", "all-free", "none"], [0.55, 0.33, 0.12])[0]


def _hide(
    rng: random.Random, name: str, truth: Truth, quantization: str, geometry: Geometry
) -> Truth:
    if name == "foreign":
        return replace(truth, foreign=int(truth.total * rng.uniform(0.03, 0.3)))
    if name == "surprise":
        return replace(truth, surprise=rng.uniform(1.3, 4.0))
    if name == "activation":
        return replace(truth, activation=truth.activation * rng.uniform(1.3, 4.0))
    if name == "torn":
        return replace(truth, torn=int(rng.uniform(0.3, 1.5) * GIB))
    if name == "leak":
        return replace(truth, leak=int(rng.uniform(1, 12) * MIB), leak_end=rng.randint(50, 120))
    if name == "weights":
        return replace(truth, weights=rng.uniform(1.03, 1.12))
    if name == "single":
        wide = rng.uniform(4.5, 12) * GIB / 2048**2
        return replace(truth, largest=4 * GIB, wide=wide, relaxed_works=rng.random() < 0.5)
    if name == "host":
        staged = geometry.weights  # online quantization loads the 16-bit checkpoint first
        if quantization in ONLINE:
            staged = int(staged * 2 / BYTES[quantization])
        peak = staged * rng.uniform(1.0, 1.9) + rng.uniform(4, 10) * GIB
        return replace(truth, host_peak=int(peak))
    if name == "endless-leak":
        return replace(truth, leak=int(rng.uniform(20, 80) * MIB), leak_end=1_000_000)
    other = {"lost": "device_lost"}.get(name, name)
    return replace(truth, other=other)


def _model(rng: random.Random, setup: Setup, quantization: str) -> tuple[dict[str, Any], Geometry]:
    """A dense decoder that is likely to fit: weights between 15 and 75 % of the card."""
    while True:
        hidden = 128 * rng.randint(12, 48)
        layers = rng.randint(16, 56)
        intermediate = 256 * round(hidden * rng.uniform(2.5, 5.5) / 256)
        head_dim = rng.choice([64, 128, 128])
        heads = hidden // head_dim
        kv_heads = rng.choice([h for h in (2, 4, 8, heads) if heads % h == 0] or [heads])
        vocab = rng.choice([32000, 64000, 100352, 128256, 151936])
        tied = rng.random() < 0.2
        linear = layers * (
            2 * hidden * heads * head_dim
            + 2 * hidden * kv_heads * head_dim
            + 3 * hidden * intermediate
        )
        size = BYTES[quantization]
        head = vocab * hidden * (size if quantization in QUANTIZED_HEAD else 2)
        weights = int(linear * size + vocab * hidden * 2 + (0 if tied else head))
        if 0.15 < weights / (setup.total_gib * GIB) < 0.75:
            break
    facts = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        "max_position_embeddings": rng.choice([8192, 32768, 131072]),
        "torch_dtype": "bfloat16",
    }
    name = f"acme/random-{layers}x{hidden}"
    geometry = Geometry(name, layers, hidden, intermediate, kv_heads, head_dim, vocab, weights)
    return facts, geometry
