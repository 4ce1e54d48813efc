"""An agent as data: what it is, how it is read from a folder, and what can be wrong with it."""

from runtime.graph.load import library, load
from runtime.graph.spec import Agent, Argument, Disposition, Models, Node, Tool

__all__ = ["Agent", "Argument", "Disposition", "Models", "Node", "Tool", "library", "load"]
