"""A tiny HTTP server with the few answers of an engine that the supervisor asks for.

As a program: `python tiny_engine.py PORT BEHAVIOUR`, where the behaviour is one of `good`,
`dead` (health turns 500 after the first 200), `silent` (accepts completions and never answers),
`dies` (ends the process with code 1 and an out-of-memory line at the first completion),
`logs-repr-N`, `logs-raw-N` (prints the prompt as Python writes it, or as it came, and then ends by
signal N; by exit code 1 where N is 0).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OOM = (
    "ERROR 11-02 10:00:00 [core.py:700] torch.OutOfMemoryError: XPU out of memory. Tried to "
    "allocate 130.00 MiB. GPU 0 has a total capacity of 15.11 GiB of which 64.00 MiB is free."
)


class TinyEngine(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int = 0, behaviour: str = "good") -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.behaviour = behaviour
        self.lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.decoding = 0
        self.most_decoding = 0
        self.healths = 0
        self.flowing = False
        self.filling = False  # no token yet, but the cache fills: a long prefill
        self.metrics = ""  # more lines of /metrics
        self.gather = 0  # no stream of the second wave goes on before so many have begun

    def start(self) -> TinyEngine:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    @property
    def port(self) -> int:
        return self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up ends its request, as in a real engine."""


class Handler(BaseHTTPRequestHandler):
    server: TinyEngine

    def do_GET(self) -> None:
        server = self.server
        if self.path == "/health":
            server.healths += 1
            dead = server.behaviour == "dead" and server.healths > 1
            self._answer(500 if dead else 200, b"")
        elif self.path == "/v1/models":
            body = {"data": [{"id": "tiny", "max_model_len": 128}]}
            self._answer(200, json.dumps(body).encode())
        elif self.path == "/metrics" and server.behaviour != "no-metrics":
            tokens = 3.0 + (server.healths if server.flowing else 0)
            text = "vllm:prompt_tokens_total 7.0\n"
            if server.filling:
                text += f"vllm:kv_cache_usage_perc {server.healths % 100 / 100}\n"
            text += f'vllm:generation_tokens_total{{engine="0"}} {tokens}\n'
            done = 2.0 + len(server.requests)
            text += f'vllm:request_success_total{{finished_reason="stop"}} {done}\n'
            text += 'vllm:request_success_total{finished_reason="length"} 1.0\n'
            self._answer(200, (text + server.metrics).encode())
        else:
            self._answer(404, b"")

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body["authorization"] = self.headers.get("Authorization")
        with server.lock:
            server.requests.append(body)
        if server.behaviour == "refuses":
            self._answer(400, b'{"error": "no completions here"}')
        elif server.behaviour == "fails":
            self._answer(500, b'{"error": "EngineDeadError"}')
        elif server.behaviour == "silent":
            time.sleep(60)
        elif server.behaviour == "dies":
            print("\n".join([OOM] * 2), flush=True)
            os._exit(1)
        elif server.behaviour.startswith("logs-"):
            self._log(body["prompt"])
        elif server.behaviour == "refuses-late":
            error = {"message": "Token id 252 is out of vocabulary", "code": 400}
            self._answer(200, b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
        elif body.get("stream"):
            self._stream(body["max_tokens"], len(body["prompt"]))
        else:
            self._answer(200, b'{"choices": [{"text": "x"}]}')

    def _log(self, prompt: str) -> None:
        _, form, number = self.server.behaviour.split("-")
        text = repr(prompt) if form == "repr" else prompt
        print("INFO 11-02 10:00:01 [logger.py:39] Received request cmpl-1: prompt: " + text,
              flush=True)  # fmt: skip
        if number == "0":
            os._exit(1)
        os.kill(os.getpid(), int(number))

    def _stream(self, tokens: int, prompts: int) -> None:
        server = self.server
        self.send_response(200)
        self.end_headers()
        with server.lock:
            server.decoding += prompts
            server.most_decoding = max(server.most_decoding, server.decoding)
        try:
            for _ in range(tokens):
                for index in range(prompts):
                    event = {"choices": [{"index": index, "text": "x"}]}
                    self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
                self.wfile.flush()
                while len(server.requests) > 1 and server.most_decoding < server.gather:
                    time.sleep(0.002)
                time.sleep(0.002)
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            pass
        finally:
            with server.lock:
                server.decoding -= prompts

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


if __name__ == "__main__":
    engine = TinyEngine(int(sys.argv[1]), sys.argv[2])
    print("INFO:     Application startup complete.", flush=True)
    engine.serve_forever()
