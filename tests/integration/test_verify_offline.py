"""A stranger with a bundle, a policy and no network: the command, its exit codes, what it loads and opens."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from creditledger.transparency.verification import verify_bundle
from fakes.shown_pool import elsewhere, shown

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "torch", "lmdb", "gguf", "tokenizers", "rich")
CURVES = ("py_ecc", "milagro_bls_binding", "py_arkworks_bls12381", "eth_utils")
REPORTING = """
import atexit, sys
if "{modules}" == "shown":
    atexit.register(lambda: print("MODULES", *sys.modules, file=sys.stderr))
sys.argv[0] = "creditledger"
from creditledger.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every bundle as a file, and the two policies."""
    made = tmp_path_factory.mktemp("bundles")
    for name, encoded in shown().bundles.items():
        (made / name.replace(" ", "-")).write_bytes(encoded)
    (made / "policy").write_bytes(shown().policy.serialize())
    (made / "other-policy").write_bytes(elsewhere().policy.serialize())
    return made


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def run(*arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, *arguments]
    return subprocess.run(
        command, env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def arguments_for(folder: Path, name: str, *more: str, policy: str = "policy") -> tuple[str, ...]:
    now = str(shown().now_unix_ms)
    return ("verify", str(folder / name), "--policy", str(folder / policy), "--now", now, "--json", *more)


def verify(
    folder: Path, name: str, *more: str, policy: str = "policy", prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    arguments = arguments_for(folder, name, *more, policy=policy)
    return run("-m", "creditledger", *arguments, prefix=prefix)


def modules_after(folder: Path, name: str) -> set[str]:
    """What was loaded when `verify` ended."""
    script = REPORTING.replace("{modules}", "shown")
    done = run("-c", script, *arguments_for(folder, name, "--require", "signed"))
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith("MODULES "))
    return {module.partition(".")[0] for module in line.split()[1:]}


@pytest.fixture(scope="module")
def no_network() -> tuple[str, ...]:
    """A command prefix that takes the network away."""
    for prefix in (("unshare", "-n"), ("unshare", "-r", "-n")):
        if which("unshare") and subprocess.run([*prefix, "true"], check=False).returncode == 0:
            return prefix
    pytest.skip("unshare -n is not permitted here: the network cannot be switched off")


@pytest.mark.parametrize(
    ("name", "require", "work"),
    [
        ("signed", "signed", "unchecked"),
        ("logged", "logged", "unchecked"),
        ("upheld", "upheld", "upheld"),
        ("vested", "vested", "upheld"),
        ("refuted", "logged", "refuted"),
        ("hold-open", "logged", "unchecked"),
    ],
)
def test_it_verifies_without_a_network(
    folder: Path, no_network: tuple[str, ...], name: str, require: str, work: str
) -> None:
    done = verify(folder, name, "--require", require, prefix=no_network)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["ok"], answer["work"]) == (True, work)
    if require != "signed":
        found = verify_bundle(shown()[name.replace("-", " ")], shown().policy)
        assert (answer["size"], answer["time_unix_ms"]) == (found.size, found.time_unix_ms)


@pytest.mark.parametrize(
    ("name", "more", "policy"),
    [
        ("signed", (), "policy"),
        ("certified", ("--require", "upheld"), "policy"),
        ("settled", ("--require", "vested"), "policy"),
        ("account", ("--require", "vested"), "policy"),
        ("vested", (), "other-policy"),
        ("policy", (), "policy"),
    ],
)
def test_what_falls_short_exits_with_one(
    folder: Path, no_network: tuple[str, ...], name: str, more: tuple[str, ...], policy: str
) -> None:
    done = verify(folder, name, *more, policy=policy, prefix=no_network)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_only_what_is_needed_is_loaded(folder: Path) -> None:
    """No array library and no store ever; no curve arithmetic for a bundle without a certificate."""
    plain, certified = modules_after(folder, "logged"), modules_after(folder, "upheld")
    assert plain.isdisjoint(HEAVY)
    assert certified.isdisjoint(HEAVY)
    assert plain.isdisjoint(CURVES)
    assert not certified.isdisjoint(CURVES)


def test_no_socket_is_opened(folder: Path) -> None:
    strace = which("strace")
    if strace is None:
        pytest.skip("strace is not installed: see the audit hook beside it")
    trace = folder / "trace"
    prefix = (strace, "-f", "-qq", "-e", "trace=socket,connect,bind,sendto", "-o", str(trace))
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace may not attach here: see the audit hook beside it")
    done = verify(folder, "upheld", "--require", "upheld", prefix=prefix)
    assert done.returncode == 0, done.stderr
    assert trace.read_text() == ""


_watched: list[list[str]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watched:
        _watched[-1].append(event)


@pytest.fixture
def events() -> Iterator[list[str]]:
    """Audit events of the test's own process; a hook cannot be taken out again, only left idle."""
    if not hasattr(_hook, "installed"):
        sys.addaudithook(_hook)
        _hook.installed = True  # type: ignore[attr-defined]
    _watched.append([])
    yield _watched[-1]
    _watched.pop()


def test_verification_touches_no_socket_and_no_file(events: list[str]) -> None:
    for name in ("upheld", "hold open", "signed"):
        verify_bundle(shown()[name], shown().policy, require="signed")  # loads the curve
    events.clear()
    for name, encoded in shown().bundles.items():
        assert verify_bundle(encoded, shown().policy, require="signed"), name
    outside = ("socket.", "open", "os.", "subprocess.", "urllib.", "http.")
    assert [event for event in events if event.startswith(outside)] == []
    Path(__file__).read_bytes()
    assert any(event == "open" for event in events)  # the hook does see
