"""Finds catalogue entries by the names people write, and suggests the nearest ones."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from xpullm.catalog.load import engines, flag_lists, flag_values, gpus, models
from xpullm.catalog.types import GPU, Engine


def nearest(value: str, names: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """The names most like `value`, best first: those that begin with it, those that hold it, then
    those spelled alike; the first names where nothing is alike."""
    import difflib  # only needed to explain a refusal

    known = list(names)
    folded = {n.casefold(): n for n in reversed(known)}
    wanted = value.casefold()
    holding = [f for f in reversed(folded) if wanted and wanted in f]
    longer = sorted(holding, key=lambda f: not f.startswith(wanted))
    found = dict.fromkeys((*longer, *difflib.get_close_matches(wanted, folded, limit, 0.5)))
    return tuple(folded[f] for f in found)[:limit] or tuple(known[:limit])


def version_key(version: str) -> tuple[int, ...]:
    """Orders versions by their leading numbers: "0.25.1rc2.dev1" sorts as 0.25.1."""
    numbers = re.match(r"\D*(\d+(?:\.\d+)*)", version)
    return tuple(int(n) for n in numbers[1].split(".")) if numbers else ()


def default_engine(name: str, architecture: str | None = None) -> Engine | None:
    """The newest version that is not experimental (and runs on the architecture, where given)."""
    for entry in reversed(engines().get(name, ())):
        if not entry.experimental and (architecture is None or architecture in entry.architectures):
            return entry
    return None


@cache
def find_engine(name: str, version: str) -> Engine | None:
    """The entry for a version: the same, else one of the same release (0.25.x), else the newest
    below it, else the oldest. The last two are guesses and have `assumed` set. Flags are those of
    the nearest known release between the entry's and the wanted version."""
    family = engines().get(name, ())
    for entry in family:
        if version == entry.version:
            return entry
    wanted = version_key(version)
    if not family or not wanted:
        return None
    same = [e for e in family if version_key(e.version)[:2] == wanted[:2]]
    below = [e for e in family if version_key(e.version) <= wanted]
    entry = (same or below or family[:1])[-1]
    newer = _newer_list(entry, wanted)
    entry = replace(entry, version=version, assumed=not same)
    if newer is None:
        return entry
    return replace(entry, flags=frozenset(flag_lists()[newer]), values=flag_values()[newer])


def _newer_list(entry: Engine, wanted: tuple[int, ...]) -> str | None:
    """The newest release up to this version whose flags are known, where that is above the entry's
    own."""
    if entry.version != entry.vllm_version:
        return None  # an image line with version numbers of its own
    newer = [v for v in flag_lists() if version_key(entry.version) < version_key(v) <= wanted]
    return max(newer, key=version_key) if newer else None


def find_model(name: str) -> Mapping[str, Any] | None:
    """The entry of a model by id or alias; upper and lower case are not told apart."""
    table = models()
    return table.get(name) or _folded_models().get(name.casefold())


@cache
def _folded_models() -> Mapping[str, Mapping[str, Any]]:
    return {n.casefold(): entry for n, entry in reversed(list(models().items()))}


def gpus_by_pci_id(pci_id: str) -> tuple[GPU, ...]:
    """Cards with this PCI device id ("56a0", "0x56A0"); more than one where it is ambiguous."""
    wanted = pci_id.casefold().removeprefix("0x")
    return tuple(g for g in gpus().values() if wanted in g.pci_ids)
