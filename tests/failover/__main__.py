"""``python -m tests.failover [--seconds 600] [--kill-every 20] [--json FILE]``.

Three front ends serve one database, clients append at all of them, and whichever is the sequencer is killed
again and again. Then the log is read: exit code 1 if anything acknowledged is missing, an index was given
twice, a record is logged twice, or a takeover took five seconds."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]


def main() -> int:
    """Run the campaign and print its figures."""
    from failover.failover_campaign import failover
    from postgres_server import running_server

    parser = argparse.ArgumentParser(prog="python -m tests.failover", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--kill-every", type=float, default=20, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    with running_server() as url, tempfile.TemporaryDirectory(prefix="creditledger-failover-") as folder:
        found = failover(Path(folder), url, seconds=given.seconds, kill_every=given.kill_every)
    text = json.dumps(found.as_json(), indent=1)
    print(text)
    if given.json:
        given.json.write_text(text)
    return 0 if not found.wrong() else 1


if __name__ == "__main__":
    sys.exit(main())
