"""A lead is forgotten, on Apache Kafka: at once, when records come again, by a rebuild, and from the store's disk."""

import re
import time
from contextlib import closing

import pytest

from ingest import query
from ingest.deadletters import content, counted, judged, letters, send_again
from ingest.erase import erase
from ingest.partition import Limits
from ingest.replay import rebuild
from ingest.store.erasing import known_erasures, parts_left, remove_lead
from ingest.store.migrate import migrate
from ingest.store.writer import Writer
from ingest.stream.tail import tail
from ingest.stream.worker import GROUP
from ingest.tables import RAW, Log
from runtime import events as ev
from runtime.emit import kafka_log
from runtime.events import Topic
from tests.contract.ground import EPOCH_RECORDS, house_at, until
from tests.contract.grounds import ground_named

LIMITS = Limits(epoch_records=EPOCH_RECORDS)
GONE, STAYS = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
NOW_US = time.time_ns() // 1000


def said(event_type, stream, seq, lead, **fields):
    usual = {"source": "runtime", "at": NOW_US, "v": 1, "tenant": "acme", "campaign": "c"}
    return stream, ev.encode(event_type(**usual, stream=stream, seq=seq, lead=lead, **fields))


def call_of(lead, named_in_words=True):
    stream = ev.new_call_id(NOW_US)
    spoken = [
        said(ev.CallStarted, stream, 0, lead, direction=ev.Direction.OUTBOUND),
        said(ev.TurnEnded, stream, 1, lead, turn=1, outcome=ev.Outcome.ANSWERED),
        said(ev.SourceClosed, stream, 2, lead, last_seq=2),
    ]
    words = [said(ev.WordsHeard, stream, 0, lead if named_in_words else "", turn=1, text=f"words of {lead}")]
    return spoken, words


@pytest.fixture(scope="module")
def house(request, store_url, tmp_path_factory):
    """Two leads with two calls each and a complaint; of one of the calls the words do not say whose they are."""
    with house_at(ground_named("apache-plain", request), store_url, tmp_path_factory.mktemp("house")) as house:
        made = [call_of(GONE), call_of(GONE, named_in_words=False), call_of(STAYS), call_of(STAYS)]
        house.spoken = [record for spoken, _ in made for record in spoken]
        house.words = [record for _, words in made for record in words]
        house.complaints = [
            (lead, said(ev.ComplaintFiled, ev.stream_of("acme", lead), 0, lead, channel="phone")[1])
            for lead in (GONE, STAYS)
        ]
        house.worker()
        deliver(house)
        yield house


def deliver(house):
    house.broker.produce(house.spoken)
    house.broker.produce(house.words, Topic.CONTENT)
    house.broker.produce(house.complaints, Topic.OUTCOMES)
    read(house)


def read(house):
    """Until the group has read what was produced; the erasures on the control topic are not counted in it."""
    until(lambda: house.broker.ends.items() <= house.broker.committed().items(), "the group has read every topic")


def asked(house, sql):
    with closing(query.connect(house.url)) as client:
        return client.query(sql).result_rows


def traces(house):
    """Where the erased lead, or their words, can be found."""
    found = [t for t in RAW.values() if t != "control_log" and asked(
        house, f"SELECT count() FROM {t} WHERE lead = '{GONE}' OR position(payload, '{GONE}') > 0")[0][0]]  # fmt: skip
    return found + [1 for _ in range(asked(house, f"SELECT count() FROM calls_log WHERE lead = '{GONE}'")[0][0])]


def test_who_is_erased_is_gone_at_once_and_does_not_come_back(house):
    assert traces(house)
    with closing(query.connect(house.url)) as client, closing(kafka_log(house.broker.address)) as log:
        found = erase(client, log, house.broker.address, "acme", GONE)
        assert found.known
        assert (found.words, found.named, found.calls) == (2, 7, 2)
        until_day = {one.topic: (one.until - found.at).days for one in found.expires if one.until is not None}
        assert until_day == {Topic.CONTENT: 6, Topic.DEAD_CONTENT: 6, Topic.CALLS: 14, Topic.OUTCOMES: 14}
        assert traces(house) == []
        again = erase(client, log, house.broker.address, "acme", GONE)
        assert (again.words, again.named, again.calls) == (0, 0, 0)
    assert asked(house, "SELECT count(), countIf(lead = '') FROM calls") == [(4, 2)]
    assert asked(house, "SELECT count(), uniqExact(lead) FROM content_log FINAL") == [(2, 1)]

    deliver(house)  # the producer's spool, late
    assert traces(house) == []
    assert asked(house, "SELECT count(), countIf(payload_hash != sipHash64(payload)) FROM events") == [(12, 0)]

    rebuilt = rebuild(house.url, house.broker.address, GROUP, verify=True, limits=LIMITS)
    assert rebuilt.differences == ()
    for worker in house.workers:
        worker.stop()
    assert rebuild(house.url, None, GROUP, verify=False, limits=LIMITS).swapped
    assert traces(house) == []
    assert house.letters() == []  # what comes again is the same as what was kept, not a conflict


def test_what_is_erased_leaves_the_disk(spawn, arrow, tmp_path):
    """Seen in the files, of columns that are left uncompressed, where old parts are removed soon."""
    lead, spoken = "5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c", "what was said by {}"

    soon = "old_parts_lifetime = 1, cleanup_delay_period = 1, max_cleanup_delay_period = 1"

    def rows(payload):
        return [
            {"stream": f"call-{n}", "seq": n, "offset": n, "lead": who, "payload": payload.replace("{}", who)}
            for n, who in enumerate((lead, STAYS))
        ]

    def on_disk(what):
        return {path.name for path in tmp_path.rglob("*") if path.is_file() and what.encode() in path.read_bytes()}

    with spawn(tmp_path / "db") as store, closing(query.connect(store.url)) as client:
        migrate(client)
        for table, payload in ((Log.CONTENT, spoken), (Log.EVENTS, '{"lead":"{}"}')):
            client.command(f"ALTER TABLE {table} MODIFY COLUMN payload String CODEC(NONE)")
            client.command(f"ALTER TABLE {table} MODIFY SETTING {soon}")
            Writer(client).insert(table, arrow(table, *rows(payload)))
    with spawn(tmp_path / "db") as store, closing(query.connect(store.url)) as client:  # which knows those settings
        assert on_disk(spoken.replace("{}", lead))
        removed = remove_lead(client, "acme", lead, time.time_ns() // 1000)
        assert (removed.words, removed.named) == (1, 1)
        until(lambda: parts_left(client)[0] == 0, "the engine has removed the old parts")
        assert not on_disk(spoken.replace("{}", lead))
        # Whom it is about stays in the text of the mutation, as it does in the erasure's own event.
        assert all(re.fullmatch(r"mutation_\d+\.txt", name) for name in on_disk(lead)), on_disk(lead)
        assert on_disk(spoken.replace("{}", STAYS))


def test_a_worker_that_starts_knows_before_it_reads(house):
    spoken, words = call_of(GONE)
    house.spoken, house.words, house.complaints = spoken, words, []
    house.worker()
    deliver(house)
    assert traces(house) == []
    assert asked(house, f"SELECT count() FROM calls WHERE call_id = '{spoken[0][0]}'") == [(1,)]


def test_a_later_call_of_the_same_lead_is_another_matter(house):
    later = ev.new_call_id(time.time_ns() // 1000 + 60_000_000)
    house.spoken = [said(ev.CallStarted, later, 0, GONE, direction=ev.Direction.INBOUND)]
    house.words = [said(ev.WordsHeard, later, 0, GONE, turn=1, text="hello again")]
    deliver(house)
    assert asked(house, f"SELECT lead FROM calls WHERE call_id = '{later}'") == [(GONE,)]
    assert asked(house, f"SELECT count() FROM content_log WHERE stream = '{later}'") == [(1,)]


def test_dead_letters_are_counted_and_sent_again_to_where_they_came_from(house):
    broken = ev.new_call_id(NOW_US)
    house.broker.produce([(broken, b'{"type":"FromTomorrow","v":1,"stream":"' + broken.encode() + b'"}')])
    house.broker.produce([(broken, said(ev.WordsHeard, broken, 0, STAYS, turn=1, text="in the wrong topic")[1])])
    read(house)
    with tail(house.broker.address) as opened, closing(query.connect(house.url)) as client:
        found = letters(opened)
        assert [(c.reason, c.letters) for c in counted(found)] == [("unknown_type", 1), ("wrong_topic", 1)]
        held = content(opened, [one.key for one in found])
        fates = judged(found, held, known_erasures(client))
        assert [(f.fate, f.invalid) for f in fates] == [("ready", True), ("ready", False)]
        cut = {key: value[:-1] for key, value in held.items()}
        assert {f.fate for f in judged(found, cut, known_erasures(client))} == {"cut"}
        other = {key: value[:-1] + b"!" for key, value in held.items()}
        assert {f.fate for f in judged(found, other, known_erasures(client))} == {"other bytes"}
        assert {f.fate for f in judged(found, {}, known_erasures(client))} == {"bytes gone"}
        ends = dict(house.broker.ends)
        with closing(kafka_log(house.broker.address)) as log:
            assert send_again(log, found, held) == 2
        until(lambda: len(letters(opened)) == 4, "what is still invalid comes back")
        again = [one.letter for one in letters(opened) if one not in found]
    # Under the call's own key, so in the partition of that call and after all that was there.
    assert {(a.topic, a.partition) for a in again} == {(Topic.CALLS, found[0].letter.partition)}
    assert all(a.offset >= ends[a.topic, a.partition] for a in again)
    assert {a.sha256 for a in again} == {one.letter.sha256 for one in found}
