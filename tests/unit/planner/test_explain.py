"""Every line of the ledger, on the card and in the host, names formula, inputs and source."""

import json
from typing import Any

import pytest
from tests.unit.planner.requests import request_of, seed_spec, spec

from xpullm.api.llmdeployment import LLMDeploymentSpec
from xpullm.planner import Plan, explain, plan
from xpullm.planner.types import Term

B60, B70 = {"type": "arc-pro-b60"}, {"type": "arc-pro-b70"}
VL = "Qwen/Qwen2.5-VL-7B-Instruct"
DRAFT = json.dumps(
    {"method": "draft_model", "model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 3}
)


def vllm(*rows: tuple[str, str | None]) -> dict[str, Any]:
    return {"name": "vllm", "args": [{"name": n, **({"value": v} if v else {})} for n, v in rows]}


def explained(given: LLMDeploymentSpec) -> Plan:
    request = request_of(given)
    made = plan(request)
    assert isinstance(made, Plan)
    return explain(made, request)


def line(made: Plan, name: str) -> Term:
    """The first of the name: adapters have a line on the card and one in the host."""
    return next(t for t in (*made.ledger.terms, *made.host.terms) if t.name == name)


CASES = {
    "ipex-llm, quantized while loading": seed_spec(),
    "two cards": spec("Qwen/Qwen3-8B", gpu={**B60, "count": 2}),
    "two tiles": spec("Qwen/Qwen3-32B", quantization="fp8", gpu={"type": "max-1550", "count": 1}),
    "images": spec(VL, gpu=B70),
    "images that the profile skips": spec(VL, gpu=B70, engine=vllm(("skip-mm-profiling", None))),
    "experts": spec("Qwen/Qwen3-30B-A3B", quantization="fp8", gpu={**B70, "count": 2}),
    "latent attention": spec("deepseek-ai/DeepSeek-V2-Lite", gpu={**B70, "count": 2}),
    "linear attention": spec("Qwen/Qwen3.6-27B", quantization="fp8", gpu={**B70, "count": 2}),
    "a stored quantization": spec("Qwen/Qwen3-8B-AWQ", gpu=B60),
    "adapters": spec("Qwen/Qwen3-8B", gpu=B70, engine=vllm(("enable-lora", None))),
    "a draft model": spec("Qwen/Qwen3-8B", gpu=B70, engine=vllm(("speculative-config", DRAFT))),
    "offload": spec("Qwen/Qwen3-8B", gpu=B60, engine=vllm(("cpu-offload-gb", "2"))),
    "no pin": spec("Qwen/Qwen3-8B", gpu=B60, engine=vllm(("gpu-memory-utilization", "0.8"))),
}


@pytest.mark.parametrize("case", CASES)
def test_every_line_names_formula_inputs_and_source(case: str) -> None:
    made = explained(CASES[case])
    lines = (*made.ledger.terms, *made.host.terms)
    assert [t.name for t in lines if not (t.formula and t.inputs and t.source)] == []
    assert sum(t.bytes for t in made.ledger.terms) == made.ledger.visible_bytes
    peak = sum(t.bytes for t in made.host.terms)
    assert 0 <= made.host.request_bytes - peak < 256 << 20


def test_free_and_reserve_name_their_inputs() -> None:
    made = explained(seed_spec())
    ledger = made.ledger
    held = ledger.visible_bytes - ledger.free_bytes
    free = line(made, "free")
    assert free.inputs == f"visible {ledger.visible_bytes} bytes, above {held} bytes"
    assert "15.11 GiB visible" in free.source
    assert line(made, "reserve").inputs == "256 MiB on xpu"


def test_a_model_that_sees_names_its_encoder() -> None:
    made = explained(CASES["images"])
    assert "items encoded" in line(made, "activations").formula
    assert "bytes while encoding" in line(made, "activations").inputs
    assert "vision tower" in line(made, "weights").formula
    assert "encod" not in line(made, "outside").formula
    skipped = explained(CASES["images that the profile skips"])
    assert "encod" not in line(skipped, "activations").formula
    assert "what encoding adds" in line(skipped, "outside").formula
    assert "bytes while encoding" in line(skipped, "outside").inputs


def test_a_model_that_does_not_see_names_none() -> None:
    text = str(explained(CASES["two cards"]).ledger.terms)
    assert "encod" not in text
    assert "vision" not in text


def test_what_experts_and_latents_need_is_a_part_of_the_formula() -> None:
    assert "expert workspace" in line(explained(CASES["experts"]), "activations").formula
    assert "latent's workspace" in line(explained(CASES["latent attention"]), "activations").formula


def test_adapters_and_a_draft_are_lines_of_their_own() -> None:
    adapters = explained(CASES["adapters"])
    assert [t.name for t in adapters.ledger.terms].count("LoRA adapters") == 1
    assert [t.name for t in adapters.host.terms].count("LoRA adapters") == 1
    draft = explained(CASES["a draft model"])
    assert [t.name for t in draft.ledger.terms].count("draft model") == 1


def test_offloaded_weights_are_in_the_host() -> None:
    made = explained(CASES["offload"])
    assert line(made, "weights offloaded").inputs == "2 GiB, 1 card(s)"
    assert "what cpu-offload-gb moves" in line(made, "weights").formula
