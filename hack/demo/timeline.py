"""What happens, as it happens, with seconds since the start."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from typing import Any

from hack.cluster import Cluster, ClusterError

Object = dict[str, Any]


class Timeline:
    """Prints a line for every change of an LLMDeployment that a person would care about."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._start = time.monotonic()
        self._seen: set[tuple[str, ...]] = set()

    def note(self, text: str) -> None:
        """A line with the time; long ones are wrapped under themselves."""
        seconds = f"{time.monotonic() - self._start:7.1f} s  "
        lines = textwrap.wrap(text, 100) or [""]
        print(seconds + lines[0], *(" " * 11 + line for line in lines[1:]), sep="\n", flush=True)

    def follow(self, name: str, done: Callable[[Object], bool], timeout: float) -> Object:
        """Watch one LLMDeployment until `done`; returns it.

        Raises:
            ClusterError: not done in time; the message holds its conditions.
        """
        deadline = time.monotonic() + timeout
        while True:
            seen = self._cluster.get("llmdeployment", name)
            self._tell(seen)
            if done(seen):
                return seen
            if time.monotonic() > deadline:
                raise ClusterError(f"{name}: not done after {timeout:.0f} s: {conditions(seen)}")
            self._cluster.check()
            time.sleep(0.2)

    def _tell(self, seen: Object) -> None:
        name, status = seen["metadata"]["name"], seen.get("status", {})
        for step in status.get("healing", {}).get("history", []):
            if self._first(name, "step", str(step.get("attempt")), step.get("planHash", "")):
                self.note(f"{name}: FAILED  {step['cause']}, phase {step['phase']}")
                self.note(f"{name}:   evidence: {step.get('evidence', '')}")
                self.note(
                    f"{name}: HEAL    {step['argument']}: {step.get('from')} -> {step.get('to')}"
                )
        for condition in status.get("conditions", []):
            kind, state, reason = condition["type"], condition["status"], condition["reason"]
            if kind in ("Ready", "Stalled") and self._first(
                name, kind, state, reason, status.get("plan", {}).get("hash", "")
            ):
                self.note(f"{name}: {kind}={state} {reason}: {condition['message']}")

    def _first(self, *what: str) -> bool:
        if what in self._seen:
            return False
        self._seen.add(what)
        return True


def condition(seen: Object, kind: str) -> str:
    for one in seen.get("status", {}).get("conditions", []):
        if one["type"] == kind:
            return str(one["status"])
    return "Unknown"


def conditions(seen: Object) -> str:
    found = seen.get("status", {}).get("conditions", [])
    return "; ".join(f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in found)


def is_ready(seen: Object) -> bool:
    """Ready for the generation that is stored now."""
    fresh = seen.get("status", {}).get("observedGeneration") == seen["metadata"]["generation"]
    return fresh and condition(seen, "Ready") == "True"


def is_stalled(seen: Object) -> bool:
    return condition(seen, "Stalled") == "True"
