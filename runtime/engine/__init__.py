"""Runs a call: pure steps in the middle, the call's own loop at the edge. Its face is `runtime.run`."""
