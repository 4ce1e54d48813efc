"""Opens the store for a question: the one that runs, or the embedded one for the occasion. Asks nothing itself."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from deploy.brokers import kafka_environment
from deploy.embedded.state import holder, servers
from deploy.embedded.store import running_store
from deploy.errors import DeployError, StackHeld
from deploy.settings import Settings, without_password
from ingest.query import RECEIVE_TIMEOUT_S, Client, connect
from ingest.store.credentials import Role, found
from ingest.store.folder import MARK


@contextmanager
def opened_store(
    settings: Settings,
    say: Callable[[str], None],
    receive_timeout_s: int = RECEIVE_TIMEOUT_S,
    role: Role = Role.READER,
) -> Iterator[Client]:
    """A client of the store: of yours, of the stack's, or of the embedded one, which runs inside. `say` is told then.

    Of the embedded one it may do what `role` may; of yours what the user in CLICKHOUSE_URL may. Raises IngestError or
    DeployError with what to do.
    """
    with (
        opened_store_url(settings, say) as url,
        closing(connect(_for(role, url, settings.state / "store"), receive_timeout_s)) as client,
    ):
        yield client


def _for(role: Role, url: str, folder: Path) -> str:
    """The address as the role uses it, if it is that of the embedded store in `folder`."""
    keys = found(folder)
    plain = without_password(url)
    if keys is None or keys.url(Role.WRITER, plain) != url:
        return url
    return plain if role is Role.READER else keys.url(role, plain)


@contextmanager
def opened_store_url(settings: Settings, say: Callable[[str], None]) -> Iterator[str]:
    """Its address with what a writer needs, for whoever needs several clients."""
    _, running = servers(settings)
    if running is not None:
        yield running
        return
    starting = holder(settings.state)
    if starting is not None:
        raise StackHeld(
            f"process {starting} starts a stack in {str(settings.state)!r} or stops it: ask again in a moment, "
            "or end it with `turnlog down`"
        )
    folder = settings.state / "store"
    if not (folder / MARK).exists():
        raise DeployError(
            f"there is no store in {str(settings.state)!r} yet: run `turnlog demo` first, or set CLICKHOUSE_URL"
        )
    say("opening the store")
    with running_store(folder, say, kafka_environment(settings.kafka) if settings.kafka else None) as url:
        yield url
