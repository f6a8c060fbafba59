"""The ``tandem`` command."""

from __future__ import annotations

import os
import sys

import typer

from tandem.cli.bench import bench
from tandem.cli.chat import chat
from tandem.cli.demo import demo
from tandem.cli.drain import drain
from tandem.cli.evaluate import app as evaluate
from tandem.cli.fetch import fetch
from tandem.cli.generate import generate
from tandem.cli.health import health
from tandem.cli.keys import app as keys
from tandem.cli.serve import serve
from tandem.cli.sessions import app as sessions
from tandem.cli.up import up
from tandem.errors import InvalidArgument, TandemError

app = typer.Typer(
    help="Large language models served by multi-token joint decoding.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(generate)
app.command()(chat)
app.command()(demo)
app.command()(drain)
app.command()(fetch)
app.command()(health)
app.command()(bench)
app.add_typer(evaluate, name="eval")
app.add_typer(keys, name="keys")
app.add_typer(sessions, name="sessions")
# What follows the role is the service's own.
app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(serve)


def main() -> None:
    """Runs a command. An error raised on purpose becomes one line: exit code 2 for bad input, 1 for anything else."""
    # Without this, gRPC's core tells stderr of every connection it loses.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except TandemError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InvalidArgument) else 1)


if __name__ == "__main__":
    main()
