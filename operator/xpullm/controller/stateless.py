"""kopf's memory of objects, switched off: it is kept per event, and we have no use for it.

kopf copies each object three times to find out what changed, also where only `on.event` handlers
exist: 12 ms for one event of a Deployment of ours, under a profiler two thirds of all time spent
in kopf (measured, kopf 1.45.2).
"""

# ruff: noqa: ARG002  the signatures are kopf's

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import kopf


class NoDiffBase(kopf.DiffBaseStorage):
    """Every object is as if never handled and never changed."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> Any:
        """Nothing of an object matters to kopf."""
        return {}

    def fetch(self, *, body: kopf.Body) -> Any:
        """Nothing was stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Nothing is stored."""


class NoProgress(kopf.ProgressStorage):
    """No handler of ours has progress: it runs once, on the event."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        """Nothing was stored."""

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is stored."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing to purge."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Nothing to touch."""

    def clear(self, *, essence: Any) -> Any:
        """Nothing of ours is in the object."""
        return essence
