"""What is true of the simulated machine and what will go wrong; the engine's users can't see it.

Set by environment variables ``SIMENGINE_<NAME>`` or by a JSON file with the same names in lower
case (``SIMENGINE_FILE``, default ``/etc/simengine.json``); the environment wins.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

_FILE = "/etc/simengine.json"
_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True)
class Truth:
    """The machine and its faults. Memory in bytes (``SIMENGINE_TOTAL=15.11Gi`` is fine)."""

    # The card. 15.11 GiB: what the driver gives of an Arc A770's 16 GB (ipex-llm#12080).
    device_total: int = int(15.11 * GIB)
    device_name: str = "Intel(R) Arc(TM) A770 Graphics"
    # Held by other processes. Invisible on a client card without PERFMON: free == total.
    foreign: int = 0
    foreign_visible: bool = False
    # The runtime's own memory, outside torch's allocator (Level Zero context, kernels).
    context: int = 350 * MIB
    # Largest single allocation; 0: no limit. 4 GiB on Xe-HPG (ipex-llm#11798).
    single_allocation_limit: int = 4 * GIB
    # Lost between torch's blocks once the engine serves (vLLM 0.25, measured: 0.1 to 0.25 GiB).
    fragmentation: int = 250 * MIB

    # The host.
    host_load: int = 0  # real memory, touched while weights are loaded, as by quantizing online
    start_seconds: float = 0.3  # spent loading
    tokens_per_second: float = 20_000.0  # prefill; slow enough that requests queue up
    step_seconds: float = 0.001  # one decode step

    # Faults. A request number counts from 1; 0 is never.
    leak_per_request: int = 0
    hang_at_start: bool = False
    hang_at_request: int = 0
    die_at_request: int = 0
    device_lost_at_request: int = 0
    reject_flags: str = ""  # comma separated, as --enable-chunked-prefill
    gated: bool = False
    not_found: bool = False
    no_device: bool = False
    stay_alive: bool = False  # the API server goes on after the engine's death
    death_exit_code: int = -1  # of the API server after the engine's death; -1: the version's own

    version: str = ""  # printed; default by the program that was started


def load(environment: Mapping[str, str] | None = None) -> Truth:
    """Read the truth, or leave with a message that names the bad setting."""
    env = os.environ if environment is None else environment
    types = {field.name: type(field.default) for field in fields(Truth)}
    raw: dict[str, object] = {}
    file = Path(env.get("SIMENGINE_FILE", _FILE))
    if "SIMENGINE_FILE" in env or file.exists():
        raw.update(json.loads(file.read_text()))
    for name, value in env.items():
        if name.startswith("SIMENGINE_") and name != "SIMENGINE_FILE":
            raw[name.removeprefix("SIMENGINE_").lower()] = value
    values: dict[str, object] = {}
    for name, given in raw.items():
        if name not in types:
            sys.exit(f"simengine: unknown setting {name!r}; known: {', '.join(sorted(types))}")
        try:
            values[name] = _parse(types[name], str(given))
        except ValueError:
            sys.exit(f"simengine: {name}={given!r} is not a {types[name].__name__}")
    return Truth(**values)  # type: ignore[arg-type]


def _parse(kind: type, text: str) -> object:
    if kind is bool:
        if text.lower() not in ("0", "1", "true", "false"):
            raise ValueError(text)
        return text.lower() in ("1", "true")
    if kind is int:
        return quantity(text)
    return kind(text)


def quantity(text: str) -> int:
    """``3Gi``, ``15.11Gi``, ``600Mi``, ``4096``, ``-1`` in bytes or units."""
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|)", text.strip())
    if not match:
        raise ValueError(text)
    return int(float(match[1]) * _UNITS[match[2]])
