"""The embedded stack: a broker, a store and a worker, as child processes on loopback."""

from deploy.embedded.stack import Addresses, Stack, found_stack

__all__ = ["Addresses", "Stack", "found_stack"]
