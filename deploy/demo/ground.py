"""What a demo stands on: the stack that runs in the state folder, or its own. Tells what becomes of its parts."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from deploy.embedded import Addresses, PartState, found_stack
from deploy.embedded.tended import tended
from deploy.errors import StackError, StackHeld
from deploy.settings import Settings

_WHOLE_TIMEOUT_S = 60.0
_POLL_S = 0.2


class Ground:
    """A stack, as `stack.json` tells of it: whoever runs it also heals it."""

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        self._settings, self.addresses = settings, addresses

    def news(self) -> list[str]:
        """What became of the parts since it was asked last. Raises StackError when the stack is gone."""
        now = found_stack(self._settings)
        if now is None or now.pid != self.addresses.pid:
            raise StackError(
                f"the stack in {str(self._settings.state)!r} was stopped while the calls ran: run the demo again; "
                "what was stored is kept"
            )
        before, self.addresses = self.addresses, now
        return news(before.parts, now.parts)


@contextmanager
def ground(settings: Settings, say: Callable[[str], None]) -> Iterator[Ground]:
    """A stack of which all parts run. Raises StackError."""
    running = found_stack(settings)
    if running is None or not running.shared:
        with tended(settings, say) as addresses:
            yield Ground(settings, addresses)
        return
    _held_to(settings, running)
    yield Ground(settings, _whole(settings, say))


def news(before: Sequence[PartState], now: Sequence[PartState]) -> list[str]:
    """What happened to the parts between two looks, in words."""
    known = {part.name: part for part in before}
    told = []
    for part in now:
        last = known.get(part.name)
        if last is None or (part.state, part.restarts, part.since) == (last.state, last.restarts, last.since):
            continue
        ended = last.state == "running" or part.restarts > last.restarts + 1
        words = [f"the {part.name} {part.ending}"] if ended else []
        if part.state == "running":
            words.append(f"the {part.name} runs again")
        elif ended:
            words.append("it is started again")
        if words:
            told.append("; ".join(words))
    return told


def _held_to(settings: Settings, running: Addresses) -> None:
    """Calls that go elsewhere than where the stack's worker reads would never arrive."""
    for name, wanted, has in (
        ("KAFKA_BOOTSTRAP_SERVERS", settings.kafka.servers if settings.kafka else None, running.kafka),
        ("CLICKHOUSE_URL", settings.clickhouse, running.clickhouse),
    ):
        if wanted not in (None, has):
            raise StackHeld(
                f"a stack runs in {str(settings.state)!r} (process {running.pid}) and {name} names another server than "
                f"it uses: unset {name}, or set TURNLOG_STATE to another folder"
            )


def _whole(settings: Settings, say: Callable[[str], None]) -> Addresses:
    """The running stack, once its supervisor has all of its parts running."""
    deadline = time.monotonic() + _WHOLE_TIMEOUT_S
    while (found := found_stack(settings)) is not None:
        away = [part for part in found.parts if part.state != "running"]
        if not away:
            return found
        if time.monotonic() > deadline:
            words = "; ".join(f"the {part.name} {part.ending}" for part in away)
            raise StackError(f"the stack in {str(settings.state)!r} does not come to run: {words}")
        say(f"waiting for the {away[0].name}")
        time.sleep(_POLL_S)
    raise StackError(f"the stack in {str(settings.state)!r} was stopped: run the demo again")
