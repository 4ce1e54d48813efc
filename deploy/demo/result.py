"""The outcome of one demo run, as data."""

import msgspec

from deploy.demo.report import Report


class Injected(msgspec.Struct, frozen=True):
    """A fault that was put into the world of one call, and the objective that it must breach."""

    call_id: str
    number: int
    fault: str
    breaches: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` is wall time; every other figure repeats for the same seed on the virtual clock."""

    run: str
    seed: int
    clock: str
    seconds: float
    failed_as: str  # the disposition of calls that a bug or a provider ended
    injected: tuple[Injected, ...]
    report: Report
    page: str | None = None  # the path of the run's page, where one was written

    @property
    def as_injected(self) -> bool:
        """Whether exactly the faulted calls are named, each for its own fault."""
        return {(i.call_id, i.breaches) for i in self.injected} == {
            (b.call_id, b.objective) for b in self.report.breaches
        }

    @property
    def failed(self) -> int:
        """Calls that a bug or a provider ended."""
        return self.report.dispositions.get(self.failed_as, 0)

    @property
    def fine(self) -> bool:
        """Whether all that was said has arrived, no call failed, and the right ones are named."""
        return self.report.complete and self.as_injected and not self.failed

    @property
    def agreement(self) -> str:
        return "exactly those are named" if self.as_injected else "that is not what is named"
