"""A running engine proves that it lives."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import patch

import pytest

from xpullm_runtime.client import EngineClient, EngineError, EngineMetrics
from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.poller import Poller
from xpullm_runtime.state import State
from xpullm_runtime.watch import Verdict

from .conftest import eventually
from .tiny_engine import TinyEngine

pytestmark = pytest.mark.timeout(20)  # against hangs, on shared machines
CONFIG = RuntimeConfig(hang_seconds=0.2)


@pytest.fixture
def poller(engine: TinyEngine) -> Iterator[Poller]:
    poller = Poller(CONFIG, EngineClient(engine.port, {}), State(CONFIG))
    yield poller
    poller.stop()
    if poller.is_alive():
        poller.join()


def test_metrics_are_summed_over_their_labels(engine: TinyEngine) -> None:
    assert EngineClient(engine.port, {}).metrics(1) == EngineMetrics(tokens=10, requests=3)


@pytest.mark.parametrize("name", ["kv_cache_usage_perc", "gpu_cache_usage_perc"])
def test_of_several_engines_the_fullest_cache_counts(engine: TinyEngine, name: str) -> None:
    engine.metrics = (
        f'vllm:{name}{{engine="0"}} 0.121\nvllm:{name}{{engine="1"}} 0.7\n'
        'vllm:num_preemptions_total{engine="0"} 2.0\nvllm:num_preemptions_total{engine="1"} 3.0\n'
        "vllm:num_requests_running 4.0\nvllm:num_requests_waiting 1.0\n"
    )
    found = EngineClient(engine.port, {}).metrics(1)
    assert found == EngineMetrics(
        tokens=10,
        requests=3,
        preemptions=5,
        running=4,
        waiting=1,
        kv_cache_usage_percent=70,
    )


@pytest.mark.parametrize("value", ["NaN", "1e999", "-1.0", "+-e", "9" * 400])
def test_metrics_that_are_no_counts_are_left_out(engine: TinyEngine, value: str) -> None:
    engine.metrics = f"vllm:num_preemptions_total {value}\nvllm:kv_cache_usage_perc {value}\n"
    assert EngineClient(engine.port, {}).metrics(1) == EngineMetrics(tokens=10, requests=3)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 50_000,
        b"HTTP/1.0 200 OK\r\n\r\n" + b"9" * 5_000,
    ],
    ids=["chunk", "deep", "number"],
)
def test_a_garbled_answer_is_an_error_of_the_engine(answer: bytes) -> None:
    """Anything else would end the thread that watches over the engine."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(EngineError):
            EngineClient(server.getsockname()[1], {}).model(5)
        thread.join()


def test_the_watch_over_an_engine_survives_a_defect_of_its_own(
    engine: TinyEngine, poller: Poller
) -> None:
    with patch.object(poller, "look", side_effect=RuntimeError("boom")):
        poller.start()
        eventually(lambda: poller._state.notes)
    eventually(lambda: engine.healths)
    assert "boom" in poller._state.notes[0]


def test_what_burn_in_filled_is_no_load(engine: TinyEngine, poller: Poller) -> None:
    def lines(usage: float, preemptions: int) -> str:
        return f"vllm:kv_cache_usage_perc {usage}\nvllm:num_preemptions_total {preemptions}\n"

    def told() -> tuple[int, int] | None:
        load = poller._state.load.snapshot()
        return load and (load["kvCacheUsagePeakPercent"], load["preemptions"])

    engine.flowing = True
    engine.metrics = lines(1.0, 7)
    poller.start()
    eventually(lambda: engine.healths > 12)
    assert told() is None
    engine.metrics = lines(0.25, 7)
    poller._state.start_complete()
    eventually(lambda: told() == (25, 0))
    engine.metrics = lines(0.5, 9)
    eventually(lambda: told() == (50, 2))
    engine.metrics = lines(0.0, 9)
    before = engine.healths
    eventually(lambda: engine.healths > before + 8)
    assert told() == (50, 2)


def test_an_engine_whose_tokens_flow_is_not_asked(engine: TinyEngine, poller: Poller) -> None:
    engine.flowing = True
    poller.start()
    eventually(lambda: engine.healths > 12)
    assert engine.requests == []
    assert poller.verdict is None


def test_no_tokens_and_no_answer_is_a_hang(engine: TinyEngine, poller: Poller) -> None:
    engine.behaviour = "silent"
    poller.start()
    eventually(lambda: poller.verdict)
    assert poller.verdict == Verdict(
        "engine_hang", "a completion of one token failed: TimeoutError: timed out"
    )


@pytest.mark.parametrize("progress", ["flowing", "filling"])
def test_a_queue_that_moves_and_a_long_prefill_are_no_hang(
    engine: TinyEngine, poller: Poller, progress: str
) -> None:
    """A completion waits behind others: tokens that flow meanwhile prove the engine alive. vLLM
    counts a prompt with its first token; until then only the cache fills.
    """
    setattr(engine, progress, True)

    def later(body: Mapping[str, Any], timeout: float) -> None:
        engine.healths += 1
        raise EngineError("TimeoutError: timed out", timed_out=True)

    poller.suspicious.set()
    with patch.object(poller._client, "complete", later):
        poller.look()
        poller._prove_if_needed()
    assert poller.verdict is None


def test_one_late_health_is_no_reason_to_take_the_engine_out_of_service(
    engine: TinyEngine, poller: Poller
) -> None:
    """A busy API server answers late now and then; one that is dead says so, or is late again."""
    poller.look()
    assert poller._state.healthy
    with patch.object(poller._client, "health", return_value=0):
        poller.look()
        assert poller._state.healthy
        assert poller.unhealthy_since is not None
        poller.look()
        assert not poller._state.healthy
    poller.look()
    assert poller._state.healthy
    with patch.object(poller._client, "health", return_value=503):
        poller.look()
    assert not poller._state.healthy


def test_no_tokens_and_an_error_is_death(engine: TinyEngine, poller: Poller) -> None:
    engine.behaviour = "fails"
    poller.start()
    eventually(lambda: poller.verdict)
    assert poller.verdict is not None
    assert poller.verdict.cause == "engine_dead"


def test_requests_before_ready_and_our_own_are_not_counted(
    engine: TinyEngine, poller: Poller
) -> None:
    poller.start()
    eventually(lambda: engine.requests)
    poller._state.start_complete()
    eventually(lambda: len(engine.requests) >= 3)
    assert poller._state.requests == 0


def test_an_idle_engine_that_answers_is_left_alone(engine: TinyEngine, poller: Poller) -> None:
    poller.start()
    eventually(lambda: len(engine.requests) >= 2)
    assert poller.verdict is None
    assert engine.requests[0]["max_tokens"] == 1


def test_an_engine_without_metrics_is_asked_from_time_to_time(
    engine: TinyEngine, poller: Poller
) -> None:
    engine.behaviour = "no-metrics"
    poller.start()
    eventually(lambda: len(engine.requests) >= 2)
    assert poller.verdict is None


def test_a_suspicion_is_proven_at_once(engine: TinyEngine, poller: Poller) -> None:
    poller.suspicious.set()
    poller.start()
    eventually(lambda: engine.requests)
    eventually(lambda: not poller.suspicious.is_set())


def test_an_engine_that_refuses_completions_is_not_called_dead(
    engine: TinyEngine, poller: Poller
) -> None:
    engine.behaviour = "refuses"
    poller.start()
    eventually(lambda: engine.requests and engine.healths > 12)
    assert poller.verdict is None
    assert len(engine.requests) == 1
