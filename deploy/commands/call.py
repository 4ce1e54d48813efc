"""`turnlog call list` and `turnlog call show`."""

import io
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from deploy.commands.terminal import end_in_order, print_json, quiet, settings, talk
from deploy.errors import Misuse
from runtime.events import Outcome

if TYPE_CHECKING:
    from grafana.call import Breach, CallRecord, Filters

call = typer.Typer(help="Look at calls: which ones, and one of them as a picture.", no_args_is_help=True)
_LATENCY_MS_MAX = 86_400_000
_PIPE_CHARS = 400  # nothing is cut where nobody's screen ends
_PIPE_BARS_CHARS = 110


class Sort(StrEnum):
    """As in `grafana.call`, which `turnlog --help` has no time to import; a test holds them equal."""

    WORST = "worst"
    NEWEST = "newest"
    LONGEST = "longest"
    SLOWEST = "slowest"


Campaign = Annotated[str, typer.Option(help="Calls of this campaign.")]
Since = Annotated[str, typer.Option(help="Calls that started since: 90m, 2h, 3d, or an ISO date or time (UTC).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@call.command("list")
def list_(
    campaign: Campaign = "",
    agent: Annotated[str, typer.Option(help="Calls of this agent.")] = "",
    disposition: Annotated[str, typer.Option(help="Calls that came to this.")] = "",
    outcome: Annotated[Outcome | None, typer.Option(help="Calls with a turn that ended so.")] = None,
    since: Since = "",
    breach: Annotated[str, typer.Option(help="Calls that breach this objective of alerts/slos.yaml.")] = "",
    component: Annotated[str, typer.Option(help="Calls with a span of it that breaches one.")] = "",
    provider: Annotated[str, typer.Option(help="Calls with a span of it that breaches one.")] = "",
    model: Annotated[str, typer.Option(help="Calls with a span of it that breaches one.")] = "",
    incomplete: Annotated[bool, typer.Option("--incomplete", help="Calls of which events are missing.")] = False,
    latency: Annotated[
        float, typer.Option(min=0, max=_LATENCY_MS_MAX, help="Calls with an answer at least so slow, in ms.")
    ] = 0.0,
    sort: Annotated[Sort, typer.Option(help="What comes first.")] = Sort.WORST,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many calls.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List calls, worst first: unanswered turns, failures, objectives breached, gaps in speech, the slowest answer."""
    from alerts.slos import objectives
    from deploy.ask import opened_store
    from deploy.call.lines import lines_table
    from deploy.call.tables import told_without_tables
    from grafana.call import Sort as By
    from grafana.call import list_calls

    quiet()
    end_in_order()
    wanted = _filters(
        campaign=campaign,
        agent=agent,
        disposition=disposition,
        outcome=outcome,
        since=since,
        breach=breach,
        component=component,
        provider=provider,
        model=model,
        incomplete=incomplete,
        latency_us_min=round(latency * 1000),
    )
    with told_without_tables(), opened_store(settings(), _say) as client:
        lines = list_calls(client, wanted, objectives(), By(sort.value), limit)
    if as_json:
        print_json(lines)
    elif lines:
        console = _console()
        console.print(lines_table(lines, short=console.is_terminal and console.width < 150))
    if not lines:
        talk.print("no such call is stored: ask with fewer options, or make some with `turnlog demo`", markup=False)


@call.command("show")
def show(
    which: Annotated[str, typer.Argument(metavar="ID", help="An id, 6 or more characters of its end, worst, or last.")],
    campaign: Campaign = "",
    since: Since = "",
    html: Annotated[
        Path | None, typer.Option(help="Write a page into this file; - is stdout.", allow_dash=True)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show one call: its timeline, each turn's wait and its spans, tools, gaps, disposition and completeness."""
    from alerts.slos import objectives
    from deploy.ask import opened_store
    from deploy.call.tables import told_without_tables
    from grafana.call import breaches, call_page, find_call, read_calls
    from grafana.errors import CallNotFound

    quiet()
    end_in_order()
    if html is not None and as_json:
        raise Misuse("--html and --json are two answers: ask for one of them")
    if html is not None and str(html) != "-" and (html.is_dir() or not html.parent.is_dir()):
        raise Misuse(f"--html {str(html)!r}: name a file in a folder that is there")
    limits = objectives()
    with told_without_tables(), opened_store(settings(), _say) as client:
        call_id = find_call(client, which, limits, _filters(campaign=campaign, since=since))
        found = read_calls(client, [call_id])
    if not found:
        raise CallNotFound(f"the call {call_id} has no events any more: they are no longer kept")
    record = found[0]
    if html is not None:
        _write(html, call_page(record, limits))
    elif as_json:
        print_json(_as_data(record, breaches(record, limits)))
    else:
        from deploy.call.show import call_drawing

        console = _console()
        width = console.width if console.is_terminal else _PIPE_BARS_CHARS
        console.print(call_drawing(record, breaches(record, limits), width))


def _filters(since: str = "", **rest: Any) -> "Filters":
    from grafana.call import Filters
    from grafana.call import since as since_us

    try:
        return Filters(**rest, since_us=since_us(since, time.time_ns() // 1000) if since else 0)
    except ValueError as error:
        raise Misuse(f"--since {error}") from None


def _say(step: str) -> None:
    talk.print(step, style="dim")


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_CHARS)


def _as_data(record: "CallRecord", found: "tuple[Breach, ...]") -> dict[str, Any]:
    """The record, whether it is complete, and what it breaches."""
    import msgspec

    data: dict[str, Any] = msgspec.to_builtins(record)
    for source, its in zip(data["sources"], record.sources, strict=True):
        source["complete"] = its.complete
    return {**data, "complete": record.complete, "breaches": msgspec.to_builtins(found)}


def _write(path: Path, page: str) -> None:
    if str(path) == "-":
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as the page says of itself
        sys.stdout.write(page)
        return
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(page, encoding="utf-8")  # what fails is told by the command line, with the file's name
    unfinished.replace(path)
    talk.print(f"wrote {path}", markup=False, soft_wrap=True)
