"""Reads the thresholds of `slos.yaml`. Judges nothing."""

from importlib.resources import files
from typing import Literal, TypeAlias

import msgspec

from runtime.events import Outcome


class _Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="what"):
    name: str
    summary: str


class SpanObjective(_Objective, frozen=True, kw_only=True, tag="span"):
    """Breached by each span of the component whose figure (µs) is above the threshold."""

    component: str
    figure: Literal["first_us", "ready_us", "duration_us", "latency_us"]
    above_us: int


class GlitchObjective(_Objective, frozen=True, kw_only=True, tag="glitch"):
    """Breached by each gap of at least so many milliseconds."""

    at_least_ms: float


class TurnObjective(_Objective, frozen=True, kw_only=True, tag="turn"):
    """Breached by each turn that ends so."""

    outcome: Outcome


Objective: TypeAlias = SpanObjective | GlitchObjective | TurnObjective


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    objectives: tuple[Objective, ...]


def objectives() -> tuple[Objective, ...]:
    """The shipped thresholds, in the order of the file. Raises msgspec.ValidationError for a file that is off."""
    return msgspec.yaml.decode((files("alerts") / "slos.yaml").read_bytes(), type=_File).objectives
