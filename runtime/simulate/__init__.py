"""People, calendars and mishaps for calls that nobody dials: scripted callers, simulated tools, injected faults."""

from runtime.simulate.calendar import SimulatedCalendar
from runtime.simulate.caller import ScriptedCaller
from runtime.simulate.faults import Fault, FaultKind, FaultyVoice, plan_faults
from runtime.simulate.leads import person
from runtime.simulate.persona import Goal, Persona, draw

__all__ = [
    "Fault",
    "FaultKind",
    "FaultyVoice",
    "Goal",
    "Persona",
    "ScriptedCaller",
    "SimulatedCalendar",
    "draw",
    "person",
    "plan_faults",
]
