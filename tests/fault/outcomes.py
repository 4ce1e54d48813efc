"""What became of each case with each seed, a line of JSON each. Runs nothing."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    seed: int
    case: str
    outcome: str
    seconds: float


def append(path: Path, outcome: Outcome) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")


def read(path: Path) -> list[Outcome]:
    """In the order of their coming. A last line that was cut by a kill is no outcome."""
    outcomes = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            outcomes.append(Outcome(**json.loads(line)))
        except ValueError:
            continue
    return outcomes


def passed(path: Path, seed: int) -> set[str]:
    return {o.case for o in read(path) if o.seed == seed and o.outcome == "passed"}
