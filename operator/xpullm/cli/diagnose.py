"""`xpullm diagnose`: the cause of a failure from a log, a pod's manifest, or a live pod."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from xpullm.cli.diagnosetext import acting, render
from xpullm.cli.inputs import InputError, answered, fail, opened, rows
from xpullm.cli.manifests import documents
from xpullm.cli.seen import Act, Seen, dig, owner_of
from xpullm_runtime.diagnosis import (
    Diagnosis,
    Evidence,
    causes,
    classify,
    diagnose_row,
    engine_of,
    first_move,
    generation,
)

FORMATS = ("table", "json")
TAIL_BYTES = 4_000_000  # the classifier reads 2,000,000 characters of it
NOTHING_FAILED = ("sigterm",)


def diagnose(
    target: Annotated[
        str | None,
        typer.Argument(metavar="LOG|POD", help="A log ('-': standard input); with -n a pod."),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", metavar="NS", help="Read the live pod POD there."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="A pod as YAML or JSON (kubectl get pod -o yaml), '-' for standard input; with its"
            " Deployment and LLMDeployment in the file, what the operator would change.",
        ),
    ] = None,
    container: Annotated[
        str, typer.Option("--container", "-c", metavar="NAME", help="The engine's container.")
    ] = "engine",
    exit_code: Annotated[
        int | None,
        typer.Option(metavar="CODE", help="Exit code of the engine, where it is known."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(metavar="ENGINE", help="Engine, and version: 'vllm 0.25', 'ipex-llm'."),
    ] = None,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help="JSON lines in (id, log, exit_code, pod), from standard input or the file LOG;"
            " JSON out.",
        ),
    ] = False,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FORMAT", help=" | ".join(FORMATS))
    ] = "table",
) -> None:
    """Name the cause of a failure and what helps.

    Also what does not help, and what the operator would do.

    Exit codes: 0 nothing failed (or a batch was answered), 2 invalid input, 3 a failure was found.
    """
    if output not in FORMATS:
        fail(f"--output: {output!r} is not one of {', '.join(FORMATS)}")
    try:
        if batch:
            with opened(target) as source:
                answer_rows(source)
            raise typer.Exit(0)
        seen = list(collect(target, namespace, file, container, exit_code))
    except InputError as error:
        fail(str(error))
    found = [(one, classify(one.evidence)) for one in seen]
    if output == "json":
        told = [as_json(one, cause, would(one, cause, engine)) for one, cause in found]
        typer.echo(json.dumps(told[0] if len(told) == 1 else told, indent=2))
    else:
        for one, cause in found:
            # https://no-color.org; without a terminal typer leaves colour out by itself
            colour = False if os.environ.get("NO_COLOR") else None
            typer.echo(render(one.where, cause, would(one, cause, engine)), color=colour)
    raise typer.Exit(3 if any(failed(one.evidence, cause) for one, cause in found) else 0)


def failed(evidence: Evidence, found: Diagnosis) -> bool:
    """Something is wrong: a cause was found, or the engine ended and nobody knows why."""
    if found.cause in NOTHING_FAILED:
        return False
    return found.cause != "unknown" or evidence.exit_code not in (None, 0)


def would(seen: Seen, found: Diagnosis, engine: str | None) -> Act:
    """What the operator would do: by its own healing where the plan of the pod is at hand, else by
    the first remedy for the cause, in the words of the pod's own command."""
    if seen.deployment is not None and seen.llmd is not None:
        from xpullm.cli.ourpod import act

        if (own := act(seen, found)) is not None:
            return own
    line, pool_flag = engine_of(seen.evidence.pod, seen.evidence.container)
    move = first_move(found, engine or line or generation(seen.evidence.log), pool_flag)
    return Act(acting(found, move), move)


def as_json(seen: Seen, found: Diagnosis, act: Act) -> dict[str, Any]:
    known = causes()[found.cause]
    change = {"argument": act.argument, "from": act.before, "to": act.after}
    return {
        "source": seen.where,
        "cause": found.cause,
        "phase": found.phase,
        "helps": found.helps,
        "actionable": found.actionable,
        "first_move": act.move,
        "operator": act.text,
        "change": change if act.argument else None,
        "title": known["title"],
        "meaning": known["meaning"],
        "remedy": known["remedy"],
        "useless": known["useless"],
        "evidence": list(found.evidence),
        "figures": dict(found.figures),
    }


def collect(
    target: str | None,
    namespace: str | None,
    file: str | None,
    container: str,
    exit_code: int | None,
) -> Iterator[Seen]:
    """What the user pointed at.

    Raises:
        InputError: it can't be read, or nothing was given.
    """
    if namespace is not None:
        from xpullm.cli.livepod import seen_of

        if not target:
            raise InputError("-n NAMESPACE needs the name of a pod: xpullm diagnose -n NS POD")
        yield seen_of(namespace, target, container)
        return
    log = tail(target) if target else ""
    if file is not None:
        every = in_manifest(file)
        events = [one for one in every if one.get("kind") == "Event"]
        for pod in every:
            if pod.get("kind") != "Pod":
                continue
            yield Seen(
                f"pod {dig(pod, 'metadata', 'name') or '?'}",
                Evidence(log=log, exit_code=exit_code, pod=pod, container=container, events=events),
                deployment=belonging(every, "Deployment", pod),
                llmd=belonging(every, "LLMDeployment", pod),
            )
        return
    if target is None:
        if sys.stdin.isatty():
            raise InputError("give a log, '-' for standard input, -f POD.yaml, or -n NS POD")
        target, log = "-", tail("-")
    where = "standard input" if target == "-" else target
    yield Seen(where, Evidence(log=log, exit_code=exit_code))


def in_manifest(path: str) -> list[dict[str, Any]]:
    """The objects of a file, a pod among them; a List is opened."""
    found = [one for manifest in documents(path) for one in items_of(manifest.document)]
    if not any(one.get("kind") == "Pod" for one in found):
        raise InputError(f"{path}: holds no Pod (kubectl get pod NAME -o yaml prints one)")
    return found


def belonging(every: list[dict[str, Any]], kind: str, pod: dict[str, Any]) -> dict[str, Any] | None:
    """The object of this kind that a pod of ours belongs to."""
    owner, namespace = owner_of(pod), dig(pod, "metadata", "namespace")
    return next(
        (
            one
            for one in every
            if owner
            and one.get("kind") == kind
            and dig(one, "metadata", "name") == owner
            and namespace in (None, dig(one, "metadata", "namespace"))
        ),
        None,
    )


def items_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    items = document.get("items")
    if isinstance(items, list):
        return [one for one in items if isinstance(one, dict)]
    return [document]


def tail(path: str) -> str:
    """The end of a log of any size, with bounded memory."""
    try:
        if path == "-":
            return last_bytes(iter(lambda: sys.stdin.buffer.read(1 << 20), b""))
        with Path(path).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode(errors="replace")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def last_bytes(chunks: Iterable[bytes]) -> str:
    kept: deque[bytes] = deque()
    size = 0
    for chunk in chunks:
        kept.append(chunk)
        size += len(chunk)
        while size - len(kept[0]) >= TAIL_BYTES:
            size -= len(kept.popleft())
    return b"".join(kept)[-TAIL_BYTES:].decode(errors="replace")


def answer_rows(source: IO[bytes]) -> None:
    """One JSON object per line in and out; a row that can't be read is answered, too."""
    for _, row, wrong in rows(source):
        answer = diagnose_row(row) | ({"reason": wrong} if wrong else {})
        sys.stdout.write(answered(answer))
