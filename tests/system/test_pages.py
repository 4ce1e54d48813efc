"""The demo's pages in a real browser: they say what the result says, draw what they say, and ask nobody."""

import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from alerts.slos import objectives
from deploy.demo.distributions import Distributions, Spread, distributions
from deploy.demo.page import CallLine, latency_rows, run_page
from deploy.demo.pages import INDEX, MARK, pages
from deploy.demo.report import Latency, Source
from deploy.demo.result import Result
from deploy.embedded import Stack
from deploy.settings import Settings
from grafana.charts import DARK, LIGHT, Bin, plotly_script
from grafana.charts.embed import PLOTLY_FILE
from grafana.charts.figures import BINS_PER_DECADE, LABEL_CHARS_MAX
from ingest.query import Client, connect, rows
from runtime.events import Component, Event, SpanEnded, TurnEnded, decode
from tests.system.browser import Browser
from tests.system.demo import stack_up, turnlog
from tests.system.picture import BLOCKS_MAX, differing_blocks, save_small

CALLS = 40
SEED = 1
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
PICTURE_BYTES_MAX = 250_000
TAKEN_WITH = "DejaVu Sans"  # the font of a Debian that has no other
TAKE_AGAIN = "if the page was meant to change, take its picture again: deploy/pictures.sh"
_WIDTHS = (1280, 390)


class Ran(msgspec.Struct, frozen=True):
    result: Result
    folder: Path
    said: str
    client: Client
    events: list[Event]

    @property
    def index(self) -> Path:
        return self.folder / INDEX

    def call(self, call_id: str) -> Path:
        return self.folder / "calls" / f"{call_id}.html"

    def quiet(self) -> str:
        """A call that breaches nothing."""
        named = {b.call_id for b in self.result.report.breaches}
        return min(p.stem for p in (self.folder / "calls").iterdir() if p.stem not in named)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """A demo as a user runs it, and the store that it leaves."""
    state = tmp_path_factory.mktemp("state")
    told = turnlog(state, "demo", "--calls", str(CALLS), "--seed", str(SEED), "--json")
    assert told.returncode == 0, told.stderr
    result = msgspec.json.decode(told.stdout, type=Result)
    assert result.page is not None
    with Stack(Settings(state), lambda _: None, worker=False) as stack:
        client = connect(stack.addresses.clickhouse)
        try:
            found = rows(client, "SELECT payload FROM events ORDER BY call_id, source, seq")
            events = [decode(row["payload"].encode()) for row in found]
            yield Ran(result, Path(result.page).parent, told.stderr, client, events)
        finally:
            client.close()


@pytest.fixture(scope="module")
def found(ran: Ran) -> Distributions:
    return distributions(ran.client, ran.result.report.campaign, objectives())


# ── the folder ──


def test_the_demo_tells_where_its_page_is(ran: Ran) -> None:
    assert ran.folder.name == ran.result.run
    assert (ran.folder / MARK).is_file()
    assert ran.index.as_uri() in ran.said
    assert len(list((ran.folder / "calls").iterdir())) == CALLS


def test_without_pages_none_are_written_and_where_none_can_be_the_figures_stay(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with stack_up(tmp_path):
        told = turnlog(tmp_path, "demo", "--calls", "1", "--json")
        assert told.returncode == 0, told.stderr
        result = json.loads(told.stdout)
        assert result["page"] is None
        assert result["report"]["calls"] == 1
        assert [line for line in told.stderr.splitlines() if "no page was written" in line] != []
        (tmp_path / "runs").unlink()
        told = turnlog(tmp_path, "demo", "--calls", "1", "--json", "--no-pages")
    assert (told.returncode, json.loads(told.stdout)["page"]) == (0, None)
    assert "page" not in told.stderr
    assert not (tmp_path / "runs").exists()


def test_a_run_has_a_bounded_number_of_call_pages_and_says_how_many_are_left_out(
    ran: Ran, browser: Browser, tmp_path: Path
) -> None:
    """The breaching ones come first."""
    written = dict(pages(ran.client, ran.result, objectives(), {}, most=5))
    calls = [Path(path).stem for path in written if path.startswith("calls/")]
    assert len(calls) == 5
    assert set(calls[:3]) == {b.call_id for b in ran.result.report.breaches}
    (tmp_path / PLOTLY_FILE).write_text(written[PLOTLY_FILE])
    (tmp_path / INDEX).write_text(written[INDEX])
    values = browser.open(tmp_path / INDEX, _values)
    assert values["left_out"] == CALLS - 5


# ── what is counted, by an oracle that reads events ──


def test_bins_count_the_spans_of_the_events_exactly(ran: Ran, found: Distributions) -> None:
    edges_us = [1000 * 10 ** (k / BINS_PER_DECADE) for k in range(-90, 200)]
    taken: defaultdict[str, list[int]] = defaultdict(list)
    slow = 0
    for e in ran.events:
        if isinstance(e, SpanEnded) and e.latency_us is not None:
            taken[e.component].append(e.latency_us)
            slow += e.component == Component.TTS and (e.first_us or 0) > 2_000_000
    spreads = {s.component: s for s in found.spreads if s.figure == "latency_us"}
    assert spreads.keys() == taken.keys()
    for component, latencies in taken.items():
        counts, _ = np.histogram(latencies, edges_us)
        expected = {k - 90: int(n) for k, n in enumerate(counts) if n}
        assert {b.number: b.within + b.over for b in spreads[component].bins} == expected
    first = next(s for s in found.spreads if (s.component, s.figure) == (Component.TTS, "first_us"))
    assert (first.over, first.limits_ms, first.is_latency) == (slow, (2000.0,), True)
    assert slow == sum(b.times for b in ran.result.report.breaches if b.objective == "tts_first_byte") > 0


def test_tenths_are_cut_by_rank_and_their_parts_add_up(ran: Ran, found: Distributions) -> None:
    waits = sorted(e.latency_us for e in ran.events if isinstance(e, TurnEnded) and e.latency_us is not None)
    assert sum(tenth.turns for tenth in found.tenths) == len(waits)
    for tenth, own in zip(found.tenths, np.array_split(np.array(waits), 10), strict=True):
        assert abs(tenth.turns - len(own)) <= 1
        assert tenth.from_ms <= tenth.wait_ms <= tenth.to_ms
        assert math.isclose(sum(tenth.parts_ms.values()), tenth.wait_ms)
    assert (found.tenths[0].from_ms, found.tenths[-1].to_ms) == (waits[0] / 1000, waits[-1] / 1000)
    stated = sum(e.unattributed_us or 0 for e in ran.events if isinstance(e, TurnEnded))
    assert sum(t.parts_ms["unattributed"] * t.turns for t in found.tenths) == pytest.approx(stated / 1000, abs=1e-6)
    tools = [e.latency_us or 0 for e in ran.events if isinstance(e, SpanEnded) and e.component == Component.TOOL]
    assert sum(t.parts_ms.get("tool", 0) * t.turns for t in found.tenths) == pytest.approx(sum(tools) / 1000)


# ── the pages ──


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", _WIDTHS)
def test_every_kind_of_page_opens_in_silence_and_fits(ran: Ran, browser: Browser, width: int, dark: bool) -> None:
    """That nothing is asked for but files, and nothing said on the console, is what `open` sees to."""
    faulted = [ran.call(i.call_id) for i in ran.result.injected]
    assert len(faulted) == 3
    calls = (*faulted, ran.call(ran.quiet())) if dark == (width == min(_WIDTHS)) else ()
    for path in (ran.index, *calls):
        wide = browser.open(path, lambda page: page.evaluate(_SCROLL_WIDTH), width=width, dark=dark)
        assert wide <= width, path


def test_the_page_shows_the_figures_of_the_result(ran: Ran, browser: Browser) -> None:
    report = ran.result.report
    shown = browser.open(ran.index, _values)
    expected: dict[str, float] = {
        "calls": report.calls,
        "turns": report.turns,
        "disappeared": report.disappeared,
        "glitches": report.glitches,
        "glitches_per_100_turns": report.glitches_per_100_turns,
        "made": report.made,
    }
    expected |= {f"outcomes.{k}": n for k, n in report.outcomes.items()}
    expected |= {f"dispositions.{k}": n for k, n in report.dispositions.items()}
    for row in report.latency:
        name = "end to end" if row.component == Component.TURN else row.component
        expected |= {f"n.{name}": row.n, f"p50_ms.{name}": row.p50_ms, f"p90_ms.{name}": row.p90_ms}
        if row.component == Component.TURN:
            expected |= {"whole.p50_ms": row.p50_ms, "whole.p90_ms": row.p90_ms}
    for s in report.sources:
        expected |= {f"stored.{s.source}": s.stored, f"sent.{s.source}": s.sent, f"complete.{s.source}": s.complete}
    for objective in objectives():
        its = [b for b in report.breaches if b.objective == objective.name]
        expected |= {f"calls.{objective.name}": len(its), f"times.{objective.name}": sum(b.times for b in its)}
    for fault, n in Counter(i.fault for i in ran.result.injected).items():
        expected |= {f"injected.{fault}": n, f"named.{fault}": n}
    expected |= {"unexpected": 0, "over.tts": 1}
    assert shown == expected
    breaches = browser.open(ran.index, lambda page: page.evaluate(_BREACHES))
    assert sorted(breaches) == sorted(
        [b.call_id, b.objective, float(b.times if b.objective == "agent_disappeared" else b.worst)]
        for b in report.breaches
    )


def test_links_lead_to_the_pages_of_calls_and_back(ran: Ran, browser: Browser) -> None:
    wanted = ran.result.report.breaches[0].call_id

    def there_and_back(page: Page) -> tuple[list[str], str, str]:
        hrefs = page.eval_on_selector_all("main a", "all => all.map(a => a.href)")
        page.click(f"a[href='calls/{wanted}.html']")
        page.wait_for_url("**/calls/*.html")
        there = page.inner_text("body")
        page.click("a[href='../index.html']")
        page.wait_for_url(f"**/{INDEX}")
        return hrefs, there, page.inner_text("body")

    hrefs, there, back = browser.open(ran.index, there_and_back)
    assert wanted in there
    assert ran.result.run in back
    assert len(hrefs) == CALLS
    assert {Path(href.removeprefix("file://")) for href in hrefs} == set((ran.folder / "calls").iterdir())


def test_plots_draw_what_is_counted(ran: Ran, browser: Browser, found: Distributions) -> None:
    report = ran.result.report
    drawn = browser.open(ran.index, lambda page: page.evaluate(_BARS))
    expected = {
        "outcomes": len(report.outcomes),
        "dispositions": len(report.dispositions),
        "gaps": sum((b.within > 0) + (b.over > 0) for b in found.gaps.bins),
        "tenths": sum(value != 0 for tenth in found.tenths for value in tenth.parts_ms.values()),
    }
    for row in latency_rows(report.latency, found.spreads):
        expected[row.key] = sum((b.within > 0) + (b.over > 0) for b in row.spread.bins)
    assert {name: len(bars) for name, bars in drawn.items()} == expected
    lengths = [bar["width"] for bar in drawn["dispositions"]]
    counts = list(report.dispositions.values())
    assert [w / max(lengths) for w in lengths] == pytest.approx([n / max(counts) for n in counts], abs=0.02)
    for tenth, bars in zip(found.tenths, _by_place(drawn["tenths"]), strict=True):
        assert sum(b["height"] for b in bars) / tenth.wait_ms == pytest.approx(
            sum(b["height"] for b in drawn["tenths"]) / sum(t.wait_ms for t in found.tenths), rel=0.02
        )


@pytest.mark.parametrize("look", [LIGHT, DARK], ids=lambda look: look.name)
def test_plots_and_page_are_light_or_dark_together(ran: Ran, browser: Browser, look: Any) -> None:
    ground, bar = browser.open(ran.index, lambda page: page.evaluate(_COLOURS), dark=look is DARK)
    assert ground == _rgb(look.ground)
    assert bar == _rgb(look.part(Component.TURN))


def test_a_page_follows_when_the_look_changes(ran: Ran, browser: Browser) -> None:
    def change(page: Page) -> Any:
        page.emulate_media(color_scheme="dark")
        expect(page.locator(_TURN_BAR).first).to_have_css("fill", _rgb(DARK.part(Component.TURN)))
        return page.evaluate(_COLOURS)

    assert browser.open(ran.index, change) == [_rgb(DARK.ground), _rgb(DARK.part(Component.TURN))]


def test_without_scripts_all_numbers_are_there(ran: Ran, browser: Browser) -> None:
    def see(page: Page) -> tuple[dict[str, float], str]:
        return _values(page), page.inner_text("main")

    values, text = browser.open(ran.index, see, scripts=False)
    assert values == browser.open(ran.index, _values)
    assert "The plots need JavaScript" in text


HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror=window.hacked=1>",
    '<a href="https://example.com/">click</a>',
    "<b>bold</b> & &lt;i&gt; $x^2$",
    "a name that goes on and on, one",
    "a name that goes on and on, two",
)


def test_names_of_producers_are_text(ran: Ran, browser: Browser, found: Distributions, tmp_path: Path) -> None:
    """Dispositions, components and sources are names that a producer chose."""
    call_id = ran.quiet()
    report = msgspec.structs.replace(
        ran.result.report,
        dispositions=dict.fromkeys(HOSTILE, 7),
        outcomes=dict.fromkeys(HOSTILE, 7),
        latency=tuple(Latency(name, 7, 100.0, 200.0) for name in HOSTILE),
        sources=tuple(Source(name, 1, 1, 7, 7) for name in HOSTILE),
    )
    bins = (Bin(60, 7, 0),)
    spreads = tuple(
        Spread(component=name, figure="latency_us", is_latency=True, limits_ms=(), bins=bins) for name in HOSTILE
    )
    tenth = msgspec.structs.replace(found.tenths[0], parts_ms=dict.fromkeys((*HOSTILE, "unattributed"), 1.0))
    hostile = Distributions(spreads, found.gaps, (tenth,) * 3)
    lines = [CallLine(call_id, HOSTILE[0], 1, None, True)]
    made = dict.fromkeys(HOSTILE, HOSTILE[0])
    result = msgspec.structs.replace(ran.result, report=report)
    (tmp_path / PLOTLY_FILE).write_text(plotly_script())
    (tmp_path / INDEX).write_text(run_page(result, objectives(), hostile, lines, made))

    def see(page: Page) -> dict[str, Any]:
        page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
        return {
            "hacked": page.evaluate("'hacked' in window"),
            "elements": page.locator("main b, main img, main script, .plot a, .plot [style*='bold']").count(),
            "headers": page.locator("tbody th").all_inner_texts(),
            "ticks": page.locator("[data-figure=dispositions] .ytick").all_text_contents(),
        }

    seen = browser.open(tmp_path / INDEX, see)
    assert (seen["hacked"], seen["elements"]) == (False, 0)
    assert Counter(name for name in seen["headers"] if name in HOSTILE) == dict.fromkeys(HOSTILE, 4)
    assert [_whole(tick) for tick in seen["ticks"]] == [
        name if len(name) <= LABEL_CHARS_MAX else name[: LABEL_CHARS_MAX - 1] + "…" for name in HOSTILE
    ]


# ── the pictures of the README ──


@pytest.mark.parametrize("name", ["run", "call"])
def test_the_picture_in_the_readme_is_what_the_page_looks_like(
    ran: Ran, browser: Browser, tmp_path: Path, name: str
) -> None:
    slow = next(b.call_id for b in ran.result.report.breaches if b.objective == "tts_first_byte")
    path, see = {"run": (ran.index, _run_picture), "call": (ran.call(slow), _call_picture)}[name]
    font = browser.open(path, _font)
    if font != TAKEN_WITH:
        pytest.skip(f"the pictures were taken with the font {TAKEN_WITH}; this machine has {font}")
    taken = Path(os.environ.get("TURNLOG_PICTURES", tmp_path)) / f"{name}.png"
    save_small(browser.open(path, see, scale=2), taken)
    kept = PICTURES / f"{name}.png"
    assert kept.is_file(), f"{kept} is missing; {TAKE_AGAIN}"
    assert kept.stat().st_size <= PICTURE_BYTES_MAX
    assert differing_blocks(taken, kept) <= BLOCKS_MAX, f"{taken} does not look like {kept}; {TAKE_AGAIN}"


def test_a_look_that_has_changed_is_noticed(ran: Ran, browser: Browser, tmp_path: Path) -> None:
    def styled(css: str) -> str:
        return f"document.head.append(Object.assign(document.createElement('style'), {{textContent: '{css}'}}))"

    same = {"as it is": "0", "other letters": _OTHER_LETTERS}
    changed = {
        "lower": styled("section { margin-top: 33px }"),
        "moved": styled(".pair { position: relative; left: 12px }"),
        "other colours": styled(".plot { filter: hue-rotate(60deg) }"),
        "no plots": styled(".plot svg { visibility: hidden }"),
    }

    def after(change: str) -> Callable[[Page], bytes]:
        def see(page: Page) -> bytes:
            page.evaluate(change)
            return _run_picture(page)

        return see

    for name, change in (same | changed).items():
        (tmp_path / f"{name}.png").write_bytes(browser.open(ran.index, after(change), scale=2))
    differ = {p.stem: differing_blocks(p, tmp_path / "as it is.png") for p in tmp_path.iterdir()}
    assert {name for name, share in differ.items() if share > BLOCKS_MAX} == set(changed), differ


def _run_picture(page: Page) -> bytes:
    """From the top to the calls that breach an objective."""
    bottom = page.locator("section:has(#h-breaches)").bounding_box()
    assert bottom is not None
    clip = {"x": 0, "y": 0, "width": 1280, "height": bottom["y"] + bottom["height"] + 24}
    return page.screenshot(full_page=True, clip=clip)


def _call_picture(page: Page) -> bytes:
    return page.screenshot(full_page=True)


def _font(page: Page) -> str:
    """The family that the machine puts in the place of the page's."""
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    node = session.send("DOM.querySelector", {"nodeId": root, "selector": "h2"})["nodeId"]
    return str(session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"][0]["familyName"])


# ── what a page is asked ──

_SCROLL_WIDTH = "document.documentElement.scrollWidth"
_BREACHES = """[...document.querySelectorAll("tr[data-call]")].map(
  row => [row.dataset.call, row.dataset.objective, Number(row.querySelector("data").value)])"""
_BARS = """Object.fromEntries([...document.querySelectorAll("[data-figure]")].map(place => [
  place.dataset.figure,
  [...place.querySelectorAll(".bars .point path")].map(bar => bar.getBoundingClientRect())
    .filter(box => box.width > 0 && box.height > 0).map(({x, width, height}) => ({x, width, height}))]))"""
_TURN_BAR = "[data-figure=row-0] .bars .point path"
_COLOURS = f"""[getComputedStyle(document.body).backgroundColor,
  getComputedStyle(document.querySelector("{_TURN_BAR}")).fill]"""
_OTHER_LETTERS = """document.querySelectorAll(".id").forEach(
  id => { id.textContent = id.textContent.replace(/[0-9a-f]/g, c => ((parseInt(c, 16) * 7 + 3) % 16).toString(16)) })"""


def _values(page: Page) -> dict[str, float]:
    """The figures by their names; a name that stands twice must say the same."""
    found = page.eval_on_selector_all("data[data-name]", "all => all.map(d => [d.dataset.name, Number(d.value)])")
    values: dict[str, float] = {}
    for name, value in found:
        assert values.setdefault(name, value) == value, name
    return values


def _by_place(bars: list[dict[str, float]]) -> list[list[dict[str, float]]]:
    places: defaultdict[int, list[dict[str, float]]] = defaultdict(list)
    for bar in bars:
        places[round(bar["x"])].append(bar)
    return [places[x] for x in sorted(places)]


def _rgb(colour: str) -> str:
    return f"rgb({int(colour[1:3], 16)}, {int(colour[3:5], 16)}, {int(colour[5:7], 16)})"


def _whole(text: str) -> str:
    """The text of a label without the no-break spaces that plotly sets for runs of blanks."""
    return text.replace("\xa0", " ").strip()
