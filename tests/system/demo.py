"""Runs `turnlog` as a user does, in a state folder of its own, and makes two runs comparable."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TURNLOG = (sys.executable, "-P", "-m", "deploy")


def environment(state: Path, **more: str) -> dict[str, str]:
    """Ours, with the state folder and without addresses of the machine's own servers."""
    kept = {k: v for k, v in os.environ.items() if k not in ("KAFKA_BOOTSTRAP_SERVERS", "CLICKHOUSE_URL")}
    return {**kept, "TURNLOG_STATE": str(state), **more}


def turnlog(state: Path, *arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*TURNLOG, *arguments],
        env=environment(state, **more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what is fresh on every run: ids, names and wall time. Calls are known by their numbers."""
    number = {i["call_id"]: i["number"] for i in result["injected"]}
    report = {k: v for k, v in result["report"].items() if k != "campaign"}
    report["breaches"] = sorted(
        ({**b, "call_id": number.get(b["call_id"], "not injected")} for b in report["breaches"]), key=json.dumps
    )
    injected = [{k: v for k, v in i.items() if k != "call_id"} for i in result["injected"]]
    return {"seed": result["seed"], "clock": result["clock"], "injected": injected, "report": report}
