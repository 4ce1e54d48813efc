"""`python -m deploy.clickhouse` writes schema.sql and users.sql beside this file anew."""

from pathlib import Path

from deploy.clickhouse.schema import schema
from deploy.clickhouse.users import users

if __name__ == "__main__":
    here = Path(__file__).parent
    (here / "schema.sql").write_text(schema(), encoding="utf-8")
    (here / "users.sql").write_text(users(), encoding="utf-8")
