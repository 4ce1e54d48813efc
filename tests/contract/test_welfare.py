"""What calls did to people, as the views count it, against plain Python over the same calls."""

import datetime as dt
import random
import uuid
from collections import Counter

import pytest

from ingest import query
from ingest.store.writer import Writer
from ingest.tables import Log
from ingest.views import EARLY_HANGUP_S, EARLY_HANGUP_TURNS, OPTED_OUT, REDIAL_MINUTES, REPEAT_DAYS
from runtime import events as ev

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
SECOND = dt.timedelta(seconds=1)
WINDOW, REDIAL = dt.timedelta(days=REPEAT_DAYS), dt.timedelta(minutes=REDIAL_MINUTES)
COLUMNS = (
    *("tenant", "day", "call_id", "campaign", "agent", "agent_version", "env", "lead", "direction", "started_at"),
    *("ended_at", "end_reason", "disposition", "turns"),
)


def made(r, leads):
    """Calls of some leads, many of them right at the edges of what counts."""
    calls = []
    for lead in leads:
        at = NOW - dt.timedelta(days=r.choice([5, 8, 12, 25]), seconds=r.randrange(86_400))
        for _ in range(r.randint(1, 6)):
            lasted = r.choice([3, EARLY_HANGUP_S - 1, EARLY_HANGUP_S, 90]) * SECOND
            ended = r.random() < 0.9
            calls.append(
                {
                    "tenant": r.choice(["acme", "acme", "umbrella"]),
                    "day": at.date(),
                    "call_id": ev.new_call_id(int(at.timestamp() * 1e6)),
                    "campaign": r.choice(["spring", "autumn"]),
                    "agent": "booker",
                    "agent_version": "7",
                    "env": "test",
                    "lead": lead,
                    "direction": r.choice(["outbound", "outbound", "inbound", "unknown"]),
                    "started_at": None if r.random() < 0.05 else at,
                    "ended_at": at + lasted if ended else None,
                    "end_reason": r.choice(["agent_ended", "caller_hung_up", "failed"]) if ended else "",
                    "disposition": r.choice(["booked", OPTED_OUT, ""]),
                    "turns": r.randrange(4),
                }
            )
            after = [dt.timedelta(minutes=1), REDIAL, REDIAL + SECOND, WINDOW - lasted, WINDOW - lasted + SECOND]
            at += lasted + r.choice([*after, dt.timedelta(days=2)])
            if at > NOW:
                break
    r.shuffle(calls)
    return calls


def facts(r, calls, leads):
    kinds = [(ev.ComplaintFiled, "channel"), (ev.ConsentRevoked, "purpose"), (ev.ConsentGranted, "purpose")]
    said = []
    for n in range(len(calls)):
        kind, name = r.choice(kinds)
        about = r.choice(calls) if r.random() < 0.7 else None
        tenant, campaign = (about["tenant"], about["campaign"]) if about else ("acme", r.choice(["spring", "other"]))
        said.append(
            kind(
                stream=ev.stream_of(tenant, f"{n}/{uuid.UUID(int=r.getrandbits(128))}"),
                source="crm", seq=0, at=int(NOW.timestamp() * 1e6), v=1, tenant=tenant, campaign=campaign,
                lead=about["lead"] if about else r.choice(leads), call=about["call_id"] if about else "",
                **{name: "phone"},
            )
        )  # fmt: skip
    return said


def store(client, arrow, calls, said):
    rows = [{**c, "disappeared": 0, "interrupted": 0, "glitches": 0, "events": 1, "version": 1} for c in calls]
    if rows:
        client.insert("calls_log", [list(r.values()) for r in rows], column_names=list(rows[0]))
    store_facts(client, arrow, said)


def store_facts(client, arrow, said):
    outcomes = [
        {
            "tenant": e.tenant, "day": dt.date(1970, 1, 1), "stream": e.stream, "source": e.source, "seq": 0,
            "at": NOW, "campaign": e.campaign, "lead": e.lead, "type": type(e).__name__,
            "payload": ev.encode(e).decode(), "offset": n,
        }
        for n, e in enumerate(said)
    ]  # fmt: skip
    Writer(client).insert(Log.OUTCOMES, arrow(Log.OUTCOMES, *outcomes))


def followed(calls):
    """Repeats and redials by the call that they follow: each call looks back over all others of its lead."""
    repeats, redials = Counter(), Counter()
    known = [c for c in calls if c["lead"] and c["started_at"]]
    for call in known:
        order = (call["started_at"], call["call_id"])
        before = [
            c
            for c in known
            if (c["tenant"], c["lead"]) == (call["tenant"], call["lead"]) and (c["started_at"], c["call_id"]) < order
        ]
        if not before:
            continue
        last = max(before, key=lambda c: (c["started_at"], c["call_id"]))
        if last["end_reason"] == "failed" and call["started_at"] - last["ended_at"] <= REDIAL:
            redials[last["call_id"]] += 1
            continue
        ours = [c for c in before if c["direction"] == "outbound"]
        if call["direction"] == "inbound" and ours:
            latest = max(ours, key=lambda c: (c["started_at"], c["call_id"]))
            if call["started_at"] - latest["started_at"] <= WINDOW:
                repeats[latest["call_id"]] += 1
    return repeats, redials


def by_call(calls, said):
    repeats, redials = followed(calls)
    about = Counter((type(e).__name__, e.tenant, e.call) for e in said if e.call)
    found = {}
    for c in calls:
        ours = c["direction"] == "outbound" and c["lead"] and c["started_at"]
        until = c["started_at"] + WINDOW if ours else None
        watched = until is not None and until <= NOW
        quick = c["started_at"] and c["ended_at"] and c["ended_at"] - c["started_at"] < EARLY_HANGUP_S * SECOND
        early = c["end_reason"] == "caller_hung_up" and (c["turns"] < EARLY_HANGUP_TURNS or bool(quick))
        found[c["call_id"]] = {
            "complaints": about["ComplaintFiled", c["tenant"], c["call_id"]],
            "consents_revoked": about["ConsentRevoked", c["tenant"], c["call_id"]],
            "opted_out": int(c["disposition"] == OPTED_OUT),
            "hung_up_early": int(early),
            "watched_until": until,
            "watched": int(watched),
            "repeat_calls": repeats[c["call_id"]] if watched else None,
            "redials": redials[c["call_id"]] if c["lead"] else None,
        }
    return found


def by_lead(calls, said):
    each = by_call(calls, said)
    keys = {(x["tenant"], x["campaign"], x["lead"]) for x in calls if x["lead"]}
    spoken = [e for e in said if e.lead and type(e) in (ev.ComplaintFiled, ev.ConsentRevoked)]
    found = {}
    for key in keys | {(e.tenant, e.campaign, e.lead) for e in spoken}:
        mine = [(c, each[c["call_id"]]) for c in calls if (c["tenant"], c["campaign"], c["lead"]) == key]
        of = Counter(type(e).__name__ for e in spoken if (e.tenant, e.campaign, e.lead) == key)
        until = max((w["watched_until"] for _, w in mine if w["watched_until"]), default=None)
        watched = until is not None and until <= NOW
        found[key] = {
            "calls": sum(c["direction"] == "outbound" for c, _ in mine),
            "complaints": of["ComplaintFiled"],
            "consents_revoked": of["ConsentRevoked"],
            "opted_out": sum(w["opted_out"] for _, w in mine),
            "hung_up_early": sum(w["hung_up_early"] for _, w in mine),
            "watched_until": until,
            "watched": int(watched),
            "repeat_calls": sum(w["repeat_calls"] or 0 for _, w in mine) if watched else None,
            "redials": sum(w["redials"] or 0 for _, w in mine),
        }
    return found


@pytest.mark.parametrize("seed", range(3))
def test_welfare_by_call_and_by_lead_is_what_python_counts(client, arrow, seed):
    r = random.Random(seed)
    leads = [f"l-{n}" for n in range(40)] + [""]  # the last one is nobody: not known, or forgotten
    calls = made(r, leads)
    said = facts(r, calls, leads)
    store(client, arrow, calls, said)
    calls_true, leads_true = by_call(calls, said), by_lead(calls, said)
    names = ", ".join(next(iter(calls_true.values())))
    rows = query.rows(client, f"SELECT call_id, {names} FROM welfare")
    assert {row.pop("call_id"): row for row in rows} == calls_true
    names = ", ".join(next(iter(leads_true.values())))
    rows = query.rows(client, f"SELECT tenant, campaign, lead, {names} FROM welfare_by_lead")
    assert {(row.pop("tenant"), row.pop("campaign"), row.pop("lead")): row for row in rows} == leads_true
    told = list(calls_true.values())
    for name in ("complaints", "hung_up_early", "repeat_calls", "redials"):
        assert sum(w[name] or 0 for w in told) > 0, name
    assert {w["watched"] for w in told} == {0, 1}


def test_a_read_as_of_another_time_leaves_out_who_was_not_watched_then(client, arrow):
    calls = made(random.Random(9), [f"l-{n}" for n in range(30)])
    store(client, arrow, calls, [])
    then = NOW - dt.timedelta(days=6)
    true = {k for k, w in by_call(calls, []).items() if w["watched_until"] and w["watched_until"] <= then}
    sql = "SELECT call_id FROM welfare WHERE watched_until <= {then:DateTime64(6)}"
    assert {r["call_id"] for r in query.rows(client, sql, {"then": then})} == true != set()


def test_each_fact_of_a_lead_is_a_row_with_its_own_name_and_value(client, arrow):
    head = {"source": "crm", "seq": 0, "at": int(NOW.timestamp() * 1e6), "v": 1, "tenant": "acme", "campaign": "spring"}
    said = [
        kind(stream=ev.stream_of("acme", str(n)), **head, lead="l-1", **more)
        for n, (kind, more) in enumerate(
            [
                (ev.ComplaintFiled, {"channel": "mail", "call": "some-call"}),
                (ev.ConsentHonoured, {"purpose": "sales"}),
                (ev.OutcomeConfirmed, {"outcome": "sale", "value": 12.5}),
                (ev.OutcomeConfirmed, {"outcome": "visit"}),
                (ev.SurveyAnswered, {"question": "kind", "score": 4.0}),
            ]
        )
    ]
    closed = ev.SourceClosed(stream=ev.new_call_id(head["at"]), **head, last_seq=0)
    store_facts(client, arrow, [*said, closed])
    store_facts(client, arrow, said)  # once more
    rows = query.rows(client, "SELECT type, call_id, name, value FROM outcomes ORDER BY type, name")
    assert [tuple(r.values()) for r in rows] == [
        ("ComplaintFiled", "some-call", "mail", None),
        ("ConsentHonoured", "", "sales", None),
        ("OutcomeConfirmed", "", "sale", 12.5),
        ("OutcomeConfirmed", "", "visit", None),
        ("SurveyAnswered", "", "kind", 4.0),
    ]


def test_nobody_stored_is_nobody_harmed(client):
    for view in ("welfare", "welfare_by_lead", "outcomes"):
        assert query.rows(client, f"SELECT * FROM {view}") == []
