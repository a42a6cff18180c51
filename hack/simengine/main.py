"""The API process: command line, checks, engine, server, and how each generation dies."""

import argparse
import os
import signal
import sys
import threading
from dataclasses import replace

from . import flags, hub, wording
from .client import Engine
from .log import Log
from .model import Model, ModelError, find
from .plan import Arguments, BadArgumentsError, resolve_v0, resolve_v1
from .server import Server
from .truth import Truth, load

_WATCHDOG_S = 0.3  # vLLM looks every 5 s; each test would wait for it


def vllm(words: list[str] | None = None) -> int:
    """``vllm serve MODEL …``, and nothing else of vLLM's commands."""
    words = sys.argv[1:] if words is None else words
    truth = load()
    truth = replace(truth, version=truth.version or "0.26.0")
    if words[:1] in (["--version"], ["-v"]):
        print(truth.version)
        return 0
    if words[:1] != ["serve"]:
        print("usage: vllm serve [model_tag] [options]\nvllm: error: only `serve` is here",
              file=sys.stderr)  # fmt: skip
        return 2
    made = flags.parser("vllm serve", "vllm-0.26", truth.reject_flags)
    made.usage = "vllm serve [model_tag] [options]"
    made.add_argument("model_tag", nargs="?")
    parsed = flags.parse(made, words[1:])
    parsed.model = parsed.model_tag or parsed.model or "Qwen/Qwen3-0.6B"
    return _serve("v1", parsed, truth)


def vllm_module(words: list[str] | None = None) -> int:
    """``python -m vllm.entrypoints.openai.api_server --model …``."""
    words = sys.argv[1:] if words is None else words
    return vllm(["serve", *words])


def ipex_llm(words: list[str] | None = None) -> int:
    """``python -m ipex_llm.vllm.xpu.entrypoints.openai.api_server --model …``."""
    truth = load()
    truth = replace(truth, version=truth.version or "0.8.3")
    made = flags.parser("api_server.py", "ipex-llm-0.8.3", truth.reject_flags)
    parsed = flags.parse(made, sys.argv[1:] if words is None else words)
    parsed.model = parsed.model or "facebook/opt-125m"
    return _serve("v0", parsed, truth)


def _serve(line: str, parsed: argparse.Namespace, truth: Truth) -> int:
    v1 = line == "v1"
    log = Log(f"(APIServer pid={os.getpid()}) " if v1 else "")
    signal.signal(signal.SIGTERM, _interrupted(log))
    log.info("__init__.py:239", "Automatically detected platform xpu.")
    log.info("api_server.py:1043", f"vLLM API server version {truth.version}")
    log.info("api_server.py:1044", f"args: {parsed}" if not v1 else f"non-default args: {parsed}")
    try:
        model = _preflight(parsed, truth)
        arguments = (resolve_v1 if v1 else resolve_v0)(parsed, model)
    except BadArgumentsError as error:
        return _failed(log, _bad_arguments(str(error), v1=v1))
    except _RefusedError as error:
        return _failed(log, error.lines)
    key = parsed.api_key or os.environ.get("VLLM_API_KEY")
    try:
        server = Server(parsed.host or "0.0.0.0", parsed.port, log, key, v1)  # as vLLM
    except OSError as error:
        return _failed(log, [f"OSError: {error}"])
    engine = Engine(line, truth, arguments, parsed.model)
    if not v1:
        log.info("api_server.py:246", f"Started engine process with PID {engine.process.pid}")
    if not engine.wait_until_ready():
        return _failed(log, _start_failed(engine, v1=v1))
    return _run(log, server, engine, parsed, arguments, truth)


class _RefusedError(Exception):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[0])
        self.lines = lines


def _preflight(parsed: argparse.Namespace, truth: Truth) -> Model:
    if truth.no_device:
        warning = (
            "UserWarning: XPU device count is zero! (Triggered internally at XPUFunctions.cpp)"
        )
        raise _RefusedError(
            [warning, "RuntimeError: Failed to infer device type, please set the environment "
             "variable `VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging to help debug the "
             "issue."]
        )  # fmt: skip
    if truth.gated:
        raise _RefusedError(wording.gated(parsed.model))
    if truth.not_found:
        raise _RefusedError(wording.not_found(parsed.model))
    try:
        model = find(parsed.model)
    except ModelError as error:
        raise _RefusedError([f"OSError: {error}"]) from error
    hub.download(parsed.model, parsed.revision)
    return model


def _bad_arguments(text: str, *, v1: bool) -> list[str]:
    if not v1:
        return [f"ValueError: {text}"]
    text = text if text.startswith("Value error, ") else f"Value error, {text}"
    return [
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig",
        f"  {text} [type=value_error, input_value=ArgsKwargs(()), input_type=ArgsKwargs]",
    ]


def _start_failed(engine: Engine, *, v1: bool) -> list[str]:
    if not v1:
        text = "Engine process failed to start. See stack trace for the root cause."
        return [f"RuntimeError: {text}"]
    failed = {"EngineCore": engine.process.returncode}
    return [
        "RuntimeError: Engine core initialization failed. See root cause above. "
        f"Failed core proc(s): {failed}"
    ]


def _failed(log: Log, lines: list[str]) -> int:
    root = "/opt/venv/lib/python3.12/site-packages/vllm/entrypoints"
    log.raw("Traceback (most recent call last):")
    log.raw(f'  File "{root}/cli/main.py", line 92, in main')
    log.raw("    args.dispatch_function(args)")
    for line in lines:
        log.raw(line)
    return 1


def _run(
    log: Log,
    server: Server,
    engine: Engine,
    parsed: argparse.Namespace,
    arguments: Arguments,
    truth: Truth,
) -> int:
    assert engine.ready is not None
    names = parsed.served_model_name or [parsed.model]
    server.engine, server.models, server.longest = engine, names, engine.ready["longest"]
    server.info = {
        "block_size": arguments.block_size,
        "gpu_memory_utilization": arguments.utilization,
        "num_gpu_blocks": engine.ready["blocks"],
        "version": truth.version,
    }
    server.access_log = not getattr(parsed, "disable_uvicorn_access_log", False)
    server.keeps_alive = truth.stay_alive or bool(os.environ.get("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH"))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    server.server_activate()
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
    ).start()
    _announce(log, server)
    dead = _watch(log, server, engine, stop)
    return _shut_down(log, server, engine, truth, dead=dead)


def _announce(log: Log, server: Server) -> None:
    host, port = server.server_address[:2]
    product = "vLLM server" if server.v1 else "vLLM API server"
    log.info("api_server.py:677", f"Starting {product} on http://{host!s}:{port}")
    log.info("launcher.py:37", "Available routes are:")
    for route in ("/health", "/metrics", "/v1/models", "/v1/chat/completions", "/v1/completions"):
        method = "POST" if "completions" in route else "GET"
        log.info("launcher.py:46", f"Route: {route}, Methods: {method}")
    for line in (
        f"Started server process [{os.getpid()}]",
        "Waiting for application startup.",
        "Application startup complete.",
    ):
        log.raw(f"INFO:     {line}")


def _watch(log: Log, server: Server, engine: Engine, stop: threading.Event) -> bool:
    """Wait for the end; true where the engine died under the server."""
    reported = False
    while not stop.wait(_WATCHDOG_S / 10):
        if engine.throughput is not None:
            prompt, generated = engine.throughput
            engine.throughput = None
            log.info(
                "loggers.py:257",
                f"Engine 000: Avg prompt throughput: {prompt:.1f} tokens/s, Avg generation "
                f"throughput: {generated:.1f} tokens/s, Running: {engine.gauges['running']:.0f} "
                f"reqs, Waiting: {engine.gauges['waiting']:.0f} reqs, GPU KV cache usage: "
                f"{100 * engine.gauges['usage']:.1f}%, Prefix cache hit rate: 0.0%",
            )
        if engine.dead.is_set() and not reported:
            _report_death(log, engine, v1=server.v1)
            reported = True
            if not server.keeps_alive:
                return not stop.wait(_WATCHDOG_S)  # where both were ended, it is no death
    return False


def _report_death(log: Log, engine: Engine, *, v1: bool) -> None:
    if not v1:
        if not engine.errored:
            died = f"RuntimeError('Engine process (pid {engine.process.pid}) died.')"
            log.error("client.py:305", f"{died}\nNoneType: None")
        log.raw("ERROR:    Exception in ASGI application")
        log.raw("vllm.engine.multiprocessing.MQEngineDeadError: Engine loop is not running. "
                "Inspect the stacktrace to find the original error: "
                f"{engine.errored or 'RuntimeError'}.")  # fmt: skip
        return
    if engine.process.returncode < 0:
        text = "Engine core proc EngineCore died unexpectedly, shutting down client."
        log.error("core_client.py:702", text)
    log.error(
        "async_llm.py:704",
        "AsyncLLM output_handler failed.\nTraceback (most recent call last):\n"
        f"vllm.v1.engine.exceptions.EngineDeadError: {wording.DEAD}",
    )


def _shut_down(log: Log, server: Server, engine: Engine, truth: Truth, *, dead: bool) -> int:
    if not dead and server.v1:
        log.info("launcher.py:100", "[shutdown] API server: shutdown triggered")
    engine.stop()
    server.shutdown()
    server.server_close()
    for line in (
        "Shutting down",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
        f"Finished server process [{os.getpid()}]",
    ):
        log.raw(f"INFO:     {line}")
    if not dead:
        return 0
    if truth.death_exit_code >= 0:
        return truth.death_exit_code
    return 1 if server.v1 else 0  # V0's server ends its loop in good order


def _interrupted(log: Log) -> "signal._HANDLER":
    def leave(*_: object) -> None:
        log.raw("Traceback (most recent call last):\nKeyboardInterrupt: terminated")
        os._exit(1)

    return leave
