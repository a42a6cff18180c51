"""`xpullm estimate --batch`: what an engine will allocate for given arguments, row by row."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

MAX_LINE_BYTES = 12 * 1024 * 1024


def estimate(
    batch: Annotated[
        bool, typer.Option("--batch", help="JSON lines from standard input to standard output.")
    ] = False,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="One JSON row from a file, '-' for stdin.")
    ] = None,
) -> None:
    """Estimate device memory for given arguments: does it start, does it hold the worst load?

    A row: id, engine, engine_version, config (a model's config.json), quantization,
    device_total_gib, context_gib, args. A row that cannot be answered gets "starts": null and a
    reason; it never ends the batch.

    Exit codes: 0 the batch was answered, or the one row is safe; 2 invalid input; 3 the one row
    does not start or may die under load.
    """
    if batch:
        write = sys.stdout.write
        for answer in answers(sys.stdin.buffer):
            write(json.dumps(answer) + "\n")
        return
    if file is None:
        typer.echo("error: give --batch (rows on standard input) or --file ROW.json", err=True)
        raise typer.Exit(2)
    from xpullm.cli.manifests import InputError, read_text

    try:
        text = read_text(file)
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    if not text.strip():
        typer.echo(f"error: {file}: empty; a row is a JSON object", err=True)
        raise typer.Exit(2)
    answer = next(answers([text.replace("\n", " ").encode()]))
    typer.echo(json.dumps(answer, indent=2))
    raise typer.Exit(2 if answer["starts"] is None else 0 if answer["safe"] else 3)


def answers(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """One answer for each non-empty line, in order."""
    from xpullm.planner.batch import estimate_row, unanswered

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"must be a JSON object, is {type(row).__name__}")
        except (ValueError, RecursionError) as error:
            reason = f"line {number}: not a JSON row: {error}"
            yield unanswered(reason)
            continue
        yield estimate_row(row)
