"""What becomes of a part, by a made-up clock."""

from collections.abc import Iterable

from deploy.embedded.supervise import (
    CHECK_EVERY_S,
    MISSES_MAX,
    PAUSE_MAX_S,
    PAUSE_MIN_S,
    READY_TIMEOUT_S,
    WELL_S,
    Act,
    Course,
    Seen,
)


def walked(course: Course, *steps: tuple[float, Seen]) -> tuple[Course, list[Act]]:
    acts = []
    for now, seen in steps:
        course, act = course.step(now, seen)
        acts.append(act)
    return course, acts


def running(at: float = 0.0) -> Course:
    return walked(Course(due=at), (at, Seen.ENDED), (at, Seen.ANSWERS))[0]


def pauses(course: Course, lives_s: Iterable[float]) -> list[float]:
    """The pause after each life of a part that starts at once and lives so long."""
    found = []
    for life_s in lives_s:
        start = course.due if course.phase == "waiting" else course.since
        if course.phase == "waiting":
            course, _ = walked(course, (start, Seen.ENDED), (start, Seen.ANSWERS))
        course, _ = course.step(start + life_s, Seen.ENDED)
        found.append(course.due - course.since)
    return found


def test_a_part_is_started_then_asked_until_it_answers() -> None:
    course, acts = walked(Course(), (0.0, Seen.ENDED), (0.1, Seen.SILENT), (0.2, Seen.ANSWERS), (0.3, Seen.LIVES))
    assert acts == [Act.START, Act.NOTHING, Act.TELL_READY, Act.NOTHING]
    assert (course.phase, course.since, course.restarts) == ("running", 0.2, 0)
    assert Course(phase="starting").asks(0.0)


def test_what_ends_waits_and_is_started_again_on_time() -> None:
    ended, acts = walked(running(), (1.0, Seen.ENDED))
    assert acts == [Act.TELL_ENDED]
    assert (ended.phase, ended.since) == ("waiting", 1.0)
    early, late = 1.0 + PAUSE_MIN_S - 0.01, 1.0 + PAUSE_MIN_S
    again, acts = walked(ended, (early, Seen.ENDED), (late, Seen.ENDED))
    assert acts == [Act.NOTHING, Act.START]
    assert (again.phase, again.restarts) == ("starting", 1)


def test_pauses_double_up_to_the_longest() -> None:
    found = pauses(running(), [0.0] * 9)
    assert found == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, PAUSE_MAX_S, PAUSE_MAX_S, PAUSE_MAX_S]


def test_a_part_that_was_well_for_long_waits_the_shortest_pause() -> None:
    assert pauses(running(), [0.0, 0.0, WELL_S - 0.01, WELL_S, 0.0]) == [0.5, 1.0, 2.0, PAUSE_MIN_S, 1.0]


def test_a_long_start_is_no_long_life() -> None:
    never_ready = walked(running(), (1.0, Seen.ENDED), (2.0, Seen.ENDED))[0]
    assert never_ready.phase == "starting"
    assert never_ready.step(2.0 + WELL_S, Seen.ENDED)[0].pause_s == 2 * PAUSE_MIN_S


def test_a_start_has_a_deadline() -> None:
    started, _ = walked(Course(), (0.0, Seen.ENDED))
    assert started.step(READY_TIMEOUT_S - 0.01, Seen.SILENT)[1] is Act.NOTHING
    assert started.step(READY_TIMEOUT_S, Seen.SILENT)[1] is Act.KILL_SLOW
    assert started.step(READY_TIMEOUT_S, Seen.ANSWERS)[1] is Act.TELL_READY, "it answers just in time"


def test_a_part_is_asked_at_intervals() -> None:
    course = running()
    assert not course.asks(CHECK_EVERY_S - 0.01)
    assert course.asks(CHECK_EVERY_S)
    assert not course.step(CHECK_EVERY_S, Seen.ANSWERS)[0].asks(CHECK_EVERY_S)


def test_who_lives_and_stays_silent_is_killed_after_so_many_checks() -> None:
    checks = [(n * CHECK_EVERY_S, Seen.SILENT) for n in range(1, MISSES_MAX + 1)]
    course, acts = walked(running(), *checks)
    assert acts == [*[Act.NOTHING] * (MISSES_MAX - 1), Act.KILL_HUNG]
    assert course.step(checks[-1][0], Seen.ENDED)[1] is Act.TELL_ENDED


def test_one_answer_forgives_the_silence_before() -> None:
    silent = [Seen.SILENT] * (MISSES_MAX - 1)
    seen = [*silent, Seen.ANSWERS, *silent]
    _, acts = walked(running(), *((n * CHECK_EVERY_S, s) for n, s in enumerate(seen, start=1)))
    assert set(acts) == {Act.NOTHING}


def test_misses_do_not_outlive_the_part() -> None:
    course = walked(running(), *((n * CHECK_EVERY_S, Seen.SILENT) for n in range(1, MISSES_MAX)))[0]
    ended = course.step(20.0, Seen.ENDED)[0]
    again = walked(ended, (21.0, Seen.ENDED), (22.0, Seen.ANSWERS))[0]
    assert again.step(22.0 + CHECK_EVERY_S, Seen.SILENT)[1] is Act.NOTHING
