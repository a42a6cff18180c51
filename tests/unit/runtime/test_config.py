"""The one environment variable between operator and supervisor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpullm_runtime.config import ENV, ConfigError, RuntimeConfig, from_env

RUNTIME = Path(__file__).parents[3] / "runtime"

configs = st.builds(
    RuntimeConfig,
    plan_hash=st.text(max_size=20),
    model_id=st.text(max_size=20),
    model_revision=st.text(max_size=20),
    engine_port=st.integers(1, 65_535),
    devices=st.integers(0, 16),
    vram_bytes=st.integers(0, 2**40),
    burn_in_sequences=st.integers(0, 1024),
    hang_seconds=st.floats(0.1, 86_400),
    env_scripts=st.lists(st.text(max_size=20), max_size=3).map(tuple),
)


@given(configs)
def test_what_is_written_is_read_back(config: RuntimeConfig) -> None:
    assert from_env({ENV: config.to_env()}) == config


def test_defaults_are_not_written() -> None:
    assert RuntimeConfig().to_env() == "{}"
    assert RuntimeConfig(plan_hash="a", devices=2).to_env() == '{"devices":2,"plan_hash":"a"}'


def test_no_variable_means_defaults() -> None:
    assert from_env({}) == from_env({ENV: " "}) == RuntimeConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "XPULLM_RUNTIME: is no JSON"),
        ("[1]", "XPULLM_RUNTIME: is list; expected a JSON object"),
        ('{"prot": 1}', "XPULLM_RUNTIME: unknown field 'prot'; known: burn_in_prompt_tokens,"),
        ('{"engine_port": 70000}', "engine_port: 70000 is not a port from 1 to 65535"),
        ('{"engine_port": true}', "engine_port: True is not a port"),
        ('{"devices": -1}', "devices: -1 is not a whole number, 0 or more"),
        ('{"hang_seconds": 0}', "hang_seconds: 0 is not a number of seconds above 0"),
        ('{"hang_seconds": NaN}', "hang_seconds: nan is not a number of seconds"),
        ('{"hang_seconds": "5m"}', "hang_seconds: '5m' is not a number of seconds"),
        ('{"env_scripts": "/opt/x.sh"}', "env_scripts: '/opt/x.sh' is not a list of strings"),
        ('{"plan_hash": 7}', "plan_hash: 7 is not a string"),
        ('{"model_revision": null}', "model_revision: None is not a string"),
    ],
)
def test_what_does_not_fit_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_env({ENV: text})
    assert message in str(caught.value)


def test_it_imports_nothing_heavy_because_the_operator_imports_it() -> None:
    script = "import sys, xpullm_runtime.config; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={"PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {name for name in loaded if name.startswith("xpullm")} == {
        "xpullm_runtime",
        "xpullm_runtime.config",
    }
    assert not {"http", "subprocess", "threading", "ctypes"} & set(loaded)


@pytest.mark.timeout(20)
def test_a_bad_setting_ends_with_64_and_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "xpullm_runtime", "run", "--", "/bin/true"],
        env={"PYTHONPATH": str(RUNTIME), ENV: json.dumps({"engine_port": 0})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 64
    assert done.stderr == "[xpullm] XPULLM_RUNTIME: engine_port: 0 is not a port from 1 to 65535\n"
