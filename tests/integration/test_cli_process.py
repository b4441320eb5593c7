"""The console script as a process: what it loads, how it starts, what a shell sees."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli_pools import Stage, ask, environment, process

CURVES = {"py_ecc", "py_arkworks_bls12381", "milagro_bls_binding"}
HEAVY = (*sorted(CURVES), "numpy", "torch", "rich", "lmdb", "sqlite3")
PROGRAM = """
import sys
from creditledger.cli.main import run
code = run(sys.argv[1:])
print(*({module.partition(".")[0] for module in sys.modules} & set(%r)), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    made = Stage(tmp_path_factory.mktemp("process"))
    ask("prove", made.pool, "alice", "-o", made / "bundle")
    return made


def loaded_by(*arguments: object) -> tuple[int, set[str]]:
    """The exit code of a verb in a fresh process, and which heavy packages it has loaded."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM % (HEAVY,), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(),
    )
    return done.returncode, set(done.stderr.splitlines()[-1].split())


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by("--help") == (0, set())


def test_verify_loads_curves_only_for_a_certificate(stage: Stage) -> None:
    """And never numpy, torch, rich or a store."""
    code, loaded = loaded_by("verify", stage / "bundle", "--policy", stage.policy)
    assert code == 0
    assert loaded
    assert loaded <= CURVES
    (stage / "no bundle").write_bytes(b"\x90")
    assert loaded_by("verify", stage / "no bundle", "--policy", stage.policy) == (1, set())


def test_verify_opens_no_socket(stage: Stage) -> None:
    program = PROGRAM.replace(
        "import sys",
        "import sys\n"
        "def hook(event, arguments):\n"
        "    if event.startswith('socket.'):\n"
        "        raise SystemExit(99)\n"
        "sys.addaudithook(hook)",
        1,
    )
    done = subprocess.run(
        [sys.executable, "-c", program % (HEAVY,), "verify", stage / "bundle", "--policy", stage.policy],
        capture_output=True,
        timeout=120,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr


def test_a_shell_sees_code_line_and_nothing_else(stage: Stage) -> None:
    said = process("balance", stage.pool, "nobody")
    assert (said.code, said.out, len(said.err.splitlines())) == (6, "", 1)
    assert said.err.startswith("creditledger: ")
    said = process("balance", stage.pool, "nobody", "--json")
    assert (said.code, said.answer["exit"], said.err) == (6, 6, "")


def test_version_and_usage() -> None:
    assert process("--version").out.strip() == "0.1.0"
    assert process("balance").code == 2


def test_the_checkpoint_is_printed_to_the_byte(stage: Stage) -> None:
    said = process("checkpoint", stage.pool)
    assert said.code == 0
    assert said.out.encode() == (stage.pool / "public" / "checkpoint").read_bytes()


def test_a_reader_that_stops_reading_ends_the_verb_quietly(stage: Stage) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "creditledger", "statement", str(stage.pool), "alice", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    errors = running.stderr.read()
    running.stderr.close()
    assert running.wait() == 5
    assert b"Traceback" not in errors
    assert b"Exception ignored" not in errors


def test_validate_stops_when_it_is_interrupted(stage: Stage, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    ask("init", pool, "--origin", "pool.example/loop")
    key = pool / "keys" / "validator-0.key"
    ask("key", "new", tmp_path / "c.key")
    ask("register", pool, "carol", "--key", tmp_path / "c.key")
    running = subprocess.Popen(
        [sys.executable, "-m", "creditledger", "validate", str(pool), "--key", str(key), "--interval", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        # Whoever runs the suite in the background ignores interrupts, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = key.with_name(key.name + ".journal")
    for _ in range(200):
        if (journal / "owner").exists():
            break
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(timeout=0.1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
