"""How the values of flags are read out of vLLM's sources, by small sources of each kind."""

from __future__ import annotations

import ast

import pytest
from hack.generate.flags import config_fields
from hack.generate.flagvalues import aliases_of, values_of

CONFIG = """
DType = Literal["auto", "half"]
Ranks = Literal[8, 16, 128, 1]

class LoRAConfig:
    dtype: DType | torch.dtype = "auto"
    rank: Ranks = 16
    slots: int = 1
    share: float | None = 0.5
    other: Optional[SkipValidation[int]] = None
    backend: str | DType = "x"
    sizes: int | list[int] = 1
    stats: bool = False
"""


def read(argument: str) -> object:
    source = f"lora = get_kwargs(LoRAConfig)\nparser.add_argument('--flag', '-f', {argument})"
    config = ast.parse(CONFIG)
    found = values_of([ast.parse(source)], config_fields([config]), aliases_of([config]))
    return found.get("flag")


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        ("type=int", "int"),
        ("type=float, default=None", "float"),
        ("type=int, choices=[8, 16]", ["8", "16"]),
        ("type=str, choices=NAMES", None),
        ("type=nullable_str", None),
        ("type=int, nargs='+'", None),
        ("action='store_true'", None),
        ("**lora['rank']", ["1", "8", "16", "128"]),
        ("**lora['slots']", "int"),
        ("**lora['share']", "float"),
        ("**lora['other']", "int"),
        ("**lora['dtype']", ["auto", "half"]),  # a command line can't give a torch.dtype
        ("**lora['backend']", None),
        ("**lora['sizes']", None),
        ("**lora['stats']", None),
        ("**lora['unknown']", None),
    ],
)
def test_what_a_flag_takes(argument: str, kind: object) -> None:
    assert read(argument) == kind
