"""The engine's command line: a list from the plan to the process, no shell anywhere.

The kubelet expands `$(NAME)` in a container's command and arguments; `$$` is a plain dollar
(Kubernetes API, v1 Container.command). What users write reaches the engine as written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xpullm.planner.types import Plan
from xpullm.resources import names

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - the Service reaches the pod from outside
RUNTIME = ("python3", "/xpullm/runtime.pyz")


def engine_argv(
    plan: Plan, model: str, *, positional: bool, revision: str | None, served_names: Sequence[str]
) -> list[str]:
    """Program, model, address, the names it is served under, and the plan's flags in order."""
    argv = list(plan.command)
    argv += [model] if positional else ["--model", model]
    passed = {name for name, _ in plan.flags}
    if revision and "revision" not in passed:
        argv += ["--revision", revision]
    if served_names and "served-model-name" not in passed:
        argv += ["--served-model-name", *served_names]
    argv += ["--host", ANY_ADDRESS, "--port", str(names.ENGINE_PORT)]
    for name, value in plan.flags:
        argv += _flag(name, value)
    return argv


def _flag(name: str, value: str | None) -> Iterator[str]:
    if value is None:
        yield f"--{name}"
    elif value.startswith("-"):
        yield f"--{name}={value}"  # or argparse takes it for another flag
    else:
        yield f"--{name}"
        yield value


def escaped(text: str) -> str:
    """As the kubelet must see it, so that the process gets `text`."""
    return text.replace("$", "$$")


def supervised(argv: Sequence[str]) -> list[str]:
    """Arguments of the container: the supervisor, then the engine's own command line."""
    return ["run", "--", *map(escaped, argv)]
