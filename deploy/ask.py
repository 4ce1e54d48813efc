"""Opens the store for a question: the one that runs, or the embedded one for the occasion. Asks nothing itself."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from deploy.embedded.state import holder, servers
from deploy.embedded.store import running_store
from deploy.errors import DeployError, StackHeld
from deploy.settings import Settings
from ingest.query import RECEIVE_TIMEOUT_S, Client, connect


@contextmanager
def opened_store(
    settings: Settings, say: Callable[[str], None], receive_timeout_s: int = RECEIVE_TIMEOUT_S
) -> Iterator[Client]:
    """A client of the store: of yours, of the stack's, or of the embedded one, which runs inside. `say` is told then.

    Raises IngestError or DeployError with what to do.
    """
    with opened_store_url(settings, say) as url, closing(connect(url, receive_timeout_s)) as client:
        yield client


@contextmanager
def opened_store_url(settings: Settings, say: Callable[[str], None]) -> Iterator[str]:
    """Its address, for whoever needs several clients."""
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
    if not folder.is_dir():
        raise DeployError(
            f"there is no store in {str(settings.state)!r} yet: run `turnlog demo` first, or set CLICKHOUSE_URL"
        )
    say("opening the store")
    with running_store(folder, say) as url:
        yield url
