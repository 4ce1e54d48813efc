"""What holds for every test: on CI nothing is skipped in silence."""

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("turnlog", deadline=None)
settings.load_profile("turnlog")

# Reasons that may skip on CI, word for word. Each one needs a comment that says where the test runs instead.
SKIPS_ALLOWED_ON_CI: frozenset[str] = frozenset()

# What takes longest comes first, so that no worker of a parallel run is left alone with it at the end.
_ORDER = ("fault", "contract", "system", "property", "unit")
_FIRST_OF_THEIRS = ("test_readme.py", "test_up.py", "test_own_kafka.py")  # the longest files of their folder

_HERE = Path(__file__).parent
_ON_ALL_GROUNDS = "tests/contract/test_adapters.py"

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _judged((yield))


def _judged(report: Report) -> Report:
    """The report, failed if it is a skip on CI that nobody allowed. An expected failure is no skip."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if reason.removeprefix("Skipped: ") not in SKIPS_ALLOWED_ON_CI:
        report.outcome = "failed"
        report.longrepr = f"skipped on CI, and this reason is not in SKIPS_ALLOWED_ON_CI: {reason}"
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that share servers stay with one worker: those of a file, of a ground where a file has several of them. A
    fault shares with none. Not xdist's own groups, which lose their names under pytest 9.
    """
    from xdist.scheduler.loadscope import LoadScopeScheduling

    from tests.contract.grounds import GROUNDS

    class Shares(LoadScopeScheduling):  # type: ignore[misc,unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return _share(nodeid, GROUNDS)

    return Shares(config, log)


def _share(nodeid: str, grounds: Sequence[str]) -> str:
    path, _, name = nodeid.partition("::")
    if path.startswith("tests/fault/"):
        return nodeid
    ground = next((g for g in grounds if g in name.partition("[")[2]), "") if path == _ON_ALL_GROUNDS else ""
    return f"{path}/{ground}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> tuple[int, bool]:
        folder = item.path.relative_to(_HERE).parts[0]
        of_folder = _ORDER.index(folder) if folder in _ORDER else len(_ORDER)
        return of_folder, item.path.name not in _FIRST_OF_THEIRS

    items.sort(key=place)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=1, help="of what is left to chance in tests/fault")
    parser.addoption(
        "--clickhouse",
        metavar="URL",
        help="a ClickHouse server's address with a user who may do all: tests of the store run there as well, each in "
        "a database that is dropped again, with roles of its own name",
    )
    parser.addoption(
        "--outcomes", type=Path, help="write the outcomes of tests/fault there, and run what has not passed"
    )
