"""Settings: flags win over the environment, and mistakes are named."""

from __future__ import annotations

import pytest

from xpullm.controller.settings import InvalidSettingsError, Settings, parse


def test_defaults() -> None:
    assert parse([], {}) == Settings()


def test_flags_win_over_the_environment() -> None:
    environment = {"XPULLM_WORKERS": "3", "XPULLM_LEADER_ELECT": "false", "XPULLM_UNRELATED": "x"}
    settings = parse(["--workers", "5", "--namespaces", "b, a,b"], environment)
    assert settings == Settings(workers=5, leader_elect=False, namespaces=("a", "b"))


def test_a_switch_can_be_turned_off_by_flag() -> None:
    assert parse(["--no-leader-elect"], {}).leader_elect is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "workers is 0; it must be from 1 to 256"),
        (["--workers", "many"], "workers is 'many'; it must be a whole number"),
        (["--log-format", "xml"], "log_format is 'xml'; it must be one of text, json"),
        (["--render-groups", "44,video"], "render_groups has 'video'"),
        (["--probe-port", "70000"], "probe_port is 70000; it must be from -1 to 65535"),
    ],
)
def test_mistakes_name_the_setting_the_value_and_what_is_allowed(
    arguments: list[str], message: str
) -> None:
    with pytest.raises(InvalidSettingsError, match=message):
        parse(arguments, {})


def test_a_wrong_switch_in_the_environment_is_named() -> None:
    with pytest.raises(InvalidSettingsError, match="leader_elect is 'maybe'"):
        parse([], {"XPULLM_LEADER_ELECT": "maybe"})
