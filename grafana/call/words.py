"""Times and counts as a reader wants them. Pure text, no markup."""

from datetime import UTC, datetime


def exact_ms(us: int) -> str:
    """To the microsecond, without noughts that say nothing: 1,180.5 ms."""
    text = f"{us / 1000:,.3f}".rstrip("0").rstrip(".")
    return f"{text} ms"


def round_ms(us: int | None) -> str:
    """To the millisecond; a dash for what is not known."""
    return "-" if us is None else f"{us / 1000:,.0f}"


def clock(us: int, step_us: int = 1_000_000) -> str:
    """A moment of a call, as exact as its neighbours are apart: 0.5 s, 12 s, 2:05."""
    if step_us < 1_000_000:
        return f"{us / 1e6:.1f} s"
    seconds = round(us / 1e6)
    if abs(seconds) < 120:
        return f"{seconds} s"
    return f"{'-' if seconds < 0 else ''}{abs(seconds) // 60}:{abs(seconds) % 60:02}"


def length(us: int) -> str:
    """How long a call took: 48.2 s, 3 min 04 s."""
    seconds = us / 1e6
    return f"{seconds:.1f} s" if seconds < 120 else f"{int(seconds) // 60} min {int(seconds) % 60:02} s"


def moment(us: int) -> str:
    """A moment in UTC, to the second."""
    try:
        return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):  # a clock that is off by thousands of years
        return f"{us} µs"


def counted(n: int, one: str, many: str = "") -> str:
    """1 turn, 2 turns."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def harmless(text: str) -> str:
    """Text that moves no cursor: what a terminal would obey is shown and not sent."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def ranges(missing: tuple[tuple[int, int], ...]) -> str:
    """3, 7-9, …"""
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in missing)
