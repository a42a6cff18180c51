"""How flags are read out of vLLM's sources, by small sources of each kind it has had."""

from __future__ import annotations

import ast

from hack.generate.flags import config_fields, flags_of

CONFIG = """
class Common:
    trust: bool = False

class ModelConfig(Common):
    dtype: str = "auto"
    prefix: bool | None = None
    token: bool | str | None = None
"""


def read(source: str) -> list[str]:
    return flags_of([ast.parse(source)], config_fields([ast.parse(CONFIG)]))


def test_a_plain_argument_is_its_long_names() -> None:
    source = """parser.add_argument("--tensor-parallel-size", "-tp", "--tp-size", type=int)"""
    assert read(source) == ["tensor-parallel-size", "tp-size"]


def test_a_switch_has_no_negative_form() -> None:
    assert read("""parser.add_argument("--enforce-eager", action="store_true")""") == [
        "enforce-eager"
    ]


def test_an_optional_boolean_has_one() -> None:
    assert read(
        """group.add_argument("--log", action=argparse.BooleanOptionalAction, default=False)"""
    ) == ["log", "no-log"]


def test_fields_of_config_classes_say_what_is_boolean() -> None:
    source = """
kwargs = get_kwargs(ModelConfig)
group.add_argument("--dtype", **kwargs["dtype"])
group.add_argument("--trust-remote-code", **kwargs["trust"])
group.add_argument("--enable-prefix", **{**kwargs["prefix"], "default": None})
group.add_argument("--hf-token", **kwargs["token"])
"""
    assert read(source) == [
        "dtype", "enable-prefix", "hf-token", "no-enable-prefix", "no-trust-remote-code",
        "trust-remote-code",
    ]  # fmt: skip


def test_every_field_of_the_frontend_is_a_flag() -> None:
    source = """
class FrontendArgs:
    chat_template: str | None = None
    disable_uvicorn_access_log: bool = False
"""
    assert read(source) == [
        "chat-template", "disable-uvicorn-access-log", "no-disable-uvicorn-access-log",
    ]  # fmt: skip


def test_positional_arguments_are_no_flags() -> None:
    assert read("""parser.add_argument("model_tag", nargs="?")""") == []
