"""The operator's settings: one frozen object, from flags or from the environment."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def _setting(default: Any, help_text: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": help_text, "choices": choices})


@dataclass(frozen=True, slots=True)
class Settings:
    """Every field is a flag (``--probe-port``) and a variable (``XPULLM_PROBE_PORT``)."""

    namespaces: tuple[str, ...] = _setting((), "namespaces to serve, by comma; empty: all")
    workers: int = _setting(48, "LLMDeployments worked on at the same time")
    resync_seconds: int = _setting(600, "seconds between complete listings, ± 10 %%")
    leader_elect: bool = _setting(True, "hold a Lease while working")
    lease_name: str = _setting("xpullm-operator", "name of the Lease")
    lease_namespace: str = _setting("", "namespace of the Lease; empty: the pod's own")
    identity: str = _setting("", "holder's name in the Lease; empty: the host's name")
    probe_address: str = _setting("0.0.0.0", "address of probes and metrics")  # noqa: S104
    probe_port: int = _setting(8081, "port of /healthz and /readyz; 0: any, -1: none")
    metrics_port: int = _setting(8080, "port of /metrics; 0: any, -1: none")
    log_level: str = _setting("info", "lowest level", ("debug", "info", "warning", "error"))
    log_format: str = _setting("text", "form of log lines", ("text", "json"))
    max_concurrent_rerolls: int = _setting(3, "re-rolls of Ready pods at the same time, in all")
    runtime_image: str = _setting("", "image with the supervisor; empty: this release's")
    render_groups: tuple[str, ...] = _setting((), "group ids of /dev/dri on the nodes, by comma")
    check_devices: bool = _setting(True, "engines refuse to start without the planned cards")
    kubeconfig: str = _setting("", "file; empty: the pod's ServiceAccount, else KUBECONFIG")
    context: str = _setting("", "context in the kubeconfig")


class InvalidSettingsError(ValueError):
    """A setting that cannot be; the message names it, its value and what is allowed."""


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from flags, else from the environment, else the defaults.

    Raises:
        InvalidSettingsError: a value is out of range or of the wrong type.
        SystemExit: an unknown flag, or ``--help``.
    """
    parser = argparse.ArgumentParser(
        prog="python -m xpullm", description="Kubernetes operator for LLM inference on Intel GPUs."
    )
    for item in fields(Settings):
        flag = "--" + item.name.replace("_", "-")
        text = f"{item.metadata['help']} (default: {item.default!r}; {_variable(item.name)})"
        if isinstance(item.default, bool):
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=None, help=text
            )
        else:
            parser.add_argument(flag, default=None, help=text)
    given = vars(parser.parse_args(arguments))
    values: dict[str, Any] = {}
    for item in fields(Settings):
        name = item.name
        raw = given[name] if given[name] is not None else environment.get(_variable(name))
        if raw is not None:
            values[name] = _convert(name, raw, item.default, item.metadata["choices"])
    settings = Settings(**values)
    _check(settings)
    return settings


def lease_namespace(settings: Settings) -> str:
    """Where the Lease is: as set, else the pod's own namespace, else ``default``."""
    if settings.lease_namespace:
        return settings.lease_namespace
    try:
        return _NAMESPACE_FILE.read_text().strip() or "default"
    except OSError:
        return "default"


def identity(settings: Settings) -> str:
    """Who we are in the Lease: one name per process."""
    return f"{settings.identity or socket.gethostname()}_{os.getpid()}"


def _variable(name: str) -> str:
    return f"XPULLM_{name.upper()}"


def _convert(name: str, raw: Any, default: Any, choices: tuple[str, ...]) -> Any:
    if isinstance(raw, bool):
        return raw
    text = str(raw).strip()
    if isinstance(default, bool):
        if text.lower() not in ("true", "false", "1", "0"):
            raise InvalidSettingsError(f"{name} is {text!r}; it must be true or false")
        return text.lower() in ("true", "1")
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise InvalidSettingsError(f"{name} is {text!r}; it must be a whole number") from None
    if isinstance(default, tuple):
        return tuple(sorted({part.strip() for part in text.split(",") if part.strip()}))
    if choices and text not in choices:
        raise InvalidSettingsError(f"{name} is {text!r}; it must be one of {', '.join(choices)}")
    return text


def _check(settings: Settings) -> None:
    for name, low, high in (
        ("workers", 1, 256),
        ("resync_seconds", 10, 86_400),
        ("max_concurrent_rerolls", 1, 10_000),
        ("probe_port", -1, 65_535),
        ("metrics_port", -1, 65_535),
    ):
        value = getattr(settings, name)
        if not low <= value <= high:
            raise InvalidSettingsError(f"{name} is {value}; it must be from {low} to {high}")
    for group in settings.render_groups:
        if not group.isdecimal() or int(group) >= 2**31:
            raise InvalidSettingsError(
                f"render_groups has {group!r}; group ids are numbers below 2147483648"
            )
