"""How a model is divided among cards, and numbers of cards on which it can't be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from xpullm.planner.facts import ModelFacts
from xpullm.planner.modules import VOCAB_PADDING, up
from xpullm.planner.request import Choice, PlanRequest, UserArguments
from xpullm.planner.stored import Stored
from xpullm.planner.types import Refusal

# What the planner tries where nobody says how many: heads of most models are divisible by these.
COUNTS = (1, 2, 4, 8)
# Tensor-parallel sizes that are named as ways out: few nodes have more devices.
_SIZES = range(1, 17)
EXPERT_PARALLEL = "enable-expert-parallel"
_TENSOR, _PIPELINE = "tensor-parallel-size", "pipeline-parallel-size"


def divides(facts: ModelFacts, tensor: int, *, whole_experts: bool = False) -> bool:
    """Whether vLLM takes this tensor-parallel size for the model as it is stored."""
    return not undivided(facts, tensor, whole_experts)


@lru_cache(maxsize=4096)
def undivided(facts: ModelFacts, tensor: int, whole_experts: bool = False) -> str:
    """What of the model a tensor-parallel size doesn't divide, for people; "" where it divides.

    `whole_experts`: experts are dealt out, not cut (--enable-expert-parallel).
    """
    if tensor == 1:
        return ""
    for count, what in _counts(facts, whole_experts):
        if count % tensor:
            return f"{count} {what} are not divisible by {tensor}"
    if not facts.is_mla:
        # vLLM model_executor/layers/linear.py QKVParallelLinear: replicated above their number.
        for heads in (facts.kv_heads, facts.global_kv_heads):
            if heads % tensor and tensor % heads:
                return f"{heads} key-value heads are not divisible by {tensor}"
    stored = facts.stored
    return _misaligned(facts, stored, tensor, whole_experts) if stored is not None else ""


def _counts(facts: ModelFacts, whole_experts: bool) -> Iterator[tuple[int, str]]:
    """What every rank takes an equal share of."""
    # vLLM config/model.py verify_with_parallel_config.
    yield facts.heads, "attention heads"
    # vLLM model_executor/layers/linear.py: `divide` in ColumnParallelLinear and RowParallelLinear.
    if facts.moe_layers < facts.layers:
        yield facts.intermediate, "features of the MLP"
    yield facts.shared_intermediate, "features of the shared expert"
    # vLLM model_executor/layers/fused_moe/layer.py: `assert intermediate_size % tp_size == 0`.
    # MXFP4 experts are rounded up instead (vLLM models/gpt_oss.py, cdiv).
    cut = facts.stored is None or facts.stored.name != "mxfp4"
    if facts.is_moe and cut and not whole_experts:
        yield facts.expert_intermediate, "features of an expert"
    # vLLM model_executor/layers/vocab_parallel_embedding.py: `divide` of the padded vocabulary.
    yield up(facts.vocab, VOCAB_PADDING), "rows of the vocabulary"
    # vLLM model_executor/layers/mamba/mamba_utils.py gated_delta_net_state_shape.
    yield facts.linear_key_heads, "key heads of linear attention"
    yield facts.linear_value_heads, "value heads of linear attention"


def _misaligned(facts: ModelFacts, stored: Stored, tensor: int, whole_experts: bool) -> str:
    """A share that cuts through a group or block of the checkpoint's quantization.

    Groups: vLLM quantization/gptq.py and awq.py ("The input size is not aligned with the quantized
    weight shape"), distributed/utils.py verify_group_size_divides_partition. Blocks:
    quantization/utils/fp8_utils.py validate_fp8_block_shape, fp8.py Fp8MoEMethod.create_weights.
    """
    group = stored.group_size if stored.bits < 8 and stored.name != "mxfp4" else 0
    unit = stored.block or group
    if not unit:
        return ""
    word = f"quantization {'blocks' if stored.block else 'groups'} of {unit}"
    for width, part, what in _inputs(facts):
        if width and part not in stored.kept and width // tensor % unit:
            return f"{width} {what} divided by {tensor} do not hold whole {word}"
    if stored.block and facts.is_moe and not whole_experts:
        share = facts.expert_intermediate // tensor
        if share % unit:
            return (
                f"{facts.expert_intermediate} features of an expert divided by {tensor} do not"
                f" hold whole {word}"
            )
    return ""


def _inputs(facts: ModelFacts) -> Iterator[tuple[int, str, str]]:
    """(features, part of a layer, name) of the inputs that are divided: RowParallelLinear."""
    if facts.full_layers or facts.window_layers:
        width = facts.heads * (facts.v_head_dim if facts.is_mla else facts.head_dim)
        yield width, "self_attn", "features of attention"
    if facts.linear_layers:
        width = facts.linear_value_heads * facts.linear_value_dim
        yield width, "linear_attn", "features of linear attention"
    if facts.moe_layers < facts.layers:
        yield facts.intermediate, "mlp", "features of the MLP"
    yield facts.shared_intermediate, "shared_expert", "features of the shared expert"


def whole_experts(user: UserArguments) -> bool:
    """Whether the user's flags deal experts out instead of cutting them."""
    return EXPERT_PARALLEL in user.names


def ranks(request: PlanRequest, choice: Choice, count: int) -> Iterator[tuple[int, int]]:
    """(tensor, pipeline) sizes for so many cards: all devices, or as the user says. None where the
    model can't be divided so, or where the user's sizes need more devices."""
    user = request.user
    whole = whole_experts(user)
    devices = count * choice.gpu.devices_per_unit
    pipeline = user.pipeline_parallel_size or 1
    if user.tensor_parallel_size is not None:
        fits = user.tensor_parallel_size * pipeline <= devices
        if fits and divides(request.facts, user.tensor_parallel_size, whole_experts=whole):
            yield user.tensor_parallel_size, pipeline
        return
    if count == 1 and devices > 1 and pipeline == 1:
        yield 1, 1
    tensor = devices // pipeline
    if tensor >= 1 and divides(request.facts, tensor, whole_experts=whole):
        yield tensor, pipeline


def possible(request: PlanRequest) -> list[tuple[Choice, int]]:
    """Choices with the numbers of cards that they can be divided on, the fewest cards first."""
    counts = COUNTS if request.count is None else (request.count,)
    return [(c, n) for n in counts for c in request.choices if any(ranks(request, c, n))]


def indivisible(request: PlanRequest) -> Refusal | None:
    """Why the model can't be divided among the cards that were asked for, and the way out."""
    facts, tensor = request.facts, request.user.tensor_parallel_size
    whole = whole_experts(request.user)
    if tensor and (problem := undivided(facts, tensor, whole)):
        fits = ", ".join(str(n) for n in _SIZES if divides(facts, n, whole_experts=whole))
        said = f"{problem}; use one of {fits}"
        return Refusal("InvalidArgument", f"spec.engine.args[{_TENSOR}]", str(tensor), said)
    if possible(request):
        return None
    count = request.count or COUNTS[-1]
    choice = max(request.choices, key=lambda c: c.gpu.devices_per_unit)
    devices = count * choice.gpu.devices_per_unit
    pipeline = request.user.pipeline_parallel_size or 1
    if (tensor or 1) * pipeline > devices:
        said = _too_few(request, -(-(tensor or 1) * pipeline // choice.gpu.devices_per_unit))
    else:
        said = _undivided(request, choice, devices, pipeline)
    return Refusal("InvalidArgument", "spec.gpu.count", str(request.count or ""), said)


def _too_few(request: PlanRequest, needed: int) -> str:
    """The user's own parallel sizes need more cards than were asked for, or than are tried."""
    own = " and ".join(f"--{n} {v}" for n, v in request.user.flags if n in (_TENSOR, _PIPELINE))
    given = f"spec.gpu.count {request.count} is too few: " if request.count else ""
    return f"{given}{own} needs {needed} cards; set spec.gpu.count to {needed}, or lower the flag"


def _undivided(request: PlanRequest, choice: Choice, devices: int, pipeline: int) -> str:
    """The model can't be divided by so many, but its layers can be (pipeline parallelism)."""
    layers = request.facts.layers
    ways = []
    if fits := [str(n) for n in COUNTS if any(ranks(request, choice, n))]:
        ways.append(f"use {' or '.join(filter(None, (', '.join(fits[:-1]), fits[-1])))}")
    if _PIPELINE in choice.engine.flags and pipeline == 1 and devices <= layers:
        ways.append(f"divide the layers instead: spec.engine.args {_PIPELINE} {devices}")
    problem = undivided(request.facts, devices // pipeline, whole_experts(request.user))
    return f"spec.gpu.count {request.count}: {problem}; {', or '.join(ways)}"
