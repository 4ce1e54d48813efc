"""On CI a skip is a failure: tests/conftest.py, run by a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIPS = """
import pytest

def test_skips_inside():
    pytest.skip("no broker")

@pytest.mark.skip(reason="no broker")
def test_is_marked():
    pass

@pytest.fixture
def broker():
    pytest.skip("no broker")

def test_has_a_fixture_that_skips(broker):
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_fails_as_expected():
    raise AssertionError
"""


def closing_line(folder: Path, ci: str, allowed: str = "") -> str:
    conftest = CONFTEST.read_text().replace("frozenset[str] = frozenset()", f"frozenset[str] = frozenset({[allowed]})")
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_it.py").write_text(SKIPS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "."],
        cwd=folder,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip().splitlines()[-1].partition(" in ")[0]


@pytest.mark.parametrize(
    ("ci", "allowed", "line"),
    [
        ("", "", "3 skipped, 1 xfailed"),
        ("true", "", "1 failed, 1 xfailed, 2 errors"),
        ("true", "no broker", "3 skipped, 1 xfailed"),
    ],
)
def test_a_skip_fails_on_ci_unless_its_reason_is_listed(tmp_path: Path, ci: str, allowed: str, line: str) -> None:
    assert closing_line(tmp_path, ci, allowed) == line


def test_a_module_that_skips_itself_fails_on_ci(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text('import pytest\npytest.importorskip("no_such_module_of_ours")\n')
    assert closing_line(tmp_path, "true") == "1 error"
