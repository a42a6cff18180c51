"""The programs as a supervisor meets them: processes, exit codes, lines, HTTP."""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hack.simengine
import pytest

pytestmark = pytest.mark.timeout(30)  # real processes: a start takes 0.5 s on an idle machine

_HOME = Path(next(iter(hack.simengine.__path__))).parent
_SMALL = ["--max-model-len", "2048", "--max-num-seqs", "8"]


def _command(entry: str, port: int, *words: str) -> list[str]:
    code = f"import sys; from simengine.main import {entry} as main; sys.exit(main())"
    model = (
        ["serve", "Qwen/Qwen3-0.6B"] if entry == "vllm" else ["--model", "Qwen/Qwen2-7B-Instruct"]
    )
    return [sys.executable, "-c", code, *model, "--port", str(port), *words]


def _environment(truth: dict[str, str]) -> dict[str, str]:
    plain = {"PATH": os.environ["PATH"], "PYTHONPATH": str(_HOME), "SIMENGINE_START_SECONDS": "0"}
    return plain | {f"SIMENGINE_{key.upper()}": value for key, value in truth.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """A program that serves."""

    def __init__(
        self, entry: str, truth: dict[str, str], words: tuple[str, ...], log: Path
    ) -> None:
        self.port, self.log = _free_port(), log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                _command(entry, self.port, *words), stdout=file, stderr=file,
                env=_environment(truth), start_new_session=True,
            )  # fmt: skip

    def wait_until_ready(self) -> None:
        while "Application startup complete." not in self.text():
            assert self.process.poll() is None, self.text()
            time.sleep(0.02)

    def text(self) -> str:
        return self.log.read_text()

    def call(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def chat(self, prompt: str = "hello", **more: Any) -> tuple[int, str]:
        messages = [{"role": "user", "content": prompt}]
        return self.call("/v1/chat/completions", {"messages": messages, **more})


@contextmanager
def _serving(tmp_path: Path, entry: str = "vllm", *words: str, **truth: str) -> Iterator[Running]:
    running = Running(entry, truth, words or tuple(_SMALL), tmp_path / "log")
    try:
        running.wait_until_ready()
        yield running
    finally:
        os.killpg(running.process.pid, signal.SIGKILL) if running.process.poll() is None else None
        running.process.wait()


def _ended(entry: str, *words: str, **truth: str) -> tuple[int, str]:
    done = subprocess.run(
        _command(entry, _free_port(), *words), capture_output=True, text=True,
        env=_environment(truth), check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("entry", ["vllm", "ipex_llm"])
def test_it_answers_and_ends_in_order(entry: str, tmp_path: Path) -> None:
    with _serving(tmp_path, entry) as running:
        status, body = running.chat()
        choice = json.loads(body)["choices"][0]
        assert (status, choice["finish_reason"]) == (200, "stop")
        status, body = running.call("/v1/models")
        assert json.loads(body)["data"][0]["max_model_len"] == 2048
        assert running.call("/health")[0] == 200
        assert "vllm:generation_tokens_total{" in running.call("/metrics")[1]
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait() == 0


def test_a_stream_ends_with_done(tmp_path: Path) -> None:
    with _serving(tmp_path) as running:
        _, body = running.chat(stream=True, max_tokens=3)
    events = [line.removeprefix("data: ") for line in body.splitlines() if line]
    pieces = [json.loads(event)["choices"][0] for event in events[:-1]]
    assert events[-1] == "[DONE]"
    assert [p["finish_reason"] for p in pieces] == [None] * 3 + ["length"]


def test_a_prompt_above_the_limit_is_refused(tmp_path: Path) -> None:
    with _serving(tmp_path) as running:
        status, body = running.call("/v1/completions", {"prompt": [1] * 2048, "max_tokens": 1})
        assert status == 400
        assert "This model's maximum context length is 2048 tokens" in body
        assert running.call("/v1/completions", {"prompt": [1] * 2040, "max_tokens": 8})[0] == 200
        assert running.call("/v1/completions", {"prompt": "x", "model": "other"})[0] == 404


@pytest.mark.parametrize(
    ("entry", "truth", "words", "code", "line"),
    [
        ("vllm", {}, ["--no-such-flag"], 2, "error: unrecognized arguments: --no-such-flag"),
        ("ipex_llm", {}, ["--kv-cache-memory-bytes", "1"], 2, "error: unrecognized arguments"),
        (
            "vllm",
            {"reject_flags": "--max-num-seqs"},
            ["--max-num-seqs", "4"],
            2,
            "error: unrecognized arguments: --max-num-seqs 4",
        ),
        ("vllm", {"gated": "1"}, [], 1, "Cannot access gated repo for url"),
        ("vllm", {"not_found": "1"}, [], 1, "RepositoryNotFoundError: 401 Client Error"),
        ("vllm", {"no_device": "1"}, [], 1, "RuntimeError: Failed to infer device type"),
        (
            "vllm",
            {},
            ["--quantization", "q4"],
            1,
            "Unknown quantization method: q4. Must be one of",
        ),
        ("vllm", {}, ["--max-model-len", "99999"], 1, "Value error, User-specified max_model_len"),
        (
            "ipex_llm",
            {},
            ["--max-num-batched-tokens", "1024", "--max-model-len", "4096"],
            1,
            "ValueError: max_num_batched_tokens (1024) is smaller than max_model_len (4096)",
        ),
        ("vllm", {"device_total": "1Gi"}, [], 1, "Failed core proc(s): {'EngineCore': 1}"),
        ("ipex_llm", {"device_total": "4Gi"}, [], 1, "Engine process failed to start. See stack"),
    ],
)
def test_it_does_not_start(
    entry: str, truth: dict[str, str], words: list[str], code: int, line: str
) -> None:
    ended, text = _ended(entry, *words, **truth)
    assert (ended, line in text) == (code, True), text


def test_the_engines_death_takes_the_server_down(tmp_path: Path) -> None:
    with _serving(tmp_path, die_at_request="2") as running:
        assert running.chat()[0] == 200
        assert running.chat()[0] == 500
        assert running.process.wait() == 1
        assert "Engine core proc EngineCore died unexpectedly" in running.text()
        assert "vllm.v1.engine.exceptions.EngineDeadError: EngineCore enc" in running.text()


def test_a_server_can_outlive_its_engine(tmp_path: Path) -> None:
    with _serving(tmp_path, device_lost_at_request="1", stay_alive="1") as running:
        assert running.chat()[0] == 500
        assert running.call("/health")[0] == 503
        assert running.process.poll() is None
        assert "[core.py:1332] RuntimeError: level_zero backend failed with error: 20" in (
            running.text()
        )


def test_a_hang_leaves_health_green(tmp_path: Path) -> None:
    with _serving(tmp_path, hang_at_request="1") as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=0.5) as client:
            client.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n"
                b'{"prompt": "x"}'
            )
            with pytest.raises(TimeoutError):
                client.recv(1)
        assert running.call("/health")[0] == 200


def test_the_worst_load_finds_the_memory_that_is_not_there(tmp_path: Path) -> None:
    """One short request is served; all sequences with the longest prompts kill the engine."""
    words = [
        "--max-model-len", "4096", "--max-num-batched-tokens", "4096", "--max-num-seqs", "64",
        "--gpu-memory-utilization", "0.76",
    ]  # fmt: skip
    with _serving(tmp_path, "ipex_llm", *words, foreign="3Gi") as running:
        assert running.chat()[0] == 200
        worst = {"prompt": [1] * 1000, "max_tokens": 4}

        def ask(_: int) -> int:
            try:
                return running.call("/v1/completions", worst)[0]
            except OSError:  # came when the server had ended
                return 0

        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            codes = list(pool.map(ask, range(64)))
        assert 500 in codes
        assert running.process.wait() == 0  # V0's server ends its loop in good order
        assert "torch.OutOfMemoryError: XPU out of memory. Tried to allocate" in running.text()


def test_host_memory_is_really_taken_while_weights_are_loaded(tmp_path: Path) -> None:
    truth = {"host_load": "200Mi", "start_seconds": "1"}
    running = Running("ipex_llm", truth, tuple(_SMALL), tmp_path / "log")
    largest = 0
    try:
        while "Application startup complete." not in running.text():
            largest = max(largest, _resident_bytes(running.process.pid))
            time.sleep(0.02)
    finally:
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
    assert largest > 180 << 20


def _resident_bytes(group: int) -> int:
    """Resident memory of the largest process of a group."""
    largest = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            largest = max(largest, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))
    return largest
