"""Why a rebuild cannot begin. Each says what to do.

IngestError
├── RebuildRuns        another one is under way in this store: wait for it
└── NoRoomToRebuild    the shadow would not fit beside what is stored: make room
"""

from ingest.errors import IngestError


class RebuildRuns(IngestError):
    """Another rebuild works in this store."""


class NoRoomToRebuild(IngestError):
    """The disk does not hold everything twice."""
