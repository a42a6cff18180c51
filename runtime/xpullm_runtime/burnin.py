"""Proves a started engine under the worst load that its arguments allow.

Passing the start-up gate is not enough: 18 of 41 measured configurations that started died under
load (measured by us, vLLM 0.25). The worst is a full prefill, the sampler over all sequences at
once with penalties and top-p, and a full KV cache. So: first one prompt as long as the context,
then all sequences together, each answered until all of them have been decoding side by side.
"""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .client import EngineClient, EngineError
from .config import RuntimeConfig

MAX_CONNECTIONS = 128  # more sequences share one: vLLM takes several prompts in one request
OVERLAP_TOKENS = 8
# vLLM's default where the arguments do not say (vllm/engine/arg_utils.py, lowest of the defaults).
DEFAULT_BATCHED_TOKENS = 2048
STACK_BYTES = 512 << 10
# Every vocabulary has these ids, and they are single bytes or frequent pieces, not control tokens.
TOKEN_IDS = tuple(str(token) for token in range(3, 253))

# Penalties make the sampler allocate its counters (1.03 * sequences * vocabulary * 4 bytes,
# measured by us), top-p its sorted copies.
SAMPLING = {
    "temperature": 1.0, "top_p": 0.9, "top_k": 50,
    "repetition_penalty": 1.05, "presence_penalty": 0.1, "ignore_eos": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wave:
    """Requests sent at the same time; sizes in tokens per request."""

    sequences: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Result:
    """`outcome`: passed, incomplete (time was up, nothing failed), refused (the engine does not
    serve such requests), silent (time was up before any token), failed.
    """

    outcome: str
    detail: str = ""
    sequences: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For /status."""
        return {
            "outcome": self.outcome,
            "detail": self.detail,
            "sequences": self.sequences,
            "promptTokens": self.prompt_tokens,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }


def waves(config: RuntimeConfig, context: int) -> list[Wave]:
    """What to send to an engine with a context of `context` tokens."""
    sequences = config.burn_in_sequences
    longest = max(1, context - OVERLAP_TOKENS)
    prompt = min(config.burn_in_prompt_tokens or longest, longest)
    # The first sequence decodes one token per step while the prompts of the others are prefilled.
    steps = math.ceil(
        sequences * prompt / (config.max_num_batched_tokens or DEFAULT_BATCHED_TOKENS)
    )
    output = min(context - prompt, 2 * steps + 2 * OVERLAP_TOKENS)
    return [Wave(1, longest, context - longest), Wave(sequences, prompt, max(1, output))]


def prompt(sequence: int, tokens: int) -> str:
    """A JSON list of token ids that shares no prefix with another sequence's (prefix caching would
    skip work). Text at once: as Python objects, long prompts would take memory from the engine.
    """
    ids = random.Random(sequence).choices(TOKEN_IDS, k=tokens)  # noqa: S311 - no secret
    return f"[{','.join(ids)}]"


def body(model: str, wave: Wave, sequences: range) -> bytes:
    """One request for some sequences of a wave."""
    settings = {"model": model, "max_tokens": wave.output_tokens, "stream": True, **SAMPLING}
    prompts = ",".join(prompt(number, wave.prompt_tokens) for number in sequences)
    return f'{json.dumps(settings)[:-1]}, "prompt": [{prompts}]}}'.encode()


class BurnIn:
    """One use. `on_token` is called for every token, from many threads."""

    def __init__(
        self, config: RuntimeConfig, client: EngineClient, on_token: Callable[[], None]
    ) -> None:
        self._config = config
        self._client = client
        self._on_token = on_token
        self._lock = threading.Lock()
        self._deadline = 0.0
        self._tokens = 0
        self._answering = 0  # sequences of the wave with OVERLAP_TOKENS or more
        self._overlapped = False
        self._error: EngineError | None = None

    def run(self) -> Result:
        """Send the waves; blocks for at most `burn_in_seconds` and one more read."""
        began = time.monotonic()
        self._deadline = began + self._config.burn_in_seconds
        planned: list[Wave] = []
        try:
            model, context = self._client.model(self._config.burn_in_seconds)
            context = context or self._config.max_model_len
            if context < 2 * OVERLAP_TOKENS:
                raise EngineError(f"a context of {context} tokens cannot be tried", 404)
            planned = waves(self._config, context)
            for wave in planned:
                self._send(wave, model)
        except EngineError as error:
            self._error = error
        last = planned[-1] if planned else Wave(0, 0, 0)
        outcome, detail = self._outcome()
        return Result(
            outcome,
            detail,
            sequences=last.sequences,
            prompt_tokens=last.prompt_tokens,
            tokens=self._tokens,
            seconds=round(time.monotonic() - began, 1),
        )

    def _outcome(self) -> tuple[str, str]:
        if self._error is not None and 400 <= self._error.status < 500:
            return "refused", str(self._error)[:300]
        if time.monotonic() >= self._deadline:
            limit = f"time limit of {self._config.burn_in_seconds:g} s"
            return ("incomplete", limit) if self._tokens else ("silent", f"no token within {limit}")
        if self._error is not None:
            return "failed", str(self._error)[:300]
        return "passed", ""

    def _send(self, wave: Wave, model: str) -> None:
        self._answering, self._overlapped = 0, False
        before = threading.stack_size(STACK_BYTES)
        try:
            threads = [
                threading.Thread(target=self._one, args=(wave, model, numbers), daemon=True)
                for numbers in shares(wave.sequences, MAX_CONNECTIONS)
            ]
            for thread in threads:
                thread.start()
        finally:
            threading.stack_size(before)
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _one(self, wave: Wave, model: str, numbers: range) -> None:
        seen = Counter[int]()

        def on_token(index: int) -> bool:
            seen[index] += 1
            self._on_token()
            with self._lock:
                self._tokens += 1
                self._answering += seen[index] == min(OVERLAP_TOKENS, wave.output_tokens)
                self._overlapped = self._overlapped or self._answering == wave.sequences
                over = self._overlapped or self._error is not None
            return not over and time.monotonic() < self._deadline

        try:
            request = body(model, wave, numbers)
            self._client.stream(request, max(0.1, self._deadline - time.monotonic()), on_token)
        except EngineError as error:
            with self._lock:
                self._error = self._error or error


def shares(count: int, most: int) -> list[range]:
    """`range(count)` in at most `most` pieces of nearly equal size."""
    size = math.ceil(count / most)
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
