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

from xpullm.cli.diagnosetext import render
from xpullm.cli.inputs import InputError, answered, fail, opened, rows
from xpullm.cli.manifests import documents
from xpullm_runtime.diagnosis import Diagnosis, Evidence, causes, classify, diagnose_row, first_move

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
            help="A pod as YAML or JSON (kubectl get pod -o yaml), '-' for standard input.",
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
        evidence = list(collect(target, namespace, file, container, exit_code))
    except InputError as error:
        fail(str(error))
    results = [(where, one, classify(one)) for where, one in evidence]
    if output == "json":
        told = [{"source": where, **as_json(found, engine)} for where, _, found in results]
        typer.echo(json.dumps(told[0] if len(told) == 1 else told, indent=2))
    else:
        for where, _, found in results:
            # https://no-color.org; without a terminal typer leaves colour out by itself
            colour = False if os.environ.get("NO_COLOR") else None
            typer.echo(render(where, found, first_move(found, engine)), color=colour)
    raise typer.Exit(3 if any(failed(one, found) for _, one, found in results) else 0)


def failed(evidence: Evidence, found: Diagnosis) -> bool:
    """Something is wrong: a cause was found, or the engine ended and nobody knows why."""
    if found.cause in NOTHING_FAILED:
        return False
    return found.cause != "unknown" or evidence.exit_code not in (None, 0)


def as_json(found: Diagnosis, engine: str | None) -> dict[str, Any]:
    known = causes()[found.cause]
    return {
        "cause": found.cause,
        "phase": found.phase,
        "helps": found.helps,
        "actionable": found.actionable,
        "first_move": first_move(found, engine),
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
) -> Iterator[tuple[str, Evidence]]:
    """What the user pointed at, as evidence.

    Raises:
        InputError: it can't be read, or nothing was given.
    """
    if namespace is not None:
        from xpullm.cli.livepod import evidence_of

        if not target:
            raise InputError("-n NAMESPACE needs the name of a pod: xpullm diagnose -n NS POD")
        yield f"pod {namespace}/{target}", evidence_of(namespace, target, container)
        return
    log = tail(target) if target else ""
    if file is not None:
        pods, events = in_manifest(file)
        for pod in pods:
            metadata = pod.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else None
            yield (
                f"pod {name or '?'}",
                Evidence(log=log, exit_code=exit_code, pod=pod, container=container, events=events),
            )
        return
    if target is None:
        if sys.stdin.isatty():
            raise InputError("give a log, '-' for standard input, -f POD.yaml, or -n NS POD")
        target, log = "-", tail("-")
    yield ("standard input" if target == "-" else target), Evidence(log=log, exit_code=exit_code)


def in_manifest(path: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pods and events of a file; a List is opened."""
    found = [one for manifest in documents(path) for one in items_of(manifest.document)]
    pods = [one for one in found if one.get("kind") == "Pod"]
    if not pods:
        raise InputError(f"{path}: holds no Pod (kubectl get pod NAME -o yaml prints one)")
    return pods, [one for one in found if one.get("kind") == "Event"]


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
    for row, wrong in rows(source):
        answer = diagnose_row(row) | ({"reason": wrong} if wrong else {})
        sys.stdout.write(answered(answer))
