"""Dead letters: the order in which they are listed, and whose bytes are nobody's to see."""

import random

import msgspec
import pytest

from ingest.deadletters import is_erased, letters
from ingest.erased import Erasures
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


CALL, OTHER = "019aa000-0000-7000-8000-000000000001", "019aa000-0000-7000-8000-000000000002"


@pytest.mark.parametrize("lead", ["0123456789abcdef0123456789abcdef", "crm:4711", "a@b.c=+_-"])
def test_bytes_that_nobody_can_read_are_an_erased_lead_s_when_they_name_the_lead_or_a_call_of_it(lead):
    erasures = Erasures(leads={("acme", lead): 1}, calls={("acme", CALL)})
    for named in (f'{{"type":"FromTomorrow","lead":"{lead}"', f'not JSON: "{CALL}"', f'"words of it":"{lead}"'):
        assert is_erased(named.encode(), erasures), named
    for other in (f'{{"type":"FromTomorrow","lead":"x{lead}"', f'"{OTHER}"', f"{lead} {CALL}", ""):
        assert not is_erased(other.encode(), erasures), other
