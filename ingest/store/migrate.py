"""Brings a store's schema and its comments up to date, forward only; moves and deletes no data."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from clickhouse_connect.driver.client import Client

from ingest.errors import StoreUnusable
from ingest.store.comments import comment
from ingest.store.faults import translated

_REGISTRY = """
CREATE TABLE IF NOT EXISTS migrations
    (name String, hash String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'))
ENGINE = ReplacingMergeTree ORDER BY (name, hash)
"""


@dataclass(frozen=True)
class Migration:
    name: str
    sql: str

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> list[str]:
        """Split where a semicolon ends a line; a part that is only comments is none."""
        parts = (part.strip() for part in f"{self.sql}\n".split(";\n"))
        return [part for part in parts if any(line and not line.startswith("--") for line in part.splitlines())]


def shipped() -> list[Migration]:
    """The migrations of this version, in order."""
    folder = files("ingest") / "migrations"
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [Migration(f.name.removesuffix(".sql"), f.read_text(encoding="utf-8")) for f in found]


def pending(known: list[Migration], applied: dict[str, str]) -> list[Migration]:
    """What is still to run, given the hashes by name of what has run. Raises StoreUnusable when they disagree."""
    for name in sorted(applied.keys() - {m.name for m in known}):
        raise StoreUnusable(
            f"the store has migration {name!r}, which this version does not know: it was opened by a newer one. "
            "Upgrade turnlog, or use another store"
        )
    for migration in known:
        if applied.get(migration.name, migration.hash) != migration.hash:
            raise StoreUnusable(
                f"migration {migration.name!r} was edited after it had been applied to this store. "
                "Restore the file, and put the change into a new migration"
            )
    return [m for m in known if m.name not in applied]


def migrate(client: Client, known: list[Migration] | None = None) -> list[str]:
    """Applies what is missing and returns its names. Every statement may run twice, so a crash half way heals."""
    with translated("migrating the store"):
        client.command(_REGISTRY)
        rows = client.query("SELECT name, hash FROM migrations ORDER BY applied_at").result_rows
        todo = pending(shipped() if known is None else known, {str(row[0]): str(row[1]) for row in rows})
        for migration in todo:
            for statement in migration.statements():
                client.command(statement)
            client.command(
                "INSERT INTO migrations (name, hash) SELECT {name:String}, {hash:String}",
                parameters={"name": migration.name, "hash": migration.hash},
            )
    comment(client)  # each time: words may change without a migration, and replacing a view drops them
    return [m.name for m in todo]
