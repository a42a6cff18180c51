"""Burn-in sends the worst load that the arguments allow, and says what came of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpullm_runtime.burnin import OVERLAP_TOKENS, BurnIn, Result, Wave, prompt, shares, waves
from xpullm_runtime.client import EngineClient
from xpullm_runtime.config import RuntimeConfig

from .conftest import free_port
from .tiny_engine import TinyEngine

pytestmark = pytest.mark.timeout(20)  # against hangs, on shared machines
CONFIG = RuntimeConfig(
    burn_in_sequences=4, max_model_len=128, max_num_batched_tokens=64, burn_in_seconds=10
)


def burn(engine: TinyEngine, config: RuntimeConfig = CONFIG) -> Result:
    return BurnIn(config, EngineClient(engine.port, {}), lambda: None).run()


def test_first_the_longest_prompt_then_all_sequences() -> None:
    config = RuntimeConfig(
        burn_in_sequences=8, burn_in_prompt_tokens=1000, max_num_batched_tokens=2048
    )
    # 8 prompts of 1000 tokens take 4 steps of 2048; as long must the first one decode.
    assert waves(config, 8192) == [Wave(1, 8184, 8), Wave(8, 1000, 24)]


def test_without_a_prompt_length_every_sequence_fills_the_context() -> None:
    assert waves(CONFIG, 128) == [Wave(1, 120, 8), Wave(4, 120, 8)]


@given(
    st.integers(1, 2000),
    st.integers(0, 1 << 20),
    st.integers(0, 1 << 16),
    st.integers(2 * OVERLAP_TOKENS, 1 << 20),
)
def test_no_request_is_longer_than_the_context(
    sequences: int, tokens: int, batched: int, context: int
) -> None:
    config = RuntimeConfig(
        burn_in_sequences=sequences, burn_in_prompt_tokens=tokens, max_num_batched_tokens=batched
    )
    for wave in waves(config, context):
        assert wave.prompt_tokens >= 1
        assert wave.output_tokens >= 1
        assert wave.prompt_tokens + wave.output_tokens <= context


def test_prompts_share_no_prefix_and_are_the_same_every_time() -> None:
    assert len({prompt(number, 16) for number in range(1024)}) == 1024
    assert prompt(3, 40) == prompt(3, 40)
    assert len(json.loads(prompt(0, 8184))) == 8184


@given(st.integers(1, 3000), st.integers(1, 200))
def test_sequences_are_shared_among_connections(count: int, most: int) -> None:
    found = shares(count, most)
    assert len(found) <= most
    assert [number for share in found for number in share] == list(range(count))
    assert {len(share) for share in found[:-1]} <= {len(found[0])}


def test_more_sequences_than_connections_still_decode_at_the_same_time(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xpullm_runtime.burnin.MAX_CONNECTIONS", 3)
    engine.gather = 8
    result = burn(engine, CONFIG.with_changes({"burn_in_sequences": 8}))
    assert (result.outcome, result.sequences) == ("passed", 8)
    assert sorted(len(body["prompt"]) for body in engine.requests) == [1, 2, 3, 3]
    assert engine.most_decoding >= 8


def test_all_sequences_decode_at_the_same_time(engine: TinyEngine) -> None:
    engine.gather = 4
    result = burn(engine)
    assert (result.outcome, result.sequences, result.prompt_tokens) == ("passed", 4, 120)
    assert engine.most_decoding >= 4
    assert [len(body["prompt"][0]) for body in engine.requests] == [120] * 5
    body = engine.requests[-1]
    assert {key: body[key] for key in ("model", "ignore_eos", "top_p", "temperature")} == {
        "model": "tiny", "ignore_eos": True, "top_p": 0.9, "temperature": 1.0,
    }  # fmt: skip


def test_the_engines_api_key_is_used(engine: TinyEngine) -> None:
    BurnIn(CONFIG, EngineClient(engine.port, {"VLLM_API_KEY": "secret"}), lambda: None).run()
    assert engine.requests[0]["authorization"] == "Bearer secret"


def test_an_engine_that_serves_no_completions_is_not_held_up(engine: TinyEngine) -> None:
    engine.behaviour = "refuses"
    result = burn(engine)
    assert result.outcome == "refused"
    assert "400" in result.detail


def test_a_refusal_inside_the_stream_is_one_too(engine: TinyEngine) -> None:
    engine.behaviour = "refuses-late"
    result = burn(engine)
    assert result.outcome == "refused"
    assert "out of vocabulary" in result.detail


def test_an_error_of_the_engine_is_a_failure(engine: TinyEngine) -> None:
    engine.behaviour = "fails"
    result = burn(engine)
    assert result.outcome == "failed"
    assert "EngineDeadError" in result.detail


def test_an_engine_that_gives_no_token_in_time_is_silent(engine: TinyEngine) -> None:
    engine.behaviour = "silent"
    result = burn(engine, CONFIG.with_changes({"burn_in_seconds": 0.3}))
    assert (result.outcome, result.tokens) == ("silent", 0)


def test_time_that_runs_out_after_tokens_came_is_no_failure(engine: TinyEngine) -> None:
    engine.gather = 1000  # the second wave never gets on
    assert burn(engine, CONFIG.with_changes({"burn_in_seconds": 1})).outcome == "incomplete"


def test_an_engine_that_is_gone_is_a_failure() -> None:
    result = BurnIn(CONFIG, EngineClient(free_port(), {}), lambda: None).run()
    assert result.outcome == "failed"
    assert "ConnectionRefusedError" in result.detail
