"""What the README tells to type does what it says, as it is written there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.demo import environment

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(?P<not_run><!-- not run: .+? -->\n)?^```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[str]:
    """The shell blocks of the README that are to be run, in order; one that is not has its reason above it."""
    found = list(_BLOCK.finditer((ROOT / "README.md").read_text(encoding="utf-8")))
    assert len(found) > 3
    return [block["text"] for block in found if not block["not_run"]]


def test_every_command_of_the_readme_works_as_written(tmp_path: Path) -> None:
    """In order and in one state folder, as somebody who reads it does. A stack that is left running is stopped."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    surroundings = environment(tmp_path / "state", PATH=path)
    try:
        for block in blocks():
            told = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=tmp_path,
                env=surroundings,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
            assert told.returncode == 0, f"{block}\n{told.stdout[-2000:]}\n{told.stderr[-4000:]}"
            assert told.stdout, block
    finally:
        subprocess.run(["turnlog", "down"], env=surroundings, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_link_to_a_file_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []
