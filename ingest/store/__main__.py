"""`python -m ingest.store --path DIR --port N`: the embedded store in this process; wires nothing else."""

import argparse
import sys
from pathlib import Path

from ingest.errors import StoreError
from ingest.store.server import serve


def main() -> int:
    """Serves until a signal. Exit code 1 and one line on stderr when the store cannot be opened."""
    parser = argparse.ArgumentParser(prog="python -m ingest.store", description="Serve the embedded store on loopback.")
    parser.add_argument("--path", type=Path, required=True, help="the store's folder; made when it is missing")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8123, help="0 takes a free one (default: %(default)s)")
    args = parser.parse_args()

    def ready(url: str) -> None:
        sys.stderr.write(f"store ready at {url} ({args.path})\n")
        sys.stderr.flush()

    try:
        serve(args.path, args.host, args.port, ready)
    except StoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
