"""Writes schema.sql and users.sql beside this file anew; `--tenant NAME` prints a role for that tenant instead."""

import argparse
import sys
from pathlib import Path

from deploy.clickhouse.schema import schema
from deploy.clickhouse.users import tenant_reader, users

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m deploy.clickhouse", description=__doc__)
    parser.add_argument("--tenant", metavar="NAME", help="print the SQL of a role that reads this tenant's rows alone")
    tenant = parser.parse_args().tenant
    here = Path(__file__).parent
    if tenant is None:
        (here / "schema.sql").write_text(schema(), encoding="utf-8")
        (here / "users.sql").write_text(users(), encoding="utf-8")
    else:
        try:
            sys.stdout.write(tenant_reader(tenant))
        except ValueError as error:
            parser.error(str(error))
