"""What all commands share at their edge: the settings, who is talked to, how a signal ends them. Runs nothing."""

import logging
import os
import signal
import sys
from typing import Any

from rich.console import Console

from deploy.settings import Settings, read_settings

talk = Console(stderr=True, highlight=False)  # data goes to stdout, talk to stderr


def settings(**options: str | None) -> Settings:
    """The process's settings; an option that was given stands for the variable of its name. Raises Misuse with every
    fault at once.
    """
    return read_settings({**os.environ, **{name: value for name, value in options.items() if value is not None}})


def print_json(what: Any) -> None:
    """For a program, and indented for whoever looks."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(what), indent=1).decode() + "\n")
    sys.stdout.flush()


def quiet() -> None:
    """Libraries talk to their own logs; a person at the terminal is told by us."""
    logging.disable(logging.CRITICAL)  # a driver sets levels of its own, which a level of the root does not overrule


def end_in_order() -> None:
    """SIGTERM is as good as Ctrl-C: what was started is stopped in order."""
    signal.signal(signal.SIGTERM, _ended)


def _ended(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
