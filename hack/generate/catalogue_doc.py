"""docs/catalogue.md: the names that a spec may use, from the catalogue's data."""

from __future__ import annotations

from collections.abc import Iterable

from xpullm.catalog import GPU, Engine, engines, gpus, models, quantizations
from xpullm.resources.gpu import PCI_CLASSES, node_label
from xpullm.resources.names import LABEL_GPU_TYPE

GIB = 1024**3

HEAD = f"""\
# Cards, engines, quantizations, models

Made from `operator/xpullm/catalog/data` by `make generate`; do not edit.

## Cards

`spec.gpu.type`. *Visible* is the memory that an engine can use, which is less than what the box
says; plans count with it.

How the operator knows what a node has, in this order:

1. The node's label `{LABEL_GPU_TYPE}`, which you set:
   `kubectl label node NODE {LABEL_GPU_TYPE}=arc-a770-16g`.
2. The label of Intel's NFD rules for the card's PCI id, such as
   `{node_label(PCI_CLASSES[0], "56a0")}=true`.
3. What Intel's resource driver (DRA) publishes.

Where boards share a PCI id (56a0: the Arc A770 with 8 and with 16 GB), set the label: else a pod is
scheduled, and its check before start tells whether it is the right board.

| Name | Card | Visible | Device plugin's resource | PCI ids | Engine |
|---|---|---|---|---|---|
"""

ENGINES = """
## Engines

`spec.engine.name` and `version`. The newest version that runs on the card is the default;
experimental ones have to be named. With `spec.engine.image` any version may be named: it is counted
as the nearest one known.

| Name | Version | Image | Cards |
|---|---|---|---|
"""

FORMATS = """
## Quantizations

`spec.quantization`. *Checkpoint* formats are read from the files and need a model that is stored
so; the others are made from 16 bit while loading.

| Name | Meaning | From | Engines |
|---|---|---|---|
"""

MODELS = """
## Models

`spec.model.id`. The geometry of these is known, so they need neither `spec.model.facts` nor
`--config`. Names in one line have the same geometry; upper and lower case are not told apart.

"""


def catalogue() -> str:
    """The whole document."""
    cards = list(gpus().values())
    every = [version for family in engines().values() for version in family]
    return (
        HEAD
        + "".join(map(_card, cards))
        + ENGINES
        + "".join(_engine(version, cards) for version in every)
        + FORMATS
        + "".join(_format(name, every) for name in quantizations())
        + MODELS
        + "".join(f"* {names}\n" for names in _same_models())
    )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _card(card: GPU) -> str:
    visible = f"{card.visible_bytes / GIB:.1f} GiB"
    if card.devices_per_unit > 1:
        visible += f", {card.devices_per_unit} devices on a card"
    ids = ", ".join(card.pci_ids)
    return _row(
        f"`{card.name}`", card.title, visible, f"`{card.resource}`", ids, card.default_engine
    )


def _engine(engine: Engine, cards: Iterable[GPU]) -> str:
    able = ", ".join(card.name for card in cards if card.architecture in engine.architectures)
    version = engine.version + (" (experimental)" if engine.experimental else "")
    return _row(f"`{engine.name}`", version, f"`{engine.image}`", able)


def _format(name: str, every: Iterable[Engine]) -> str:
    entry = quantizations()[name]
    able = [e for e in every if name in e.quantizations and e.name in entry.flags]
    origin = "checkpoint" if entry.methods else "16 bit"
    return _row(f"`{name}`", entry.title, origin, ", ".join(dict.fromkeys(e.name for e in able)))


def _same_models() -> list[str]:
    """Ids with their aliases, which are the same entry."""
    names: dict[int, list[str]] = {}
    for name, entry in models().items():
        names.setdefault(id(entry), []).append(name)
    return sorted((", ".join(same) for same in names.values()), key=str.casefold)
