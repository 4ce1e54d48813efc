"""The log's port and who numbers what is said into it."""

from runtime.emit.memory import MemoryLog
from runtime.emit.port import Log
from runtime.emit.recorder import Context, Recorder

__all__ = ["Context", "Log", "MemoryLog", "Recorder"]
