"""The migrations as one schema for a cluster: every table replicated, every view with its definer's rights. Pure."""

import re

from ingest.store.migrate import Migration, shipped

CLUSTER = "turnlog"
OWNER = "turnlog_owner"

_HEAD = f"""\
-- The schema for a ClickHouse cluster of one shard and any number of replicas, made from ingest/migrations.
-- Written by: python -m deploy.clickhouse
-- Run it once, on one replica, after users.sql; name your cluster {CLUSTER!r} or put its name in place of it. It notes
-- the migrations as applied, so that workers find nothing to do; of a later version run the statements that are new.
-- ClickHouse's parser reads it in our tests; no cluster has run it there yet.

"""
_REGISTRY = """\
CREATE TABLE IF NOT EXISTS migrations
    (name String, hash String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'))
ENGINE = ReplacingMergeTree ORDER BY (name, hash)"""
_TABLE = re.compile(r"\bCREATE TABLE IF NOT EXISTS (\w+)")
_VIEW = re.compile(r"\bCREATE OR REPLACE VIEW (\w+) AS\b")
_FUNCTION = re.compile(r"\bCREATE OR REPLACE FUNCTION (\w+) AS\b")
_ENGINE = re.compile(r"\bENGINE = (ReplacingMergeTree|MergeTree)(?:\((\w+)\))?")


class Unreplicated(Exception):
    """A statement of a migration that nobody has said how to do on a cluster."""


def schema(migrations: list[Migration] | None = None) -> str:
    """Every statement, and the note that they have run."""
    known = shipped() if migrations is None else migrations
    text = [_HEAD, f"{replicated(_REGISTRY)};\n\n"]
    for migration in known:
        text.append(f"-- {migration.name}\n\n")
        text += [f"{replicated(statement)};\n\n" for statement in migration.statements()]
    noted = ",\n    ".join(f"('{migration.name}', '{migration.hash}')" for migration in known)
    text.append(f"INSERT INTO migrations (name, hash) VALUES\n    {noted};\n")
    return "".join(text)


def replicated(statement: str) -> str:
    """The statement as it runs on every replica. Raises Unreplicated for one of another kind."""
    cluster = f"ON CLUSTER {CLUSTER}"
    if table := _TABLE.search(statement):
        path = f"'/clickhouse/tables/{{shard}}/{{database}}/{table[1]}', '{{replica}}'"
        made, times = _ENGINE.subn(
            lambda found: f"ENGINE = Replicated{found[1]}({path}{f', {found[2]}' if found[2] else ''})", statement
        )
        if times == 1:
            return _TABLE.sub(rf"CREATE TABLE IF NOT EXISTS \1 {cluster}", made)
    elif _VIEW.search(statement):
        # With the definer's rights: a reader has none on the tables behind the views.
        secured = f"DEFINER = {OWNER} SQL SECURITY DEFINER"
        return _VIEW.sub(rf"CREATE OR REPLACE VIEW \1 {cluster} {secured} AS", statement)
    elif _FUNCTION.search(statement):
        return _FUNCTION.sub(rf"CREATE OR REPLACE FUNCTION \1 {cluster} AS", statement)
    raise Unreplicated(f"say in deploy/clickhouse/schema.py how to replicate: {statement.splitlines()[0][:80]!r}")
