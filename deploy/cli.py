"""The command line: which commands there are, and what becomes of an error. Exit 0 fine, 1 a fault, 2 misuse."""

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.call import call
from deploy.commands.call_replay import replay
from deploy.commands.deadletter import deadletter
from deploy.commands.demo import demo
from deploy.commands.doctor import doctor
from deploy.commands.door import door
from deploy.commands.erase import erase
from deploy.commands.parts import store, worker
from deploy.commands.rebuild import rebuild
from deploy.commands.sql import sql
from deploy.commands.stack import down, up
from deploy.commands.terminal import talk
from deploy.errors import DeployError, Misuse

app = typer.Typer(
    name="turnlog",
    help="Event-sourced observability and experimentation for voice agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (demo, up, down, doctor, sql, rebuild, worker, store, door, erase):
    app.command()(_command)
call.command("replay")(replay)
app.add_typer(call, name="call")
app.add_typer(deadletter, name="deadletter")


def main() -> None:
    """The console script."""
    for name in ("stdin", "stdout", "stderr"):  # a caller may have closed them, as some daemons do
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  for the process's life
    # A terminal that cannot show a character still gets the rest.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from grafana.errors import GrafanaError, UnknownObjective
        from ingest.errors import IngestError
        from runtime.emit import LogUnreachable, SpoolUnusable
        from runtime.errors import TurnlogRuntimeError

        try:
            app()
        except (DeployError, GrafanaError, IngestError, LogUnreachable, SpoolUnusable, TurnlogRuntimeError) as error:
            _fail(str(error), 2 if isinstance(error, Misuse | UnknownObjective) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except UnicodeError:
        _fail("what was given is no UTF-8 text: give it as UTF-8, and see that the locale is one (LC_ALL=C.UTF-8)", 2)
    except BrokenPipeError:
        sys.exit(1)  # whoever read us has gone
    except OSError as error:
        _fail(f"{error.filename or 'writing'}: {error.strerror}", 1)


def _fail(message: str, code: int) -> None:
    talk.print(f"turnlog: {message}", markup=False, soft_wrap=True)
    sys.exit(code)


@app.callback(invoke_without_command=True)
def _turnlog(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        sys.stdout.write(f"turnlog {installed('turnlog')}\n")
        raise typer.Exit
