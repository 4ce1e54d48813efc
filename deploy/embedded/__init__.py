"""The embedded stack: a broker, a store and a worker, as child processes on loopback, kept running."""

from deploy.embedded.stack import Ports, Stack
from deploy.embedded.state import Addresses, PartState, found_stack

__all__ = ["Addresses", "PartState", "Ports", "Stack", "found_stack"]
