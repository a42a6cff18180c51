"""The case that began it all: Qwen2-7B-Instruct, sym_int4, ipex-llm, one Arc A770 16 GB.

Utilization 0.7, 4096 batched tokens, 256 sequences: 130 MiB could not be allocated with 11.09 GiB
in use and 11.23 GiB reserved of 15.11 GiB (ipex-llm#12080). What the ledger accounts for, what it
can't, and which plan is safe from the figures that the engine itself printed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.planner.requests import GIB, planned, request_of, seed_spec

from xpullm.healing import Policy, Step, heal
from xpullm.planner import Plan, with_arguments
from xpullm.planner.types import Ledger
from xpullm_runtime.diagnosis import Evidence, classify

MIB = 1 << 20
LINE = (
    "RuntimeError: XPU out of memory. Tried to allocate 130.00 MiB (GPU 0; 15.11 GiB total"
    " capacity; 11.09 GiB already allocated; 11.23 GiB reserved in total by PyTorch)"
)
LOG = f"""INFO 08-08 10:11:12 api_server.py:219] vLLM API server version 0.5.4
INFO:     Application startup complete.
Traceback (most recent call last):
  File "/usr/lib/python3/dist-packages/vllm/worker/model_runner.py", line 1, in execute_model
{LINE}
"""
ENDED = {"exitCode": 1, "reason": "Error", "finishedAt": "2024-08-08T10:20:00Z"}
DEAD = {
    "metadata": {"name": "qwen2-7b-0"},
    "status": {
        "phase": "Running",
        "containerStatuses": [
            {"name": "engine", "restartCount": 1, "lastState": {"terminated": ENDED}, "state": {}}
        ],
    },
}
RESERVED = int(11.23 * GIB)


def as_reported() -> Plan:
    """The reporter's own arguments: utilization sizes the pool, nothing is pinned."""
    request = request_of(seed_spec(serving={"contextLength": 4096}))
    made = planned(seed_spec(serving={"contextLength": 4096}))
    arguments = replace(
        made.arguments,
        max_model_len=4096,
        max_num_batched_tokens=4096,
        max_num_seqs=256,
        gpu_memory_utilization=0.7,
        num_gpu_blocks_override=None,
    )
    return with_arguments(made, request, arguments)


def needs(ledger: Ledger) -> int:
    """What torch allocates under load: weights, KV cache, and activations on top."""
    return ledger.weights_bytes + ledger.kv_cache_bytes + ledger.activation_bytes


def test_weights_and_kv_cache_take_the_whole_budget_and_activations_come_on_top() -> None:
    ledger = as_reported().ledger
    budget = 0.7 * ledger.visible_bytes
    assert ledger.visible_bytes / GIB == pytest.approx(15.11, abs=0.01)
    assert ledger.weights_bytes / GIB == pytest.approx(4.51, rel=0.01)
    assert (ledger.weights_bytes + ledger.kv_cache_bytes) / GIB == pytest.approx(10.58, abs=0.01)
    assert ledger.activation_bytes > 0
    assert ledger.weights_bytes + ledger.kv_cache_bytes == pytest.approx(budget, rel=1e-3)


def test_the_ledger_cannot_explain_the_failure_on_a_card_of_its_own() -> None:
    """15.11 − 11.23 GiB were held outside torch: no argument of this engine shows that, and Intel
    could not reproduce the failure on a clean card. The ledger says that it fits, and is right."""
    ledger = as_reported().ledger
    held_elsewhere = ledger.visible_bytes - RESERVED
    assert held_elsewhere / GIB == pytest.approx(3.88, abs=0.01)
    assert ledger.free_bytes > 0
    accounted = ledger.context_bytes + ledger.non_torch_bytes + ledger.outside_bytes
    assert accounted < held_elsewhere / 2


def test_what_the_engine_printed_is_the_ceiling_of_the_next_plan() -> None:
    request = request_of(seed_spec(serving={"contextLength": 4096, "concurrency": 4}))
    made = planned(seed_spec(serving={"contextLength": 4096, "concurrency": 4}))
    diagnosis = classify(Evidence(log=LOG, exit_code=1, pod=DEAD, was_ready=True))
    assert diagnosis.cause == "device_oom_runtime"
    assert diagnosis.figures["tried_bytes"] == 130 * MIB
    assert needs(made.ledger) > RESERVED  # a clean card would have had room for this plan
    step = heal(made, diagnosis, (), Policy(), request)
    assert isinstance(step, Step)
    assert needs(step.plan.ledger) <= RESERVED
    assert (step.plan.context_length, step.plan.concurrency) == (4096, 4)
