"""Builds the tables anew from the log, beside those in use, compares both, and puts the new ones in their place."""

from ingest.replay.compare import Difference
from ingest.replay.rebuild import Outcome, RebuildRefused, Seam, rebuild
from ingest.replay.source import members

__all__ = ["Difference", "Outcome", "RebuildRefused", "Seam", "members", "rebuild"]
