"""Dead letters are listed in the order in which their records came."""

import random

import msgspec

from ingest.deadletters import letters
from ingest.stream.letters import DeadLetter
from ingest.stream.tail import Kept
from runtime.events import Topic


class _Held:
    """Stands where a tail does: a topic of one partition."""

    def __init__(self, held):
        self._held = held

    def spans(self, topic):
        assert topic is Topic.DEAD_LETTERS
        return {0: (0, len(self._held))}

    def read_out(self, starts):
        for spot in starts:
            yield spot, self._held


def _letter(partition, offset, at):
    letter = DeadLetter("malformed", "not JSON", Topic.CALLS, "log", partition, offset, 1, "", at)
    key = f"{letter.topic}/{partition}/{offset}@{letter.log}"
    return key.encode(), msgspec.json.encode(letter)


def test_letters_of_one_flush_are_in_the_order_of_their_offsets_and_not_of_their_digits():
    places = [(0, offset, 2) for offset in (8, 9, 10, 11, 99, 100)] + [(1, 5, 2)]
    expected = [(3, 500, 1), *places, (0, 7, 3)]  # what was buried earlier is first, whatever its offset
    said = [_letter(*place) for place in expected]
    random.Random(1).shuffle(said)
    held = [Kept(0, n, 0, key, value, True) for n, (key, value) in enumerate(said)]
    found = letters(_Held(held))
    assert [(one.letter.partition, one.letter.offset, one.letter.at) for one in found] == expected
