"""`python -m runtime.models.simulated [--port N] [--wait]`: serves until interrupted; the base URL goes to stdout."""

import argparse
import asyncio
import sys

from runtime.errors import ProviderFailed
from runtime.models.simulated.server import serve


async def _main(port: int, wait: bool) -> None:
    async with serve(port=port, wait=wait) as url:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m runtime.models.simulated", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--wait", action="store_true", help="really take the declared time")
    given = parser.parse_args()
    try:
        asyncio.run(_main(given.port, given.wait))
    except ProviderFailed as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        pass
