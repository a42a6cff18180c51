"""What the operator tells the supervisor: one JSON object in one environment variable.

The operator renders it with `RuntimeConfig.to_env()`, the supervisor reads it with `from_env()`.
Only values that differ from the defaults are written, so that a new field with a default changes
no rendered pod template. Unknown fields and wrong types are refused: both sides are of one release.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

ENV = "XPULLM_RUNTIME"
RUNTIME_PORT = 9400
ENGINE_PORT = 8000  # vLLM's default (vllm/entrypoints/openai/cli_args.py)
# The kubelet's default of terminationMessagePath (Kubernetes API, v1 Container).
TERMINATION_LOG = "/dev/termination-log"


class ConfigError(ValueError):
    """A value that the supervisor cannot work with; the message names field, value and way out."""


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """All times are seconds, all sizes bytes; 0 means "not known" or "do not check".

    `model_id`, `model_revision`: what the engine loads from the Hugging Face Hub; empty where its
    files have another source.
    `devices`: GPUs that must be visible as /dev/dri/renderD*.
    `vram_bytes`: visible VRAM of one GPU that the plan was made for (0.95 of what the kernel's
    driver reports, see xpullm_runtime.drm).
    `host_memory_bytes`, `shm_bytes`: what the plan needs of the cgroup's memory and of /dev/shm.
    `max_model_len`, `max_num_seqs`, `max_num_batched_tokens`: the engine's arguments (tokens,
    sequences); burn-in builds the worst load that they allow.
    `burn_in_sequences`: 0 turns burn-in off. `burn_in_prompt_tokens`: length of each prompt.
    `burn_in_seconds`: after it, an engine that gave tokens counts as proven.
    `startup_deadline_seconds`: from start to the first healthy answer, whatever progress is seen.
    `no_progress_seconds`: without any progress before Ready, the engine counts as hung.
    `hang_seconds`: without a token for so long after Ready, a completion must be answered; and an
    engine whose API does not answer for so long counts as hung.
    `grace_seconds`: between SIGTERM and SIGKILL.
    `oom_grace_seconds`: how long an engine may take to end by itself after the kernel killed one
    of its processes.
    `env_scripts`: files whose environment the engine gets (oneAPI's setvars.sh).
    """

    plan_hash: str = ""
    model_id: str = ""
    model_revision: str = ""
    engine_port: int = ENGINE_PORT
    runtime_port: int = RUNTIME_PORT
    devices: int = 0
    vram_bytes: int = 0
    host_memory_bytes: int = 0
    shm_bytes: int = 0
    max_model_len: int = 0
    max_num_seqs: int = 0
    max_num_batched_tokens: int = 0
    burn_in_sequences: int = 0
    burn_in_prompt_tokens: int = 0
    burn_in_seconds: float = 600.0
    startup_deadline_seconds: float = 6900.0  # below the pod's constant startupProbe of 3 h
    no_progress_seconds: float = 900.0
    hang_seconds: float = 300.0
    grace_seconds: float = 25.0  # below Kubernetes' default of 30 s
    oom_grace_seconds: float = 5.0
    env_scripts: tuple[str, ...] = ()
    termination_log: str = TERMINATION_LOG

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item.name, getattr(self, item.name))

    def to_env(self) -> str:
        """The canonical JSON for `ENV`: sorted, without defaults."""
        default = asdict(RuntimeConfig())
        changed = {key: value for key, value in asdict(self).items() if value != default[key]}
        return json.dumps(changed, sort_keys=True, separators=(",", ":"))

    def with_changes(self, changes: Mapping[str, Any]) -> RuntimeConfig:
        """A copy with `changes` laid over; raises ConfigError for what does not fit."""
        known = {item.name for item in fields(self)}
        for name in changes:
            if name not in known:
                raise ConfigError(
                    f"{ENV}: unknown field {name!r}; known: {', '.join(sorted(known))}"
                )
        values = dict(changes)
        if isinstance(values.get("env_scripts"), list):
            values["env_scripts"] = tuple(values["env_scripts"])
        return replace(self, **values)


def from_env(environ: Mapping[str, str]) -> RuntimeConfig:
    """Read `ENV`; defaults where it is absent. Raises ConfigError."""
    text = environ.get(ENV, "")
    if not text.strip():
        return RuntimeConfig()
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{ENV}: is no JSON ({error}); expected an object of settings") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{ENV}: is {type(raw).__name__}; expected a JSON object of settings")
    return RuntimeConfig().with_changes(raw)


def _check(name: str, value: object) -> None:
    if name in ("plan_hash", "model_id", "model_revision", "termination_log"):
        good, want = isinstance(value, str), "a string"
    elif name == "env_scripts":
        good = isinstance(value, tuple) and all(isinstance(path, str) for path in value)
        want = "a list of strings"
    elif name.endswith("_seconds"):
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        good = good and math.isfinite(value) and 0 < value <= 86_400  # type: ignore[operator,arg-type]
        want = "a number of seconds above 0, at most 86400"
    elif name == "engine_port":
        good, want = _is_int(value, 1, 65_535), "a port from 1 to 65535"
    elif name == "runtime_port":
        good, want = _is_int(value, 0, 65_535), "a port from 1 to 65535 (0 = any free one)"
    else:
        good, want = _is_int(value, 0, 1 << 53), "a whole number, 0 or more"
    if not good:
        raise ConfigError(f"{ENV}: {name}: {value!r} is not {want}")


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
