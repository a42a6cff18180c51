"""`make demo`: plan, fail, name the cause, heal, serve; on a real Kubernetes without a GPU."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from hack.cluster import Cluster, ClusterError, real_node_unavailable
from hack.demo import images, objects
from hack.demo.install import Operator, install_chart
from hack.demo.timeline import Timeline, conditions, is_ready, is_stalled


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="wait for Enter before cleaning up")
    arguments = parser.parse_args()
    reason = real_node_unavailable()
    if reason:
        print(f"demo: this machine can't run the real node: {reason}", file=sys.stderr)
        print("demo: `make test` runs everything that needs no node", file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory(prefix="xpullm-demo-") as folder:
            run(Path(folder), arguments.keep)
    except ClusterError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; everything is cleaned up", file=sys.stderr)
        return 130
    return 0


def run(folder: Path, keep: bool) -> None:
    step("A real Kubernetes on this machine: API server, scheduler, kubelet, containers")
    with Cluster(
        real_node=True,
        labels=objects.NODE_LABELS,
        resources=objects.NODE_RESOURCES,
        restart_backoff="2s",
    ) as cluster:
        images.load(cluster, folder)
        install_chart(cluster)
        operator = Operator(cluster, folder / "operator.log")
        try:
            operator.start()
            story(cluster, folder)
        except ClusterError:
            print(operator.tail(), file=sys.stderr)
            raise
        finally:
            if keep:
                print(f"\nKUBECONFIG={cluster.kubeconfig}")
                input("Enter cleans up ")
            operator.stop()


def story(cluster: Cluster, folder: Path) -> None:
    seed = objects.seed(images.SEED)
    manifest = folder / "qwen2-7b.json"
    manifest.write_text(json.dumps(seed))

    step("The plan, before anything runs (xpullm plan -f qwen2-7b.json)")
    subprocess.run([sys.executable, "-m", "xpullm.cli.main", "plan", "-f", manifest], check=True)

    step("kubectl apply: 3 GiB of the card are held by something that a pod can't see")
    timeline = Timeline(cluster)
    cluster.apply(seed)
    timeline.note("qwen2-7b: applied")
    healed = timeline.follow("qwen2-7b", lambda o: is_ready(o) or is_stalled(o), 300)
    require(is_ready(healed), "qwen2-7b did not become Ready")
    require(attempts(healed) >= 1, "qwen2-7b became Ready without a step; nothing was healed")

    step("A chat completion through the Service")
    with cluster.port_forward("svc/qwen2-7b", 8000) as url:
        print(f"  {chat(url, 'Qwen/Qwen2-7B-Instruct')}")

    step("A memory limit of the user's that is too small: the kernel kills the engine")
    cluster.apply(objects.host_oom(images.LOADING))
    timeline.note("small-limit: applied")
    raised = timeline.follow("small-limit", lambda o: is_ready(o) or is_stalled(o), 300)
    require(is_ready(raised), "small-limit did not become Ready")
    require(causes(raised)[:1] == ["host_oom"], f"small-limit: causes are {causes(raised)}")

    step("What can't fit is refused, with figures and alternatives")
    cluster.apply(objects.too_big())
    timeline.note("qwen2-72b: applied")
    refused = timeline.follow("qwen2-72b", is_stalled, 60)
    require(not is_ready(refused), "qwen2-72b is Ready")
    told = conditions(refused)
    require("Stalled=True Infeasible: " in told, f"qwen2-72b does not say what is too big: {told}")

    step("As a user sees it: kubectl get llmd -o wide")
    print(cluster.kubectl("get", "llmd", "-o", "wide").stdout)
    step("kubectl get events")
    columns = "TYPE:.type,REASON:.reason,OBJECT:.regarding.name,NOTE:.note"
    print(
        cluster.kubectl(
            "get", "events.events.k8s.io", "--field-selector", "regarding.kind=LLMDeployment",
            "--sort-by", ".metadata.creationTimestamp", "-o", f"custom-columns={columns}",
        ).stdout
    )  # fmt: skip
    print("demo: healed and served; everything is cleaned up now")


def step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def require(fact: bool, otherwise: str) -> None:
    if not fact:
        raise ClusterError(otherwise)


def attempts(seen: dict[str, Any]) -> int:
    return int(seen["status"].get("healing", {}).get("attempt", 0))


def causes(seen: dict[str, Any]) -> list[str]:
    return [s["cause"] for s in seen["status"].get("healing", {}).get("history", [])]


def chat(url: str, model: str) -> str:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 8,
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.dumps(json.load(answer)["choices"][0]["message"])


if __name__ == "__main__":
    sys.exit(main())
