"""``python -m tests.soak [--seconds 600] [--kill-every 30] [--json FILE]``.

A served pool under life and attack.

Clients, nodes, a queue, validators and readers in processes of their own speak HTTP to a server on 127.0.0.1
that is killed again and again; then everything is audited. Three fifths of the time belong to the kills, one
to one unkilled life, one to attacks. Exit code 1 if a goal is missed."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]


def main() -> int:
    """Soak, and print every figure."""
    from soak.soak_campaign import Plan, soak
    from soak.soak_report import as_json, goals, show

    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="in all, but for the end (default: 600)")
    parser.add_argument("--kill-every", type=float, default=30, metavar="SECONDS", help="(default: 30)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="creditledger-soak-") as folder:
        plan = Plan(seconds=given.seconds, kill_every=given.kill_every, seed=given.seed)
        found = soak(Path(folder), plan)
    lines = goals(found)
    show(lines, found.wrong)
    print(f"load of this machine: {' '.join(f'{each:.1f}' for each in os.getloadavg())}")
    if given.json:
        given.json.write_text(json.dumps(as_json(found), indent=1))
    return 0 if all(met for *_, met in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
