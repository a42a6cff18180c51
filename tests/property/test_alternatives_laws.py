"""Laws of the ways out of a refusal: they hold when they are written into the spec, and there are
three wherever there are three."""

from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.examples import examples

from xpullm.api.llmdeployment import LLMDeploymentSpec
from xpullm.catalog import default_engine, engines, gpus, models, quantizations
from xpullm.planner import Infeasible, Learned, Plan, PlanRequest, Refusal, plan, resolve
from xpullm.planner.choose import proven
from xpullm.planner.combine import incompatible
from xpullm.planner.request import Choice
from xpullm.planner.search import wish_of
from xpullm.planner.types import Alternative
from xpullm.planner.userargs import read_arguments
from xpullm.planner.why import POOL_FLAGS

MODELS = sorted(name for name in models() if " " not in name)
FLAGS = (
    ("gpu-memory-utilization", ("0.3", "0.9", "1")),
    ("kv-cache-memory-bytes", ("1", "50G")),
    ("num-gpu-blocks-override", ("1", "90000000")),
    ("max-num-seqs", ("2", "300", "1000000")),
    ("max-num-batched-tokens", ("512", "1000000")),
    ("max-model-len", ("4096", "131072")),
    ("tensor-parallel-size", ("1", "2")),
)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    given: dict[str, Any] = {"model": {"id": draw(st.sampled_from(MODELS))}, "gpu": {}}
    if draw(st.integers(0, 4)):
        given["gpu"]["type"] = draw(st.sampled_from(sorted(gpus())))
    if draw(st.integers(0, 3)):
        given["gpu"]["count"] = draw(st.sampled_from((1, 1, 2, 4)))
    if not draw(st.integers(0, 3)):
        given["quantization"] = draw(st.sampled_from(("fp8", "sym_int4", "bf16")))
    if not draw(st.integers(0, 3)):
        given["engine"] = {"name": draw(st.sampled_from(sorted(engines())))}
    if draw(st.booleans()):
        rows = draw(st.lists(st.sampled_from(FLAGS), max_size=3, unique=True))
        args = [{"name": name, "value": draw(st.sampled_from(values))} for name, values in rows]
        given.setdefault("engine", {})["args"] = args
    if draw(st.booleans()):
        serving = {"minConcurrency": draw(st.sampled_from((2, 64, 2000)))}
        if draw(st.booleans()):
            serving = {"minContextLength": draw(st.sampled_from((4096, 32768)))}
        given["serving"] = serving
    return given


def asked(given: dict[str, Any]) -> PlanRequest | None:
    request = resolve(LLMDeploymentSpec.model_validate(given))
    return request if isinstance(request, PlanRequest) else None


def written(given: dict[str, Any], way: Alternative) -> dict[str, Any]:
    """The spec with the alternative written into it, as a user would."""
    changed = {key: dict(value) if key != "quantization" else value for key, value in given.items()}
    first, *rest = f"{way.field} {way.value}".split(", ")
    if way.value.startswith("(leave it out)"):
        first = f"without {way.field}"
    for change in (first, *rest):
        if change.startswith("without "):
            put(changed, change.removeprefix("without "), None)
        else:
            field, value = change.split(" ", 1)
            put(changed, field, value)
    return changed


def put(given: dict[str, Any], field: str, value: str | None) -> None:
    names = field.removeprefix("spec.").partition(".")
    if names[0] == "quantization":
        given["quantization"] = value
    elif names[2].startswith("args["):
        name = names[2].removeprefix("args[").removesuffix("]")
        engine = given.setdefault("engine", {})
        rows = [row for row in engine.get("args", ()) if row["name"] != name]
        engine["args"] = [*rows, {"name": name, "value": value}] if value is not None else rows
    else:
        number = value is not None and value.isdigit()
        given.setdefault(names[0], {})[names[2]] = int(value or 0) if number else value


@examples(60)
@given(specs())
def test_every_alternative_fits_once_it_is_written_into_the_spec(given: dict[str, Any]) -> None:
    request = asked(given)
    assume(request is not None)
    assert request is not None
    answer = plan(request)
    assume(isinstance(answer, Infeasible))
    assert isinstance(answer, Infeasible)
    for way in answer.alternatives:
        changed = written(given, way)
        again = resolve(LLMDeploymentSpec.model_validate(changed))
        assert isinstance(again, PlanRequest), (way.text, again)
        made = plan(again)
        assert isinstance(made, Plan), (way.text, made.message)
        if again.gpu_fixed and again.count is not None:
            assert made.context_length == way.context_length, way.text
            assert made.concurrency >= way.concurrency, way.text


def fitting(request: PlanRequest, enough: int) -> int:
    """How many combinations of card, count and format hold what was asked for, by trying them."""
    named = POOL_FLAGS.keys() | {"tensor-parallel-size", "pipeline-parallel-size"}
    flags = tuple(flag for flag in request.user.flags if flag[0] not in named)
    found = 0
    for gpu in gpus().values():
        for name in quantizations():
            for count in (8, 4, 2, 1):
                held = any(
                    fits(request, Choice(gpu, engine, quantizations()[name]), count, flags)
                    for engine in (default_engine(e, gpu.architecture) for e in engines())
                    if engine is not None and incompatible(request.facts, gpu, engine, name) is None
                )
                found += held
                if found >= enough:
                    return found
    return found


def fits(
    request: PlanRequest, choice: Choice, count: int, flags: tuple[tuple[str, str | None], ...]
) -> bool:
    user = read_arguments(flags, choice.engine)
    if isinstance(user, Refusal):
        return False
    changed = replace(request, choices=(choice,), count=count, user=user)
    wish = wish_of(changed.serving, changed.user, changed.facts.max_position)
    return proven(changed, choice, count, wish, Learned()) is not None


@examples(60)
@given(specs())
def test_three_ways_out_wherever_there_are_three(given: dict[str, Any]) -> None:
    request = asked(given)
    assume(request is not None)
    assert request is not None
    answer = plan(request)
    assume(isinstance(answer, Infeasible) and answer.term != "arguments")
    assert isinstance(answer, Infeasible)
    if len(answer.alternatives) < 3:
        assert fitting(request, 3) < 3
        assert "of any card of the catalogue" in answer.message
