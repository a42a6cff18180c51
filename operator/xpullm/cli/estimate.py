"""`xpullm estimate --batch`: what an engine will allocate for given arguments, row by row."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

MAX_LINE_BYTES = 12 * 1024 * 1024


def estimate(
    batch: Annotated[
        bool, typer.Option("--batch", help="JSON lines in, from standard input or FILE; JSON out.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", metavar="FILE", help="One JSON row, '-' for standard input."),
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FORMAT", help="json")] = "json",
) -> None:
    """Tell whether given arguments start and hold the worst load.

    A row: id, engine, engine_version, config (a model's config.json), quantization,
    device_total_gib, context_gib, args. A row that cannot be answered gets "starts": null and a
    reason; it never ends the batch.

    Exit codes: 0 the batch was answered, or the one row is safe; 2 invalid input; 3 the one row
    does not start or may die under load.
    """
    if output != "json":
        fail(f"--output: {output!r} is not json")
    if batch:
        answer_rows(file)
        return
    if file is None:
        fail("give --batch (rows on standard input) or --file ROW.json")
    from xpullm.cli.manifests import InputError, read_text

    try:
        text = read_text(file)
    except InputError as error:
        fail(str(error))
    if not text.strip():
        fail(f"{file}: empty; a row is a JSON object")
    answer = next(answers([text.replace("\n", " ").encode()]))
    typer.echo(json.dumps(answer, indent=2))
    raise typer.Exit(2 if answer["starts"] is None else 0 if answer["safe"] else 3)


def fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


def answer_rows(path: str | None) -> None:
    """A line of JSON for each row of the file, of standard input where none is given."""
    source = sys.stdin.buffer
    if path not in (None, "-"):
        try:
            source = Path(str(path)).open("rb")  # noqa: SIM115 - a broken pipe is not its error
        except OSError as error:
            fail(f"{path}: {error.strerror}")
    with source:
        for answer in answers(source):
            sys.stdout.write(json.dumps(answer) + "\n")


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
