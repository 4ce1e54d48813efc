"""Writes the JSON Schema of the contract: `python -m runtime.events.schema > runtime/events/schema.json`."""

import json
import sys
from functools import reduce
from operator import or_

import msgspec

from runtime.events.types import ALL_TYPES


def contract() -> str:
    """JSON Schema (2020-12) of every event, as text that is the same on every run."""
    schema = msgspec.json.schema(reduce(or_, ALL_TYPES))
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "turnlog events", **schema}
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(contract())
