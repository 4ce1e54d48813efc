"""Apache Kafka's jars are fetched once, count only when they are whole, and fail nobody who cannot fetch them."""

import sys
from pathlib import Path

import pytest

from tests.contract.apache import jars


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all programs that there are: none yet. The cache is beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return programs


def install(machine: Path, program: str, exit_code: int = 0) -> Path:
    """A program that leaves one jar where Maven would, notes that it ran, and ends."""
    ran = machine / f"{program}.ran"
    (machine / program).write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        f"open({str(ran)!r}, 'a').write('x')\n"
        "[out] = [a.partition('=')[2] for a in sys.argv if a.startswith('-DoutputDirectory=')]\n"
        "pathlib.Path(out).mkdir()\n"
        "pathlib.Path(out, 'kafka.jar').write_text('jar')\n"
        f"sys.exit({exit_code})\n"
    )
    (machine / program).chmod(0o755)
    return ran


def test_without_java_or_maven_there_is_a_reason(machine: Path, request: pytest.FixtureRequest) -> None:
    with pytest.raises(pytest.skip.Exception, match="`java`"):
        jars(request)
    install(machine, "java")
    with pytest.raises(pytest.skip.Exception, match="`mvn`"):
        jars(request)


def test_what_was_fetched_is_not_fetched_again(machine: Path, request: pytest.FixtureRequest) -> None:
    install(machine, "java")
    ran = install(machine, "mvn")
    first = jars(request)
    assert [jar.name for jar in first.iterdir()] == ["kafka.jar"]
    assert jars(request) == first
    assert ran.read_text() == "x"


def test_half_a_download_does_not_count_and_the_next_one_tries_again(
    machine: Path, request: pytest.FixtureRequest
) -> None:
    install(machine, "java")
    install(machine, "mvn", exit_code=1)
    with pytest.raises(pytest.skip.Exception, match="network"):
        jars(request)
    install(machine, "mvn")
    assert [jar.name for jar in jars(request).iterdir()] == ["kafka.jar"]
