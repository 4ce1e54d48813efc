"""Whatever happens on the way, the tables hold what was said, and follow from the log: each case once, on Apache Kafka.

Some of them end with a rebuild that has to be equal; in a soak all do. `make soak` runs them ten times with other seeds
(`--seed`).
"""

import random
from pathlib import Path

import pytest

from tests.contract.ground import house_at
from tests.contract.grounds import ground_named
from tests.fault.absent import CASES
from tests.fault.cases import Case, Stage, rebuilt


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_tables_hold_what_was_said(
    case: Case, store_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    r = random.Random(f"{case.name} {request.config.getoption('--seed')}")
    ground = ground_named(case.ground, request)
    soak = bool(request.config.getoption("--outcomes"))
    if case.store:
        assert case.run(Stage(ground, tmp_path, soak), r) == []
        return
    with house_at(ground, store_url, tmp_path) as house:
        found = case.run(house, r)
        if case.rebuilt or soak:
            found += rebuilt(house)
        assert found == [], "\n".join(worker.words() for worker in house.workers)
