"""Examines an installation and whatever runs of it: gathers facts, judges them, and says what to do."""

from deploy.doctor.facts import Facts
from deploy.doctor.gather import gather
from deploy.doctor.judge import Finding, judge

__all__ = ["Facts", "Finding", "gather", "judge"]
