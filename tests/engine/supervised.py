"""Our supervisor, as the pod runs it, around a real `vllm serve` on CPU."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hack.engine.environment import variables

from xpullm_runtime.build import archive, write
from xpullm_runtime.config import ENV, RuntimeConfig
from xpullm_runtime.report import Report, decode

# Two layers, 1 KiB of KV cache per token: a small model that is a real one.
TINY: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 256,
    "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 4194304,
    "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "torch_dtype": "bfloat16",
    "tie_word_embeddings": False, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FLAGS = (
    "--served-model-name", "tiny", "--load-format", "dummy", "--skip-tokenizer-init",
    "--max-num-seqs", "2", "--max-num-batched-tokens", "256", "--enforce-eager",
    "--host", "127.0.0.1",
)  # fmt: skip


class Supervised:
    """A running supervisor with its engine. `log` has what both printed."""

    def __init__(
        self, folder: Path, python: Path, flags: tuple[str, ...], wrapper: tuple[str, ...]
    ) -> None:
        self.engine_port, self.port = free_port(), free_port()
        self.message, self.log = folder / "termination-log", folder / "log"
        model = folder / "model"
        model.mkdir()
        (model / "config.json").write_text(json.dumps(TINY))
        zipapp = folder / "xpullm-runtime.pyz"
        write(zipapp, archive())
        config = RuntimeConfig(
            engine_port=self.engine_port, runtime_port=self.port, max_model_len=256,
            max_num_seqs=2, max_num_batched_tokens=256, burn_in_sequences=2,
            burn_in_prompt_tokens=200, burn_in_seconds=120, termination_log=str(self.message),
        )  # fmt: skip
        argv = [*wrapper, "python3", str(zipapp), "run", "--"]
        argv += [str(python.parent / "vllm"), "serve"]
        argv += [str(model), *FLAGS, "--port", str(self.engine_port), *flags]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                argv,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**variables(), ENV: config.to_env()},
            )

    def status(self) -> dict[str, Any]:
        """/status, empty where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=5) as got:
                answer: dict[str, Any] = json.load(got)
                return answer
        except (urllib.error.URLError, OSError):
            return {}

    def complete(self, prompt: list[int], tokens: int) -> dict[str, Any]:
        """A completion by the engine itself."""
        body = {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.engine_port}/v1/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as got:
            answer: dict[str, Any] = json.load(got)
            return answer

    def until(self, done: Callable[[dict[str, Any]], bool], seconds: float = 400) -> dict[str, Any]:
        """The first status that `done` accepts; fails with the log when the process ends before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            status = self.status()
            if status and done(status):
                return status
            time.sleep(0.5)
        raise AssertionError(self.log.read_text(errors="replace")[-6000:])

    def ended(self, seconds: float = 400) -> tuple[int, Report]:
        """Exit code and the message that the kubelet would find."""
        code = self.process.wait(seconds)
        report = decode(self.message.read_bytes())
        assert report is not None
        return code, report


@contextmanager
def supervised(
    folder: Path, python: Path, *flags: str, wrapper: tuple[str, ...] = ()
) -> Iterator[Supervised]:
    """`wrapper` is a command that runs the supervisor's."""
    running = Supervised(folder, python, flags, wrapper)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
            try:
                running.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(running.process.pid, signal.SIGKILL)
                running.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
