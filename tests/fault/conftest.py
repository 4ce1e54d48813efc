"""The broker and the store of the contract suites; the seed of a run, and where its outcomes are kept."""

from pathlib import Path

import pytest

from tests.contract.conftest import apache, spawn, store_url
from tests.fault.outcomes import Outcome, append, passed

__all__ = ["apache", "spawn", "store_url"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What has passed with this seed need not run again: a soak goes on where it was stopped."""
    path: Path | None = config.getoption("--outcomes")
    if path is None:
        return
    done = passed(path, config.getoption("--seed"))
    gone = [item for item in items if item.name in done]
    items[:] = [item for item in items if item.name not in done]
    config.hook.pytest_deselected(items=gone)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]"):  # type: ignore[no-untyped-def]
    report = yield
    path: Path | None = item.config.getoption("--outcomes")
    if path is not None and (call.when == "call" or report.failed):
        append(path, Outcome(item.config.getoption("--seed"), item.name, report.outcome, round(call.duration, 1)))
    return report
