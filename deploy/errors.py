"""What can go wrong with a stack, for the person at the terminal. Each message says what, where and what to do.

DeployError
├── Misuse           the command line or the environment: exit code 2
└── StackError       a part cannot start, or ended
    ├── StackHeld    another process uses the state folder
    ├── PartMissing  a part is not installed
    ├── PortTaken    a part's port is in use
    └── NoRoom       the disk is nearly full
"""


class DeployError(Exception):
    """Anything this package raises on purpose."""


class Misuse(DeployError):
    """What was asked for makes no sense."""


class StackError(DeployError):
    """A part of the embedded stack cannot start, or ended."""


class StackHeld(StackError):
    """Another process uses the state folder."""


class PartMissing(StackError):
    """A part of the embedded stack is not installed."""


class PortTaken(StackError):
    """Something else listens where a part should."""


class NoRoom(StackError):
    """The state folder has less room than a store needs to begin with."""
