"""Hidden truths come from the environment or a file, and a typo is an error."""

from pathlib import Path

import pytest
from hack.simengine.truth import GIB, MIB, load, quantity


@pytest.mark.parametrize(
    ("text", "count"),
    [("3Gi", 3 * GIB), ("15.5Gi", 15 * GIB + 512 * MIB), ("600Mi", 600 * MIB), ("0", 0)],
)
def test_quantities(text: str, count: int) -> None:
    assert quantity(text) == count


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "truth.json"
    file.write_text('{"foreign": "3Gi", "gated": true, "die_at_request": 2}')
    truth = load({"SIMENGINE_FILE": str(file), "SIMENGINE_FOREIGN": "1Gi", "HOME": "/"})
    assert (truth.foreign, truth.gated, truth.die_at_request) == (GIB, True, 2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SIMENGINE_FOREIN", "3Gi", "unknown setting 'forein'"),
        ("SIMENGINE_FOREIGN", "3GB", "foreign='3GB' is not a int"),
        ("SIMENGINE_GATED", "maybe", "gated='maybe' is not a bool"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        load({name: value})
