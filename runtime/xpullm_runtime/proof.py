"""The way from "serves" to "started up": burn-in, once more if it failed, then the verdict."""

from __future__ import annotations

import threading
import time

from .burnin import BurnIn, Result
from .client import EngineClient, EngineError
from .config import RuntimeConfig
from .poller import Poller
from .state import State
from .watch import DEAD_SECONDS, Verdict, unanswered


class Proof(threading.Thread):
    """Waits until the engine serves; `done` is set when the startup probe may pass."""

    def __init__(
        self, config: RuntimeConfig, client: EngineClient, state: State, poller: Poller
    ) -> None:
        super().__init__(name="burn-in", daemon=True)
        self.done = threading.Event()
        self.verdict: Verdict | None = None
        self.result: Result | None = None
        self._config = config
        self._client = client
        self._state = state
        self._poller = poller

    def run(self) -> None:
        """One failure may be the request's own, two are the engine's."""
        self._poller.served.wait()
        if not self._config.burn_in_sequences:
            self.done.set()
            return
        for _ in range(2):
            result = self._attempt()
            if result.outcome not in ("failed", "silent"):
                self.done.set()
                return
            self._await_health()
        error = EngineError(result.detail, timed_out=result.outcome == "silent")
        self.verdict = unanswered("burn-in failed twice", error)

    def summary(self) -> str:
        """What was proven, in words."""
        result = self.result
        if result is None:
            return "no burn-in"
        return (
            f"burn-in {result.outcome}: {result.sequences} sequences of {result.prompt_tokens} "
            f"tokens, {result.seconds:g} s"
        )

    def _attempt(self) -> Result:
        self._state.burn_in = {"outcome": "running"}
        result = BurnIn(self._config, self._client, self._state.progress).run()
        self._state.burn_in = result.as_dict()
        self.result = result
        if result.outcome in ("refused", "incomplete"):
            self._state.note(f"burn-in {result.outcome}: {result.detail}")
        return result

    def _await_health(self) -> None:
        """A dying engine takes a moment to show it, and the watch ends it; nothing returns then."""
        pause = min(DEAD_SECONDS, self._config.hang_seconds)
        time.sleep(pause)
        while self._poller.health != 200:
            time.sleep(min(1.0, pause))
