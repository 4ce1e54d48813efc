"""Wires the parts: the command line, the embedded stack, the demo. Nothing imports this package."""
