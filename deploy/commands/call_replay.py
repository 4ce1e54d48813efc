"""`turnlog call replay`."""

import sys
from typing import Annotated, Any

import typer

from deploy.commands.terminal import end_in_order, print_json, quiet, settings, talk
from deploy.errors import Misuse


def replay(
    which: Annotated[str, typer.Argument(metavar="ID", help="An id, 6 or more characters of its end, worst, or last.")],
    at: Annotated[int | None, typer.Option(min=0, help="The state after this seq; without it, after the last.")] = None,
    source: Annotated[str, typer.Option(help="Whose seq that is; else of who started the call.")] = "",
    every: Annotated[bool, typer.Option("--every", help="Each event up to there, with what it changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fold a call to its state at any seq: node, turns, speech, disposition, glitches, spans, completeness."""
    from alerts.slos import objectives
    from deploy.ask import opened_store
    from deploy.call.replay import changes, in_order, state_at, step_of
    from deploy.call.tables import told_without_tables
    from grafana.call import find_call, read_events
    from grafana.errors import CallNotFound
    from runtime.events import CallStarted

    quiet()
    end_in_order()
    with told_without_tables(), opened_store(settings(), lambda step: talk.print(step, style="dim")) as client:
        call_id = find_call(client, which, objectives())
        found = read_events(client, call_id)
    if not found:
        raise CallNotFound(f"the call {call_id} has no events any more: they are no longer kept")
    events = in_order(found[0][0])
    if found[0][1]:
        talk.print("the call has more events than are read: what comes after them is not in this state")
    chief = source or next((e.source for e in events if isinstance(e, CallStarted)), events[0].source)
    try:
        last = len(events) if at is None and not source else step_of(events, _at(events, at, chief), chief)
    except LookupError as missing:
        names = ", ".join(sorted({e.source for e in events}))
        raise Misuse(f"{missing.args[0]}: this call has events of {names}") from None
    states = [state_at(events, n) for n in (range(1, last + 1) if every else (last,))]
    if as_json:
        print_json(states if every else states[0])
        return
    for before, state in zip([None, *states], states, strict=False):
        where = f"{state.step:>5}  {state.at_us / 1e6:>9.3f} s  {state.source}/{state.seq}  {state.type}"
        changed = changes(before if every else None, state)
        sys.stdout.write(where + "\n" + "".join(f"{'':>7}{name}: {_shown(v)}\n" for name, v in changed.items()))


def _at(events: Any, at: int | None, source: str) -> int:
    return at if at is not None else max((e.seq for e in events if e.source == source), default=-1)


def _shown(value: Any) -> str:
    from deploy.call.replay import TurnState

    if isinstance(value, tuple) and value and isinstance(value[0], TurnState):
        return "; ".join(
            f"{t.turn} {t.said or 'open'}" + (f" (speech: {t.by_speech})" if t.by_speech else "") for t in value
        )
    if isinstance(value, dict):
        return "; ".join(f"{k}: {v}" for k, v in value.items()) or "nothing"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return (
        {True: "yes", False: "no"}.get(value, str(value) or "none") if isinstance(value, bool) else str(value) or "none"
    )
