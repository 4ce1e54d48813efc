"""Builds every projection anew beside the live one, and proves the two equal. The log and raw rows stay as they are."""

from ingest.replay.compare import Compared, Difference
from ingest.replay.errors import NoRoomToRebuild, RebuildRuns
from ingest.replay.rebuild import Rebuilt, Wish, rebuild
from ingest.replay.sources import Stretch

__all__ = ["Compared", "Difference", "NoRoomToRebuild", "RebuildRuns", "Rebuilt", "Stretch", "Wish", "rebuild"]
