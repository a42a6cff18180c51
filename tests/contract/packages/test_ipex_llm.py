"""What the catalogue says of ipex-llm is what its last published packages hold."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest
from hack.generate.flags import flags_of
from hack.packages.wheel import Wheel
from tests.contract.packages.conftest import literal_values

from xpullm.catalog import engines, quantizations

RELEASES = ("2.2.0", "2.3.0b20251110")  # the last stable one, and the last nightly
ENTRYPOINTS = "ipex_llm/vllm/xpu/entrypoints/openai"

# Of the patch that the image applies to vLLM 0.8.3 (docker/llm/serving/xpu/docker/
# vllm_for_multi_arc.patch), not of the package.
PATCHED = {"low-bit-model-path", "low-bit-save-path"}

Opened = Callable[[str, str], Wheel]


@pytest.mark.parametrize("release", RELEASES)
def test_the_server_adds_the_flags_of_the_catalogue(wheel: Opened, release: str) -> None:
    package = wheel("ipex-llm", release)
    own = flags_of([ast.parse(package.text(f"{ENTRYPOINTS}/api_server.py"))], {})
    assert own == ["load-in-low-bit"]
    for engine in engines()["ipex-llm"]:
        assert set(own) <= engine.flags
        assert engine.command[-1] == f"{ENTRYPOINTS}/api_server".replace("/", ".")


@pytest.mark.parametrize("release", RELEASES)
def test_low_bit_types_are_known_to_the_package(wheel: Opened, release: str) -> None:
    known = literal_values(
        wheel("ipex-llm", release).text("ipex_llm/ggml/quantize.py"), "ggml_tensor_qtype"
    )
    names = {name for engine in engines()["ipex-llm"] for name in engine.quantizations}
    passed = {
        value
        for name in names
        for flag, value in quantizations()[name].flags["ipex-llm"]
        if flag == "load-in-low-bit"
    }
    assert {"sym_int4", "fp8_e5m2"} <= passed
    assert passed <= known


def test_flags_beyond_vllm_and_the_package_are_the_patch_s() -> None:
    from xpullm.catalog.load import flag_lists

    for engine in engines()["ipex-llm"]:
        extra = engine.flags - set(flag_lists()[engine.vllm_version])
        assert extra == {"load-in-low-bit"} | PATCHED
