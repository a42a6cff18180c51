"""What a change of the Deployment has to tell: its Events, and what was learned.

A template waits for nobody, so the Deployment is written first, and the news of its change lie in
it, in the same write. They are told right after it and before status. Where the operator died in
between, status is still the old one: the next pass tells the news, and only then decides anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from xpullm.api import EventReason
from xpullm.controller.decide_plan import Standing
from xpullm.controller.decide_pods import dig, entries, text
from xpullm.controller.types import EventSpec, Object
from xpullm.healing.history import status_history
from xpullm.healing.tuning import Key, Observation, decode_entries, decode_key, status_of
from xpullm.resources import codec

Seen = tuple[Key, Observation]
_REASONS = frozenset(str(reason) for reason in EventReason)


@dataclass(frozen=True, slots=True)
class News:
    """Events, and observations for the tuning records."""

    events: tuple[EventSpec, ...] = ()
    seen: tuple[Seen, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.events or self.seen)


def with_news(changed: Standing, events: Sequence[EventSpec], seen: Sequence[Seen]) -> Standing:
    """The same change, with what it has to tell in the same write."""
    body = {
        "events": [asdict(event) for event in events],
        "seen": [status_of(key, [observation]) for key, observation in seen],
    }
    packed = codec.pack(body) if events or seen else ""
    return replace(changed, truth=replace(changed.truth, news=packed))


def untold(live: Object, standing: Standing | None) -> News:
    """The news of the last change, if status does not show that change yet."""
    if standing is None or not standing.truth.news or _shown(live, standing):
        return News()
    body = codec.unpack(standing.truth.news)
    if not isinstance(body, Mapping):
        return News()
    events = (_event(row) for row in entries(body, "events"))
    return News(
        tuple(event for event in events if event is not None),
        tuple(_seen(entries(body, "seen"))),
    )


def _shown(live: Object, standing: Standing) -> bool:
    """Status is written last: it shows the change once all else was done."""
    rows, ours = entries(live, "status", "healing", "history"), status_history(standing.history)
    last, newest = (rows[-1] if rows else {}), (ours[-1] if ours else {})
    return text(live, "status", "plan", "hash") == standing.plan.hash and all(
        last.get(name) == newest.get(name) for name in ("attempt", "time", "result")
    )


def _event(row: Mapping[str, Any]) -> EventSpec | None:
    """None for what we would not say: whoever may write Deployments must not speak as us."""
    if text(row, "type") not in ("Normal", "Warning") or text(row, "reason") not in _REASONS:
        return None
    node = text(row, "regarding", "metadata", "name")
    regarding = None
    if node:
        metadata = {"name": node, "uid": text(row, "regarding", "metadata", "uid")}
        regarding = {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
    elif dig(row, "regarding") is not None:
        return None
    return EventSpec(
        type=text(row, "type"),
        reason=text(row, "reason"),
        action=text(row, "action"),
        message=text(row, "message"),
        discriminator=text(row, "discriminator"),
        regarding=regarding,
    )


def _seen(rows: Iterable[Mapping[str, Any]]) -> Iterable[Seen]:
    for row in rows:
        key = decode_key(row)
        for observation in decode_entries(row):
            yield key, observation
