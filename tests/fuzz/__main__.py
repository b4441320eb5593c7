"""``python -m tests.fuzz TARGET... [--seconds N]``: fuzz with coverage to guide it, then weigh the corpus.

Without atheris (extra ``fuzz``) inputs are mutated without guidance. Exit code 1 is a finding."""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
sys.path[:0] = [str(TESTS), str(ROOT)]
GUIDED = "CREDITLEDGER_FUZZ_GUIDED"
"""Set in the process that atheris takes over: it never returns from there."""
STATISTICS = re.compile(r"stat::number_of_executed_units: +(\d+)")


def guided(name: str, arguments: list[str]) -> None:
    """Hand the process to atheris, with our code instrumented as it is imported."""
    import atheris

    with atheris.instrument_imports(include=["creditledger"]):
        from fuzz.campaign import TARGETS

        feed = TARGETS[name].feed
        for seed in TARGETS[name].seeds():
            feed(seed)  # loads the modules that are imported late

    def feed_one(data: bytes) -> None:
        feed(data)

    atheris.Setup([sys.argv[0], *arguments], feed_one)
    atheris.Fuzz()


def fuzz(name: str, *, seconds: int) -> bool:
    """One target; whether it held."""
    from fuzz import campaign

    target = campaign.TARGETS[name]
    if find_spec("atheris") is None:
        report = campaign.run(target, seconds=seconds, seed=int.from_bytes(os.urandom(4), "big"))
        print(f"{name}: {report} without guidance")
        return True
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for seed in target.seeds():
            (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
        words = Path(folder) / "words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        finding = Path.cwd() / f"finding-{name}-"
        options: dict[str, Any] = {
            "max_total_time": seconds,
            "max_len": 64 * 1024,
            "timeout": 10,
            "dict": words,
            "artifact_prefix": finding,
            "print_final_stats": 1,
            "verbosity": 0,
        }
        arguments = [name, str(corpus), *(f"-{option}={value}" for option, value in options.items())]
        command = [sys.executable, "-m", "tests.fuzz", *arguments]
        environment = {**os.environ, GUIDED: "1"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        found = STATISTICS.search(done.stderr)
        inputs = [path.read_bytes() for path in sorted(corpus.iterdir())]
        report = campaign.weigh_all(target, inputs)
    count = found.group(1) if found else "unknown"
    print(
        f"{name}: {count} executions, {len(inputs)} inputs kept,"
        f" slowest {report.slowest_s * 1e3:.1f} ms, most {report.most_bytes / 2**20:.1f} MiB,"
        f" {'no finding' if done.returncode == 0 else 'FINDING'}",
        flush=True,
    )
    if done.returncode != 0:
        print(done.stdout[-2_000:], done.stderr[-2_000:], sep="\n")
    return done.returncode == 0


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> int:
    """Fuzz the targets that were named, all for none."""
    from fuzz.campaign import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    given = parser.parse_args()
    unknown = set(given.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(TARGETS)}")
    held = [fuzz(name, seconds=given.seconds) for name in given.targets or TARGETS]
    return 0 if all(held) else 1


if __name__ == "__main__":
    if os.environ.get(GUIDED):
        guided(sys.argv[1], sys.argv[2:])
    sys.exit(main())
