"""`xpullm`: the commands. Only the module of the command that runs is imported (cold start).

Exit codes: 0 yes, 1 internal error, 2 invalid input, 3 infeasible or findings.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer

# A command is a function of its own name in the module xpullm.cli.<name>.
COMMANDS = ("plan", "estimate", "diagnose", "crd")


def show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"xpullm {version('xpullm')}")
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Plan, check and diagnose LLM inference on Intel GPUs."""


def build(argv: list[str]) -> typer.Typer:
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(root)
    named = next((word for word in argv if not word.startswith("-")), None)
    for name in [named] if named in COMMANDS else COMMANDS:
        app.command(name)(getattr(importlib.import_module(f"xpullm.cli.{name}"), name))
    return app


def main() -> None:
    # pydantic would read the metadata of every installed package to look for plugins (20 ms).
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        build(sys.argv[1:])()
    except OSError as error:  # commands answer for what they read; this is what they write
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
