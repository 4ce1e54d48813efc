"""`turnlog demo`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.style import Style
from rich.text import Text

from deploy.commands.terminal import end_in_order, print_json, quiet, settings, talk


def demo(
    calls: Annotated[int, typer.Option(min=1, max=10_000, help="How many calls to simulate.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Governs behaviour and latencies; ids are always fresh.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, max=200, help="Calls at a time.")] = 8,
    faults: Annotated[bool, typer.Option(help="Bend the world of some calls: a slow voice, a gap, silence.")] = True,
    real_time: Annotated[bool, typer.Option("--real-time", help="Take the time that the calls take.")] = False,
    provider: Annotated[
        str | None,
        typer.Option(
            help="Base URL of an OpenAI-compatible provider; its key is TURNLOG_MODEL_KEY. Implies --real-time."
        ),
    ] = None,
    pages: Annotated[bool, typer.Option(help="Write the run as pages with plots, in the state folder.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Run simulated calls through broker, worker and store, and print what was measured."""
    from deploy.demo.run import Order, run_demo
    from deploy.demo.show import show

    quiet()
    end_in_order()
    order = Order(
        calls=calls,
        seed=seed,
        concurrency=concurrency,
        faults=faults,
        real_time=real_time,
        provider=provider,
        pages=pages,
    )
    result, objectives = run_demo(settings(), order, talk)
    if as_json:
        print_json(result)
    else:
        show(result, objectives, Console(highlight=False))
    if result.page:
        uri = Path(result.page).as_uri()
        talk.print(Text.assemble("the run's page: ", (uri, Style(link=uri))), soft_wrap=True)
    if result.failed:
        talk.print(f"turnlog: {result.failed} calls ended as {result.failed_as!r}: see their error spans", style="red")
    if not result.report.complete:
        logs = settings().state / "logs"
        missing = f"{len(result.report.incomplete)} of {result.report.made} calls miss events"
        words = f"turnlog: {missing}, so the figures are partial: run the demo again; {logs} says what happened"
        talk.print(words, style="red", soft_wrap=True, markup=False)
    if not result.fine:
        raise typer.Exit(1)
