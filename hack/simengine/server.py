"""OpenAI's API as vLLM serves it: completions, chat, models, health, metrics."""

import json
import queue
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .client import Engine, EngineDeadError
from .log import Log
from .openai import (
    BadRequestError,
    Request,
    answer,
    chunk,
    model_list,
    parse_chat,
    parse_completion,
    tokens_of,
)
from .wording import DEAD

_LONGEST_BODY_BYTES = 64 << 20


class Server(ThreadingHTTPServer):
    """Bound early, as vLLM does, and listening only once the engine is ready."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, host: str, port: int, log: Log, api_key: str | None, v1: bool) -> None:
        super().__init__((host, port), Handler, bind_and_activate=False)
        self.log, self.api_key, self.v1 = log, api_key, v1
        self.engine: Engine | None = None
        self.models: list[str] = []
        self.longest = 0
        self.info: dict[str, object] = {}  # labels of vllm:cache_config_info
        self.keeps_alive = False
        self.access_log = True
        self.counters = {"prompt": 0, "generation": 0, "stop": 0, "length": 0}
        self.lock = threading.Lock()
        self.server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are nobody's news; uvicorn is silent about them too."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "uvicorn", ""

    def do_GET(self) -> None:
        """Health, models, metrics."""
        engine = self._engine
        path = self.path.partition("?")[0]
        if path in ("/health", "/ping"):
            dead = engine.dead.is_set()
            self._reply(
                (HTTPStatus.SERVICE_UNAVAILABLE if self.server.v1 else 500) if dead else 200, b""
            )
        elif path == "/metrics":
            self._reply(200, metrics(self.server).encode(), "text/plain; version=0.0.4")
        elif path == "/version":
            self._json(200, {"version": self.server.info.get("version", "")})
        elif path == "/v1/models":
            if self._allowed():
                self._json(200, model_list(self.server.models, self.server.longest))
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """Completions, chat and tokenize."""
        parsers = {"/v1/completions": parse_completion, "/v1/chat/completions": parse_chat}
        path = self.path.partition("?")[0]
        body = self._body()
        if body is None or (path.startswith("/v1") and not self._allowed()):
            return
        try:
            if path == "/tokenize":
                count = tokens_of(body.get("prompt") or body.get("messages") or "")
                longest = self.server.longest
                reply = {"count": count, "max_model_len": longest, "tokens": [1] * count}
                self._json(200, reply)
            elif path in parsers:
                request = parsers[path](body, self.server.models, self.server.longest)
                self._generate(request)
            else:
                self._json(404, {"detail": "Not Found"})
        except BadRequestError as error:
            self._error(error.status, str(error), error.kind)
        except EngineDeadError:
            self._error(500, DEAD, "InternalServerError")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _generate(self, request: Request) -> None:
        engine = self._engine
        with self.server.lock:
            self.server.counters["prompt"] += request.prompt
        stream = engine.submit(request.id, request.prompt, request.wanted)
        if not request.stream:
            *_, count = self._tokens(stream)
            self._count(request, count)
            self._json(200, answer(request, count))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            sent = 0
            for count in self._tokens(stream):
                self._chunk(chunk(request, sent, count))
                sent = count
            self._chunk(chunk(request, sent, sent, last=True))
            self._count(request, sent)
        except EngineDeadError:
            error = {"message": DEAD, "type": "InternalServerError", "code": 500}
            self._chunk({"error": error})
        except (BrokenPipeError, ConnectionResetError):
            engine.abort(request.id)
            raise
        self.wfile.write(self._framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    def _tokens(self, stream: queue.Queue[tuple[int, bool] | None]) -> Iterator[int]:
        while True:
            item = stream.get()
            if item is None:
                raise EngineDeadError
            yield item[0]
            if item[1]:
                return

    def _count(self, request: Request, count: int) -> None:
        with self.server.lock:
            self.server.counters["generation"] += count
            self.server.counters[request.reason] += 1

    def _body(self) -> dict[str, Any] | None:
        try:
            length = int(self.headers.get("Content-Length", "0"))
            if length > _LONGEST_BODY_BYTES:
                raise ValueError("too large")
            body = json.loads(self.rfile.read(length) or b"{}")
            if not isinstance(body, dict):
                raise TypeError("not an object")
        except (ValueError, TypeError) as error:
            self._error(400, f"invalid JSON body: {error}", "BadRequestError")
            return None
        return body

    def _allowed(self) -> bool:
        key = self.server.api_key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self._json(401, {"error": "Unauthorized"})
        return False

    @property
    def _engine(self) -> Engine:
        assert self.server.engine is not None
        return self.server.engine

    def _chunk(self, content: dict[str, Any]) -> None:
        self.wfile.write(self._framed(f"data: {json.dumps(content)}\n\n".encode()))
        self.wfile.flush()

    @staticmethod
    def _framed(content: bytes) -> bytes:
        return f"{len(content):x}\r\n".encode() + content + b"\r\n"

    def _error(self, status: int, message: str, kind: str) -> None:
        error = {"message": message, "type": kind, "param": None, "code": status}
        self._json(status, {"error": error})

    def _json(self, status: int, content: object) -> None:
        self._reply(status, json.dumps(content).encode(), "application/json")

    def _reply(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
        """uvicorn's access log."""
        if self.server.access_log:
            host, port = self.client_address[:2]
            phrase = HTTPStatus(int(code)).phrase
            line = f'{host}:{port} - "{self.requestline}" {int(code)} {phrase}'
            print(f"{self.server.log.tag}INFO:     {line}", flush=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name upstream)
        """Nothing else is logged."""


def metrics(server: Server) -> str:
    """Prometheus text with vLLM's names."""
    assert server.engine is not None
    gauges, counters = server.engine.gauges, server.counters
    label = f'engine="0",model_name="{server.models[0]}"' if server.models else ""
    usage = "kv_cache_usage_perc" if server.v1 else "gpu_cache_usage_perc"
    lines = []
    for name, kind, value in (
        ("num_requests_running", "gauge", gauges["running"]),
        ("num_requests_waiting", "gauge", gauges["waiting"]),
        (usage, "gauge", gauges["usage"]),
        ("num_preemptions_total", "counter", gauges["preempted"]),
        ("prompt_tokens_total", "counter", counters["prompt"]),
        ("generation_tokens_total", "counter", counters["generation"]),
    ):
        lines += [f"# TYPE vllm:{name} {kind}", f"vllm:{name}{{{label}}} {float(value)}"]
    lines.append("# TYPE vllm:request_success_total counter")
    for reason in ("stop", "length"):
        tag = f'{label},finished_reason="{reason}"'
        lines.append(f"vllm:request_success_total{{{tag}}} {float(counters[reason])}")
    info = ",".join(f'{key}="{value}"' for key, value in server.info.items())
    lines += ["# TYPE vllm:cache_config_info gauge", f"vllm:cache_config_info{{{info}}} 1.0"]
    return "\n".join(lines) + "\n"
