"""`turnlog doctor`."""

import sys
import time
from typing import Annotated

import typer
from rich.console import Console

from deploy.commands.terminal import end_in_order, print_json, quiet, settings, talk

_PIPE_CHARS = 300


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print facts and findings as JSON.")] = False) -> None:
    """Examine the installation, and the stack or the servers that it uses. Exit 1 when something is at fault."""
    from deploy.doctor.gather import gather
    from deploy.doctor.judge import judge

    quiet()
    end_in_order()
    with talk.status("examining"):
        facts = gather(settings(), time.time_ns() // 1000)
    findings = judge(facts)
    if as_json:
        print_json({"facts": facts, "findings": findings})
    else:
        from deploy.doctor.show import show

        show(facts, findings, Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_CHARS))
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(1)
