"""The examples of docs/testing.md run as they are written there, one after the other."""

import re
import subprocess
import sys
from pathlib import Path

DOC = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_examples_run_in_their_order() -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", DOC.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    command = [sys.executable, "-P", "-c", "\n".join(examples)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "identity_confirmed" in ran.stdout
    assert "'disposition'" in ran.stdout
