"""Asks the engine how it is, from a thread of its own: /health, /metrics, one-token completions.

vLLM's /health stays 200 during a hang for minutes or for ever (vllm#46195, vllm#36960), so when no
token came for a while, a completion must be answered. An idle engine is asked for one token per
`hang_seconds`.
"""

from __future__ import annotations

import threading
import time
import traceback

from .client import EngineClient, EngineError, EngineMetrics
from .config import RuntimeConfig
from .state import State
from .watch import TokenFlow, Verdict, unanswered

STARTING_SECONDS = 0.5  # between looks before the engine serves
SERVING_SECONDS = 5.0  # engines log each look: no more often than a kubelet would
METRICS_SECONDS = 15.0
ANSWER_SECONDS = 10.0  # /health under load
PROBE_SECONDS = 60.0  # a single token, when nothing else moves


class Poller(threading.Thread):
    """Runs until `stop()`. Its findings are attributes that the main thread reads."""

    def __init__(self, config: RuntimeConfig, client: EngineClient, state: State) -> None:
        super().__init__(name="poller", daemon=True)
        self.served = threading.Event()
        self.suspicious = threading.Event()  # set it to have the engine proven alive at once
        self.health = 0
        self.unhealthy_since: float | None = None
        self.verdict: Verdict | None = None
        self._config = config
        self._client = client
        self._state = state
        self._ended = threading.Event()
        self._model = ""
        self._can_complete = True
        self._flow = TokenFlow(config.hang_seconds, time.monotonic())
        self._proven = time.monotonic()
        self._metrics_at = 0.0
        self._requests_before: int | None = None  # at Ready: burn-in's own are not counted

    def stop(self) -> None:
        """End after the call in progress."""
        self._ended.set()

    def run(self) -> None:
        """Look, think, wait; quicker before the engine serves."""
        pace = min(SERVING_SECONDS, self._config.hang_seconds / 4)
        while not self._ended.is_set():
            try:
                self.look()
                if self.served.is_set() and self.health == 200:
                    self._prove_if_needed()
            except Exception:  # noqa: BLE001 - a defect of ours must not end the watch
                self._state.note(traceback.format_exc(limit=-1))
            self._ended.wait(pace if self.served.is_set() else min(pace, STARTING_SECONDS))

    def look(self) -> None:
        """One /health."""
        self.health = self._client.health(min(ANSWER_SECONDS, self._config.hang_seconds))
        if self.health == 200:
            self._state.healthy = True
            self.unhealthy_since = None
            self.served.set()
            return
        # A busy API server is late now and then: only silence twice in a row takes the pod out of
        # service, an answer that is not 200 at once.
        if self.health or self.unhealthy_since is not None:
            self._state.healthy = False
        if self.unhealthy_since is None:
            self.unhealthy_since = time.monotonic()

    def _prove_if_needed(self) -> None:
        now = time.monotonic()
        if now < self._metrics_at and not self.suspicious.is_set():
            return
        self._metrics_at = now + min(METRICS_SECONDS, self._config.hang_seconds / 4)
        serving = self._state.started_up  # before the question: burn-in's load is nobody's
        metrics = self._client.metrics(min(ANSWER_SECONDS, self._config.hang_seconds))
        if metrics is not None:
            if serving:
                self._count(metrics)
            needed = self._flow.stalled(now, metrics.tokens)
        else:
            needed = now - self._proven >= self._config.hang_seconds
        if needed or self.suspicious.is_set():
            # Without metrics a long queue cannot be told from a hang: allow it more time.
            limit = PROBE_SECONDS if metrics is not None else self._config.hang_seconds
            self._prove(min(limit, self._config.hang_seconds), metrics)
            self.suspicious.clear()

    def _count(self, metrics: EngineMetrics) -> None:
        self._state.load.on_metrics(metrics)
        if self._requests_before is None:
            self._requests_before = metrics.requests
        self._state.requests = max(0, metrics.requests - self._requests_before)

    def _prove(self, seconds: float, before: EngineMetrics | None) -> None:
        """One token; a refusal (4xx) is an answer too, and then the engine cannot be asked so."""
        self._proven = time.monotonic()
        if not self._can_complete:
            return
        try:
            if not self._model:
                self._model, _ = self._client.model(seconds)
            body = {"model": self._model, "prompt": [1], "max_tokens": 1, "temperature": 0}
            self._client.complete(body, seconds)
            if self._requests_before is not None:
                self._requests_before += 1
        except EngineError as error:
            if 400 <= error.status < 500:
                self._can_complete = False
            elif not self._ended.is_set() and not (error.timed_out and self._moves(before)):
                self.verdict = unanswered("a completion of one token failed", error)

    def _moves(self, before: EngineMetrics | None) -> bool:
        """Whether the engine core has worked since: a queue or a long prefill may be in front of
        our token. vLLM counts a prompt's tokens with its first answer, its KV cache at each step.
        """
        now = self._client.metrics(min(ANSWER_SECONDS, self._config.hang_seconds))
        if before is None or now is None:
            return False
        cache = (before.kv_cache_usage_percent, now.kv_cache_usage_percent)
        return now.tokens != before.tokens or cache[0] != cache[1]
