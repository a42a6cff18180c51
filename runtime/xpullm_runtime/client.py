"""The engine's HTTP API on localhost, as far as the supervisor needs it."""

from __future__ import annotations

import http.client
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_HOST = "127.0.0.1"
_BODY_BYTES = 4 << 20
_LARGEST = 1e18  # no count of an engine comes near
_SAMPLE = re.compile(r"^(vllm:\w+)(?:\{[^}]*\})?\s+([0-9.eE+-]+)", re.MULTILINE)

# Of several engines' gauges the fullest counts; everything else is summed.
_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")  # V1; V0 and early V1

_INDEX = re.compile(rb'"index": ?(\d{1,6})')


class EngineError(Exception):
    """No good answer: `status` is the HTTP status (400 or more), 0 where there was none."""

    def __init__(self, message: str, status: int = 0, timed_out: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """From vLLM's /metrics (vllm/v1/metrics/loggers.py; the same names on V0 but for usage).

    `kv_cache_usage_percent` is of the fullest engine; None where it is not told.
    """

    tokens: int
    requests: int
    preemptions: int = 0
    running: int = 0
    waiting: int = 0
    kv_cache_usage_percent: int | None = None


class EngineClient:
    """One connection per call. Thread-safe. Raises EngineError only."""

    def __init__(self, port: int, environ: Mapping[str, str]) -> None:
        self._port = port
        self._headers = {"Content-Type": "application/json"}
        if environ.get("VLLM_API_KEY"):  # /v1 asks for it, /health and /metrics do not
            self._headers["Authorization"] = f"Bearer {environ['VLLM_API_KEY']}"

    def health(self, timeout: float) -> int:
        """The HTTP status of /health; 0 without an answer."""
        try:
            self._call("GET", "/health", None, timeout)
        except EngineError as error:
            return error.status
        return 200

    def metrics(self, timeout: float) -> EngineMetrics | None:
        """None where the engine has no such metrics."""
        try:
            text = self._call("GET", "/metrics", None, timeout).decode("utf-8", "replace")
        except EngineError:
            return None
        sums: dict[str, float] = {}
        for name, text_value in _SAMPLE.findall(text):
            try:
                value = float(text_value)
            except ValueError:
                continue
            if 0 <= value <= _LARGEST:
                before = sums.get(name, 0.0)
                sums[name] = max(before, value) if name in _USAGE else before + value
        if "vllm:generation_tokens_total" not in sums:
            return None

        def whole(name: str) -> int:
            return int(sums.get(f"vllm:{name}", 0.0))

        usage = next((sums[name] for name in _USAGE if name in sums), None)
        return EngineMetrics(
            tokens=whole("prompt_tokens_total") + whole("generation_tokens_total"),
            requests=whole("request_success_total"),
            preemptions=whole("num_preemptions_total"),
            running=whole("num_requests_running"),
            waiting=whole("num_requests_waiting"),
            kv_cache_usage_percent=None if usage is None else min(100, math.ceil(usage * 100)),
        )

    def model(self, timeout: float) -> tuple[str, int]:
        """Name and context length (0 if not told) of the first model that is served."""
        raw = self._json(self._call("GET", "/v1/models", None, timeout))
        models = raw.get("data")
        if not isinstance(models, list) or not models or not isinstance(models[0], dict):
            raise EngineError("/v1/models names no model", 404)
        length = models[0].get("max_model_len")
        return str(models[0].get("id", "")), length if isinstance(length, int) else 0

    def complete(self, body: Mapping[str, Any], timeout: float) -> None:
        """One completion, its answer thrown away; `timeout` bounds each read."""
        self._call("POST", "/v1/completions", json.dumps(body).encode(), timeout)

    def stream(self, body: bytes, timeout: float, on_token: Callable[[int], bool]) -> None:
        """A completion whose JSON asks for a stream. `on_token` gets the index of the prompt that
        each event belongs to; the request is given up when it says False.
        """
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=timeout)
        try:
            response = self._send(connection, "POST", "/v1/completions", body)
            while line := response.readline(_BODY_BYTES):
                if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
                    continue
                if b'"choices"' not in line:
                    raise _streamed_error(line)
                index = _INDEX.search(line)
                if not on_token(int(index[1]) if index else 0):
                    break
        except (OSError, http.client.HTTPException) as error:
            raise _no_answer(error) from None
        finally:
            connection.close()

    def _call(self, method: str, path: str, body: bytes | None, timeout: float) -> bytes:
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=timeout)
        try:
            return self._send(connection, method, path, body).read(_BODY_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _no_answer(error) from None
        finally:
            connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
    ) -> http.client.HTTPResponse:
        connection.request(method, path, body, self._headers)
        response = connection.getresponse()
        if response.status >= 400:
            text = response.read(2000).decode("utf-8", "replace")
            raise EngineError(f"{path} answered {response.status}: {text[:200]}", response.status)
        return response

    @staticmethod
    def _json(data: bytes) -> dict[str, Any]:
        try:
            raw = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise EngineError(f"no JSON: {error}") from None
        return raw if isinstance(raw, dict) else {}


def _no_answer(error: Exception) -> EngineError:
    return EngineError(
        f"{type(error).__name__}: {error}", timed_out=isinstance(error, TimeoutError)
    )


def _streamed_error(line: bytes) -> EngineError:
    """vLLM starts a stream before it looks at the request: a refusal comes as an event with a code
    (vllm/entrypoints/openai/completion/serving.py, completion_stream_generator).
    """
    try:
        code = json.loads(line[len(b"data:") :])["error"]["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        code = 500
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return EngineError(line[:200].decode("utf-8", "replace").strip(), status)
