"""How a model is divided among cards, and numbers of cards on which it can't be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod

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
_TENSOR, _PIPELINE, _DATA = "tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"


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
    if facts.mamba is not None:  # vLLM mamba/mamba_mixer2.py
        yield facts.mamba.heads, "heads of Mamba2 layers"
        if facts.mamba.groups > 1:
            yield facts.mamba.groups, "groups of Mamba2 layers"


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
    copies = user.data_parallel_size or 1
    if user.tensor_parallel_size is not None:
        fits = needed_devices(user) <= devices
        if fits and divides(request.facts, user.tensor_parallel_size, whole_experts=whole):
            yield user.tensor_parallel_size, pipeline
        return
    if count == 1 and devices > 1 and pipeline * copies == 1:
        yield 1, 1
    tensor = devices // (pipeline * copies)
    if tensor >= 1 and divides(request.facts, tensor, whole_experts=whole):
        yield tensor, pipeline


def needed_devices(user: UserArguments) -> int:
    """Devices that the user's own sizes take: tensor x pipeline x data parallel (vLLM
    config/parallel.py world_size_across_dp)."""
    sizes = (user.tensor_parallel_size, user.pipeline_parallel_size, user.data_parallel_size)
    return prod(size or 1 for size in sizes)


def possible(request: PlanRequest) -> list[tuple[Choice, int]]:
    """Choices with the numbers of cards that they can be divided on, the fewest cards first."""
    if (count := request.count) is not None:
        return [(c, count) for c in request.choices if any(ranks(request, c, count))]
    tried = ((c, n) for c in request.choices for n in _counts_for(request, c))
    able = [(c, n) for c, n in tried if any(ranks(request, c, n))]
    return sorted(able, key=lambda pair: pair[1])


def _counts_for(request: PlanRequest, choice: Choice) -> Iterator[int]:
    """Numbers of cards to try: those that the user's own sizes fill, else COUNTS."""
    user = request.user
    step = needed_devices(user)
    if step == 1:
        yield from COUNTS
        return
    for times in (1,) if user.tensor_parallel_size is not None else COUNTS:
        cards = -(-step * times // choice.gpu.devices_per_unit)
        if cards <= COUNTS[-1]:
            yield cards


def idle(request: PlanRequest, choice: Choice, count: int, ranks_used: int) -> str:
    """That the user's own sizes leave devices of the plan unused; "" where they don't."""
    devices = count * choice.gpu.devices_per_unit
    used = ranks_used * (request.user.data_parallel_size or 1)
    own = _own_sizes(request.user)
    if used >= devices or not own:
        return ""
    return (
        f"{devices - used} of {devices} devices stay idle with {own}; lower spec.gpu.count or raise"
        " the flag"
    )


def indivisible(request: PlanRequest) -> Refusal | None:
    """Why the model can't be divided among the cards that were asked for, and the way out."""
    facts, tensor, copies = (
        request.facts,
        request.user.tensor_parallel_size,
        request.user.data_parallel_size or 1,
    )
    whole = whole_experts(request.user)
    if tensor and (problem := undivided(facts, tensor, whole)):
        fits = ", ".join(str(n) for n in _SIZES if divides(facts, n, whole_experts=whole))
        said = f"{problem}; use one of {fits}"
        return Refusal("InvalidArgument", f"spec.engine.args[{_TENSOR}]", str(tensor), said)
    if facts.is_moe and copies > 1:  # experts see the tokens of all copies (fused_moe/config.py)
        said = f"--{_DATA} {copies} can't be planned for a model with experts; use spec.replicas"
        return Refusal("InvalidArgument", f"spec.engine.args[{_DATA}]", str(copies), said)
    if possible(request):
        return None
    count = request.count or COUNTS[-1]
    choice = max(request.choices, key=lambda c: c.gpu.devices_per_unit)
    devices = count * choice.gpu.devices_per_unit
    needed = needed_devices(request.user)
    if needed > devices:
        said = _too_few(request, -(-needed // choice.gpu.devices_per_unit))
    else:
        said = _undivided(request, choice, devices)
    return Refusal("InvalidArgument", "spec.gpu.count", str(request.count or ""), said)


def _own_sizes(user: UserArguments) -> str:
    rows = [f"--{n} {v}" for n, v in user.flags if n in (_TENSOR, _PIPELINE, _DATA)]
    return " and ".join(rows)


def _too_few(request: PlanRequest, needed: int) -> str:
    """The user's own parallel sizes need more cards than were asked for, or than are tried."""
    own = _own_sizes(request.user)
    given = f"spec.gpu.count {request.count} is too few: " if request.count else ""
    return f"{given}{own} needs {needed} cards; set spec.gpu.count to {needed}, or lower the flag"


def _undivided(request: PlanRequest, choice: Choice, devices: int) -> str:
    """The model can't be divided by so many, but its layers can be (pipeline parallelism)."""
    layers, user = request.facts.layers, request.user
    pipeline, copies = user.pipeline_parallel_size or 1, user.data_parallel_size or 1
    ways = []
    if fits := [str(n) for n in COUNTS if any(ranks(request, choice, n))]:
        ways.append(f"use {' or '.join(filter(None, (', '.join(fits[:-1]), fits[-1])))}")
    if _PIPELINE in choice.engine.flags and pipeline * copies == 1 and devices <= layers:
        ways.append(f"divide the layers instead: spec.engine.args {_PIPELINE} {devices}")
    problem = undivided(request.facts, devices // (pipeline * copies), whole_experts(user))
    return f"spec.gpu.count {request.count}: {problem}; {', or '.join(ways)}"
