"""Keeps a stack running beside a program that has other things to do, in a thread of its own. Heals nothing itself."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from deploy.embedded.stack import TEND_EVERY_S, Stack
from deploy.embedded.state import Addresses
from deploy.settings import Settings


@contextmanager
def tended(settings: Settings, say: Callable[[str], None]) -> Iterator[Addresses]:
    """A stack that runs inside and is healed. `say` is called from the thread.

    One thread does all of it: on Linux a child ends with the thread that started it.
    """
    over = threading.Event()
    ready: Future[Addresses] = Future()

    def tend() -> None:
        try:
            with Stack(settings, say, stopped=over.is_set) as stack:
                ready.set_result(stack.addresses)
                while not over.wait(TEND_EVERY_S):
                    stack.tend()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=tend, name="turnlog-stack")
    thread.start()
    try:
        yield ready.result()
    finally:
        over.set()
        thread.join()
