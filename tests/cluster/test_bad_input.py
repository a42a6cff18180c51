"""Each bad input is refused by the API server, or told once in a condition with the way out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hack.cluster import Cluster
from tests.cluster.kwok_world import CARD, World, nodes, world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

SEED = "Qwen/Qwen2-7B-Instruct"


@pytest.fixture(scope="module")
def live(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    log = tmp_path_factory.mktemp("bad-input") / "log"
    with nodes(cluster, "bad", {"a": 8}), world(cluster, log) as w:
        yield w
        assert "Traceback" not in log.read_text()


def argument(name: str, value: str | None = None) -> dict[str, Any]:
    item = {"name": name} if value is None else {"name": name, "value": value}
    return {"engine": {"args": [item]}}


def source(**members: Any) -> dict[str, Any]:
    return {"model": {"id": SEED, "source": members}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"model": {}}, ("spec.model.id", "Required value")),
        ({"model": None}, ("spec.model", "Required value")),
        (source(huggingFace={}, modelScope={}), ("spec.model.source", "at most one of")),
        ({"gpu": {"type": CARD, "count": -1}}, ("spec.gpu.count", "greater than or equal to 1")),
        ({"gpu": {"type": CARD, "count": 0}}, ("spec.gpu.count", "greater than or equal to 1")),
        ({"replicas": -1}, ("spec.replicas", "greater than or equal to 0")),
        ({"serving": {"contextLength": 0}}, ("spec.serving.contextLength", "greater than")),
        ({"serving": {"contextLength": -8192}}, ("spec.serving.contextLength", "greater than")),
        ({"serving": {"concurrency": 0}}, ("spec.serving.concurrency", "greater than")),
        ({"healing": {"maxAttempts": -1}}, ("spec.healing.maxAttempts", "greater than")),
        ({"healing": {"mode": "Never"}}, ("spec.healing.mode", "Unsupported value")),
        ({"serving": {"contextLenght": 8192}}, ("contextLenght", "field not declared in schema")),
        ({"quantisation": "fp8"}, ("quantisation", "field not declared in schema")),
        ({"quantization": "FP 8"}, ("spec.quantization", "should match")),
        (argument("port", "9000"), ("spec.engine.args", "port")),
        (argument("api-key", "x"), ("spec.engine.args", "api-key")),
        (argument("model", "x"), ("spec.engine.args", "model")),
        ({"service": {"port": 70000}}, ("spec.service.port", "less than or equal to 65535")),
    ],
    ids=str,
)
def test_the_api_server_refuses(live: World, spec: dict[str, Any], words: tuple[str, ...]) -> None:
    manifest = live.manifest("refused", **spec)
    manifest["spec"] = {k: v for k, v in (manifest["spec"] | spec).items() if v is not None}
    answer = live.api.apply(manifest, live.namespace, manager="user")
    assert answer.code >= 400, answer.body["spec"]
    for word in words:
        assert word in answer.message
    assert live.find("LLMDeployment", "refused") is None


@dataclass(frozen=True)
class Wrong:
    """What the schema cannot know; the condition names `field` and each of `words`."""

    name: str
    spec: dict[str, Any]
    reason: str
    field: str
    words: tuple[str, ...]


WRONG = [
    Wrong("quantization", {"quantization": "int3"}, "UnknownQuantization", "spec.quantization",
          ("int3", "sym_int4")),
    Wrong("gpu", {"gpu": {"type": "arc-z9"}}, "UnknownGPU", "spec.gpu.type",
          ("arc-z9", "nearest: arc-")),
    Wrong("engine", {"engine": {"name": "sglang"}}, "UnknownEngine", "spec.engine.name",
          ("sglang", "ipex-llm")),
    Wrong("flag", argument("no-such-flag", "1"), "InvalidArgument",
          "spec.engine.args[no-such-flag]", ("ipex-llm",)),
    Wrong("flag-value", argument("max-num-seqs", "four"), "InvalidArgument",
          "spec.engine.args[max-num-seqs]", ("four",)),
    Wrong("flag-negative", argument("max-num-seqs", "-4"), "InvalidArgument",
          "spec.engine.args[max-num-seqs]", ("-4",)),
    Wrong("utilization", argument("gpu-memory-utilization", "1.5"), "InvalidArgument",
          "spec.engine.args[gpu-memory-utilization]", ("1.5",)),
    Wrong("combination", {"engine": {"name": "vllm"}}, "IncompatibleQuantization",
          "spec.quantization", ("sym_int4", "vllm")),
    Wrong("model", {"model": {"id": "acme/unheard-of"}}, "UnknownModel", "spec.model.id",
          ("acme/unheard-of", "spec.model.facts")),
    Wrong("context", {"serving": {"contextLength": 1_000_000}}, "ContextTooLong",
          "spec.serving.contextLength", ("1000000", "32768")),
    Wrong("count", {"gpu": {"type": CARD, "count": 3}}, "InvalidArgument", "spec.gpu.count",
          ("3", "28 attention heads", "use 1, 2 or 4")),
    Wrong("size", {"model": {"id": "Qwen/Qwen2-72B-Instruct"}, "quantization": "fp16",
                   "gpu": {"type": CARD, "count": 1}},
          "Infeasible", "", ("weights", "GiB", "what fits")),
]  # fmt: skip


def test_the_operator_tells_field_value_and_way_out_once(live: World) -> None:
    for wrong in WRONG:
        live.apply(wrong.name, **wrong.spec)
    for wrong in WRONG:
        message = live.until(wrong.name, wrong.reason)
        for word in (wrong.field, *wrong.words):
            assert word in message, f"{wrong.name}: {message}"
        stalled = live.condition(wrong.name, "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", wrong.reason)
        assert live.find("Deployment", wrong.name) is None
        (note,) = live.wait(lambda name=wrong.name: live.events(name)).values()
        assert note == message[:1024]
    names = [wrong.name for wrong in WRONG]
    before = live.quiet(*names)
    time.sleep(4)  # long enough for any back-off that begins within seconds
    assert live.versions(*names) == before
    # The same operator still does its work, for the very objects that were wrong.
    for wrong in WRONG[:3]:
        live.apply(wrong.name)
        live.until(wrong.name, "Starting")
        assert live.condition(wrong.name, "Stalled")["status"] == ""


def test_a_wrong_edit_leaves_what_serves_alone(live: World) -> None:
    with live.deployed("serving") as name:
        live.serve(name)
        before = live.template(name)
        live.apply(name, quantization="int3")
        assert "int3" in live.until(name, "UnknownQuantization")
        assert live.condition(name, "Available")["status"] == "True"
        assert live.template(name) == before
        live.apply(name)
        live.until(name, "ReplicasReady")
        assert live.template(name) == before
