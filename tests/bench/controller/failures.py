"""``python -m tests.bench.controller.failures``: how soon is each cause told of 100 at once?

Every engine dies during its start of another public failure: what it leaves behind is the report
that the runtime makes of that log. Twice: with images of their own, so that the budget allows every
step at once, and with one image, where three go first and the others show what they would do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hack.cluster import Cluster
from tests.bench.controller.figures import Row, delays, quantiles, table
from tests.bench.controller.fleet import CRDS, NAMESPACE
from tests.bench.controller.injury import FAIL, Bystander
from tests.bench.controller.operator_process import OperatorProcess
from tests.bench.controller.sight import OWNER, Sight

from xpullm.controller.connection import load_configuration, new_client
from xpullm.controller.kinds import LLMDEPLOYMENT, POD
from xpullm_runtime.config import RuntimeConfig
from xpullm_runtime.judge import judge
from xpullm_runtime.report import Report, encode
from xpullm_runtime.state import State

LOGS = Path(__file__).parents[2] / "data" / "failures.jsonl"


def reports(count: int) -> list[Report]:
    """The last words of `count` engines, of public logs that alone prove their cause."""
    found: list[Report] = []
    with LOGS.open() as lines:
        for row in map(json.loads, lines):
            state = State(RuntimeConfig())
            state.on_output("stderr", row["log"].encode())
            state.on_output("stderr", b"")
            diagnosis = judge(state, 1, None, stopped=False)
            if diagnosis.actionable:
                found.append(state.report(diagnosis, exit_code=1))
    return [found[number % len(found)] for number in range(count)]


def manifest(number: int, image: str) -> dict[str, Any]:
    return {
        "apiVersion": LLMDEPLOYMENT.api_version,
        "kind": LLMDEPLOYMENT.kind,
        "metadata": {"namespace": NAMESPACE, "name": f"{image}{number:04d}"},
        "spec": {
            "model": {"id": "Qwen/Qwen2-7B-Instruct"},
            "quantization": "sym_int4",
            "gpu": {"type": "arc-a770-16g"},
            "engine": {"name": "ipex-llm", "image": f"{image}:1" if image == "one" else
                       f"{image}{number}:1"},
            "pod": {"annotations": {f"{FAIL}-phase": "start"}},
        },
    }  # fmt: skip


_SUMS = {
    "passes": "xpullm_reconcile_total",
    "decided": "xpullm_decide_duration_seconds_sum",
    "cpu": "process_cpu_seconds_total",
    "requests": "xpullm_api_request_duration_seconds_count",
    "waited": "xpullm_api_request_duration_seconds_sum",
}


class Failures:
    """One round: deployments appear, all their engines die at once."""

    def __init__(self, api: Bystander, sight: Sight, operator: OperatorProcess) -> None:
        self._api, self._sight, self._operator = api, sight, operator
        self.rows: list[Row] = []

    async def round(self, image: str, told: str, words: list[Report]) -> None:
        gate, count = asyncio.Semaphore(16), len(words)

        async def create(number: int) -> None:
            async with gate:
                await self._api.create(manifest(number, image))

        await asyncio.gather(*(create(number) for number in range(count)))
        names = {manifest(number, image)["metadata"]["name"] for number in range(count)}
        pods = await self._running(names)
        await asyncio.sleep(3)
        self._sight.forget()
        before = self._sums()
        await asyncio.gather(
            *(self._kill(pods[name], word) for name, word in zip(sorted(names), words, strict=True))
        )
        end = time.monotonic() + 60
        causes: dict[str, str] = {}
        while names - causes.keys() and time.monotonic() < end:
            await asyncio.sleep(0.05)
            for name in (names & self._sight.told.keys()) - causes.keys():
                healing = self._sight.state[name]["status"].get("healing", {})
                causes[name] = healing.get("lastCause", "")
        await asyncio.sleep(2)
        wanted = dict(zip(sorted(names), words, strict=True))
        right = sum(causes.get(name) == word.cause for name, word in wanted.items())
        self._tell(names, told, right, before)

    async def _running(self, names: set[str]) -> dict[str, Any]:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            pods, _ = await self._api.list(POD, NAMESPACE)
            found = {
                pod["metadata"]["labels"][OWNER]: pod
                for pod in pods
                if pod["status"].get("phase") == "Running"
            }
            if names <= found.keys():
                return found
            await asyncio.sleep(0.5)
        raise TimeoutError("the pods do not run")

    async def _kill(self, pod: dict[str, Any], word: Report) -> None:
        name, message = pod["metadata"]["name"], encode(word).decode()
        await self._api.hurt(NAMESPACE, name, "Error", 1, message)

    def _sums(self) -> dict[str, float]:
        return {name: self._operator.value(pattern) for name, pattern in _SUMS.items()}

    def _tell(self, names: set[str], told: str, right: int, before: dict[str, float]) -> None:
        sight, count = self._sight, len(names)
        causes = delays(sight.failed, sight.told, names)
        steps = delays(sight.failed, sight.stepped, names)
        spread = [sight.failed[name] for name in names & sight.failed.keys()]
        work = {name: value - before[name] for name, value in self._sums().items()}
        self._row(f"{told}: the failures arrived within", f"{max(spread) - min(spread):.2f} s", "")
        self._row(
            f"{told}: cause in status",
            f"{quantiles(causes)} ({len(causes)} of {count})",
            "p95 ≤ 2 s",
        )
        self._row(f"{told}: cause as the runtime named it", f"{right} of {count}", "all")
        if steps:
            wanted = "p95 ≤ 1 s" if told.startswith("own") else ""
            self._row(f"{told}: new template", f"{quantiles(steps)} ({len(steps)} steps)", wanted)
        self._row(
            f"{told}: passes, and time to decide one",
            f"{work['passes']:.0f}, {1000 * work['decided'] / max(1.0, work['passes']):.1f} ms",
            "",
        )
        self._row(
            f"{told}: requests, and time of one",
            f"{work['requests']:.0f}, {1000 * work['waited'] / max(1.0, work['requests']):.0f} ms",
            "",
        )
        self._row(f"{told}: CPU time of the operator", f"{work['cpu']:.1f} s", "")

    def _row(self, name: str, value: str, wanted: str) -> None:
        self.rows.append(Row(name, value, wanted))
        print(f"  {name}: {value}", flush=True)


async def measure(count: int) -> list[Row]:
    """Both rounds on a cluster of their own."""
    words = reports(count)
    with Cluster() as cluster, TemporaryDirectory() as folder:
        cluster.apply(*sorted(CRDS.glob("*.yaml")))
        cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=60s")
        cluster.kubectl("create", "namespace", NAMESPACE)
        for number in range(8):
            cluster.add_kwok_node(
                f"gpu-{number}",
                {"xpullm.io/gpu-type": "arc-a770-16g"},
                {"gpu.intel.com/i915": str(count), "memory": "64Ti"},
            )
        client = new_client(await load_configuration(str(cluster.kubeconfig)))
        api, sight = Bystander(client), Sight(client, NAMESPACE)
        await sight.open()
        operator = OperatorProcess(cluster.kubeconfig, Path(folder) / "log")
        made = Failures(api, sight, operator)
        try:
            await made.round("own", "own images", words)
            cluster.kubectl("delete", "llmd", "--all", "-n", NAMESPACE, "--wait=true")
            cluster.kubectl("wait", "pod", "--all", "--for=delete", "-n", NAMESPACE)
            await made.round("one", "one image", words)
            for problem in operator.problems[:10]:
                print(f"  logged: {problem}")
        except Exception:
            print((Path(folder) / "log").read_text()[-3000:])
            raise
        finally:
            operator.stop()
            await sight.close()
            await api.close()
        return made.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="failures at once (default: 100)")
    count = parser.parse_args().count
    print(table(asyncio.run(measure(count)), f"{count} failures at once on simulated nodes"))


if __name__ == "__main__":
    main()
