"""The folder of a run's pages: which calls get one, what is written where, which old runs go. Draws nothing itself."""

import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from alerts.slos import Objective
from deploy.demo.distributions import distributions
from deploy.demo.page import CALL_PAGES_MAX, CallLine, order_of_calls, run_page
from deploy.demo.result import Result
from grafana.call import CallRecord, Filters, Sort, call_page, list_calls, read_calls
from grafana.charts import plotly_script
from grafana.charts.embed import PLOTLY_FILE
from ingest.query import Client, StoreError, rows

RUNS_KEPT = 20  # of 6 to 11 MB each: 5 are plotly's script, the rest are pages of calls
MARK = ".turnlog-run"  # a folder without it is not ours to remove
INDEX = "index.html"
_HOME = f"../{INDEX}"  # from a call's page


def with_page(
    client: Client,
    result: Result,
    objectives: Sequence[Objective],
    made: Mapping[str, str],
    *,
    state: Path,
    say: Callable[[str], None],
) -> Result:
    """The result with the path of its page. A page that cannot be made costs the page and not the figures."""
    runs = state / "runs"
    try:
        page = write_run(runs / result.run, pages(client, result, objectives, made))
        prune(runs)
    except OSError as error:
        say(f"no page was written: {error.filename or str(runs)!r}: {error.strerror or error}")
        return result
    except StoreError as error:
        say(f"no page was written: {error}")
        return result
    return msgspec.structs.replace(result, page=str(page))


def pages(
    client: Client,
    result: Result,
    objectives: Sequence[Objective],
    made: Mapping[str, str],
    most: int = CALL_PAGES_MAX,
) -> Iterator[tuple[str, str]]:
    """Path inside the folder → text, with pages of at most `most` calls; the index last: a run without was cut off."""
    campaign = result.report.campaign
    worst = list_calls(client, Filters(campaign=campaign), objectives, Sort.WORST, most)
    wanted = order_of_calls(result, [line.call_id for line in worst])
    rank = {line.call_id: n for n, line in enumerate(worst)}
    records = sorted(read_calls(client, wanted[:most]), key=lambda record: rank.get(record.call_id, len(rank)))
    for record in records:
        yield f"calls/{record.call_id}.html", call_page(record, objectives, home=_HOME)
    yield PLOTLY_FILE, plotly_script()
    made = {**made, **_found_made(client, campaign)}
    found = distributions(client, campaign, objectives)
    yield INDEX, run_page(result, objectives, found, [_line(record) for record in records], made)


def write_run(folder: Path, files: Iterator[tuple[str, str]]) -> Path:
    """The path of the index. What was begun and cannot be finished is removed."""
    folder.mkdir(parents=True)
    try:
        (folder / MARK).touch()
        (folder / "calls").mkdir()
        for path, text in files:
            (folder / path).write_text(text, encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder / INDEX


def prune(runs: Path, keep: int = RUNS_KEPT) -> None:
    """Removes all but the newest `keep` runs. A run is named by its moment; nothing else in the folder is touched."""
    ours = [f for f in runs.iterdir() if not f.is_symlink() and (f / MARK).is_file() and _moment(f) is not None]
    for folder in sorted(ours, key=lambda f: _moment(f) or 0, reverse=True)[keep:]:
        shutil.rmtree(folder, ignore_errors=True)  # another demo may be removing it as well


def _moment(folder: Path) -> int | None:
    try:
        return int(folder.name, 16)
    except ValueError:
        return None


def _found_made(client: Client, campaign: str) -> dict[str, str]:
    agents = rows(
        client,
        "SELECT DISTINCT agent, agent_version FROM calls WHERE campaign = {campaign:String} ORDER BY ALL LIMIT 5",
        {"campaign": campaign},
    )
    store = rows(client, "SELECT version() AS version")[0]["version"]
    return {
        "agent": ", ".join(f"{row['agent']} {row['agent_version']}" for row in agents),
        "versions": f"turnlog {version('turnlog')}, Python {platform.python_version()}, ClickHouse {store}",
    }


def _line(record: CallRecord) -> CallLine:
    slowest_us = record.slowest_us
    return CallLine(
        record.call_id,
        record.disposition,
        sum(turn.number > 0 for turn in record.turns),
        None if slowest_us is None else slowest_us / 1000,
        record.complete,
    )
