"""Which published devices are a card: what the claim's selector says, the operator says too."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from xpullm import catalog
from xpullm.api import parse_quantity
from xpullm.resources.gpu import DRIVER, DeviceRule, device_rule


def rule(card: str) -> DeviceRule:
    cards = catalog.gpus()
    return device_rule(cards[card], cards.values())


def device(pci_id: str | None, memory: str | None) -> dict[str, Any]:
    """As Intel's driver publishes one in a ResourceSlice."""
    attributes: dict[str, Any] = {"model": {"string": "A770"}}
    capacity: dict[str, Any] = {"millicores": {"value": "1k"}}
    if pci_id is not None:
        attributes["pciId"] = {"string": pci_id}
    if memory is not None:
        capacity["memory"] = {"value": memory}
    return {"name": "0000-03-00-0", "attributes": attributes, "capacity": capacity}


@dataclass(frozen=True)
class Quantity:
    """CEL's `quantity()` (Kubernetes, pkg/cel/quantity.go)."""

    exact: Fraction

    def compareTo(self, other: Quantity) -> int:  # noqa: N802
        return (self.exact > other.exact) - (self.exact < other.exact)


def selected(expression: str, published: dict[str, Any]) -> bool:
    """The expression's own words, read as Python, which binds `and` before `or` as CEL does. What
    is not there is an error, and a device whose selector fails is not allocated."""
    names = {
        "device": SimpleNamespace(
            attributes={DRIVER: SimpleNamespace(
                **{name: value["string"] for name, value in published["attributes"].items()}
            )},
            capacity={DRIVER: SimpleNamespace(
                **{n: quantity(value["value"]) for n, value in published["capacity"].items()}
            )},
        ),
        "quantity": quantity,
    }  # fmt: skip
    python = expression.replace("&&", "and").replace("||", "or")
    try:
        return bool(eval(python, {"__builtins__": {}}, names))
    except AttributeError:
        return False


def quantity(text: str) -> Quantity:
    return Quantity(parse_quantity(text))


TABLE = [
    # card, PCI id, memory, is it the card
    ("arc-a770-16g", "0x56a0", "16288Mi", True),
    ("arc-a770-16g", "0x56a0", "8127Mi", False),
    ("arc-a770-16g", "0x56a0", "0", True),  # nobody can tell: pre-flight decides
    ("arc-a770-16g", "0x56a0", None, False),
    ("arc-a770-16g", "0x56a0", "15371285300", True),
    ("arc-a770-16g", "0x56a0", "15371285299", False),
    ("arc-a770-16g", "0x56a0", "15371285299.5", False),
    ("arc-a770-16g", "0x56a0", "18787126476", True),
    ("arc-a770-16g", "0x56a0", "18787126477", False),
    ("arc-a770-16g", "0x56A0", "16288Mi", False),
    ("arc-a770-16g", "56a0", "16288Mi", False),
    ("arc-a770-16g", "0xe211", "16288Mi", False),
    ("arc-a770-16g", None, "16288Mi", False),
    ("arc-a770-8g", "0x56a0", "8127Mi", True),
    ("arc-a770-8g", "0x56a0", "16288Mi", False),
    ("arc-a770-8g", "0x56a0", "0", True),
    ("arc-pro-b60", "0xe211", "24480Mi", True),
    ("arc-pro-b60", "0xe211", "12Gi", True),  # nothing else has this id
    ("arc-pro-b60", "0xe211", "0", True),
    ("arc-pro-b60", "0xe211", None, True),
    ("arc-pro-b60", "0x56a0", "24480Mi", False),
]


@pytest.mark.parametrize(("card", "pci_id", "memory", "same"), TABLE)
def test_the_selector_and_the_operator_say_the_same(
    card: str, pci_id: str | None, memory: str | None, same: bool
) -> None:
    published = device(pci_id, memory)
    assert selected(rule(card).expression, published) is same
    assert rule(card).admits(published) is same


@pytest.mark.parametrize("card", catalog.gpus())
def test_of_every_card_each_id_is_found_whatever_its_driver_knows_of_memory(card: str) -> None:
    usable = str(catalog.gpus()[card].usable_bytes)
    for pci_id in catalog.gpus()[card].pci_ids:
        for memory in ("0", usable):
            published = device(f"0x{pci_id}", memory)
            assert selected(rule(card).expression, published)
            assert rule(card).admits(published)


def test_a_name_with_the_drivers_domain_is_the_same_name() -> None:
    published = {
        "attributes": {f"{DRIVER}/pciId": {"string": "0x56a0"}},
        "capacity": {f"{DRIVER}/memory": {"value": "16288Mi"}},
    }
    assert rule("arc-a770-16g").admits(published)
    assert not rule("arc-a770-8g").admits(published)


@pytest.mark.parametrize(
    "published",
    [
        {},
        {"attributes": None, "capacity": None},
        {"attributes": {"pciId": "0x56a0"}},
        {"attributes": {"pciId": {"int": 22176}}},
        {"attributes": {"pciId": {"string": "0x56a0"}}, "capacity": {"memory": {"value": "x"}}},
    ],
)
def test_what_no_driver_publishes_is_no_card(published: dict[str, Any]) -> None:
    assert not rule("arc-a770-16g").admits(published)
