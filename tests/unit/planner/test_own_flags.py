"""What the user's own flags do together: planned as they are, or refused with the way out."""

from typing import Any

import pytest
from tests.unit.planner.requests import impossible, planned, spec

from xpullm.api.llmdeployment import LLMDeploymentSpec


def with_flags(
    *rows: tuple[str, str | None],
    version: str = "0.26.0",
    count: int | None = 1,
    gpu: str = "arc-pro-b60",
    **fields: Any,
) -> LLMDeploymentSpec:
    """Qwen2-7B-Instruct in fp8 with these engine flags."""
    given = [{"name": n, "value": v} if v is not None else {"name": n} for n, v in rows]
    return spec(
        quantization="fp8",
        gpu={"type": gpu} | ({"count": count} if count else {}),
        engine={"name": "vllm", "version": version, "args": given},
        **fields,
    )


PINNED = ("kv-cache-memory-bytes", "4G")


@pytest.mark.parametrize("version", ["0.17.0", "0.19.1", "0.21.0"])
def test_a_share_that_is_not_free_at_start_is_refused_beside_a_pinned_cache(version: str) -> None:
    """These releases compare utilization x total, and torch's total is above what can be used."""
    answer = impossible(with_flags(("gpu-memory-utilization", "0.95"), PINNED, version=version))
    assert answer.term == "gpu-memory-utilization"
    assert answer.missing_bytes > 0
    assert (
        "--gpu-memory-utilization 0.95 asks for 0.1 GiB more than is free at start; lower it to at"
        " most 0.944, or leave it out"
    ) in answer.message
    assert answer.alternatives[0].field == "spec.engine.args[gpu-memory-utilization]"


def test_the_share_that_the_refusal_names_is_a_plan() -> None:
    flags = (("gpu-memory-utilization", "0.944"), PINNED)
    made = planned(with_flags(*flags, version="0.21.0"))
    assert made.arguments.kv_cache_memory_bytes == 4 << 30
    assert made.arguments.gpu_memory_utilization == 0.944
