"""The embedded stack: a broker, a store and a worker, as child processes on loopback, kept running."""

from deploy.embedded.plan import Ports
from deploy.embedded.stack import Stack
from deploy.embedded.state import Addresses, PartState, found_stack

__all__ = ["Addresses", "PartState", "Ports", "Stack", "found_stack"]
