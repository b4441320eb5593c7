"""The soak from its first to its last second. Everything it starts ends by itself, and is ended."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

from cli_pools import environment
from soak.books import differences, purses
from soak.log_auditor import audited
from soak.loopback_attacks import KINDS as ATTACKS
from soak.served_process import NO_TREND, ServedProcess, Trend, trend
from soak.soak_party import READERS, WORKERS
from soak.soak_scene import Scene, found_scene
from soak.told_file import counted, told_lines

HERE: Final = Path(__file__).parent
KILLED_SHARE: Final = 0.6
STILL_SHARE: Final = 0.2
"""Of all seconds: with kills, without; what is left belongs to the attacks."""
RAMP_SECONDS: Final = 1.0
EXPECTED: Final = frozenset({"200", "201", "304", "400", "402", "404", "409", "422", "429", "503", "507"})


@dataclass(frozen=True, slots=True)
class Attacked:
    """What an attack did to honest requests."""

    kind: str
    calm_ms: list[float]
    under_ms: list[float]
    did: dict[str, int]


@dataclass(slots=True, kw_only=True)
class Found:
    """Everything a soak came to."""

    figures: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    ready_seconds: list[float] = field(default_factory=list)
    memory_kib: Trend = NO_TREND
    descriptors: Trend = NO_TREND
    still_seconds: float = 0
    still_entries: int = 0
    most_descriptors: int = 0
    most_resident_kib: int = 0
    attacks: list[Attacked] = field(default_factory=list)

    @property
    def calm_ms(self) -> list[float]:
        """All honest requests between the attacks: so many that their 99th percentile is no accident."""
        return [each for one in self.attacks for each in one.calm_ms]

    def ratio(self, attack: Attacked) -> float:
        """How much longer the slowest hundredth of honest requests takes under it."""
        return percentile(attack.under_ms, 0.99) / max(percentile(self.calm_ms, 0.99), 0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, and how hard."""

    seconds: float
    """Of kills, the unkilled life and the attacks together."""
    kill_every: float
    seed: int = 1
    slices: int = 5
    """Times that each attack is tried, with as much time without it before each; 0: no attacks."""
    wind_down_seconds: float = 90.0
    """How long at most what is under way may take to be finished."""
    program: str = ""
    """Python that the server runs before it begins."""


def soak(folder: Path, plan: Plan) -> Found:
    """Run everything in an empty ``folder``."""
    port, found = free_port(), Found()
    seconds, kill_every = plan.seconds, plan.kill_every
    scene = found_scene(folder, port=port, seconds=seconds * 2 + 300, seed=plan.seed)
    server = ServedProcess(scene.pool, port, folder / "server.log", program=plan.program)
    with server, parties(scene, (*WORKERS, *READERS)) as working:
        _kill_again_and_again(server, found, seconds=seconds * KILLED_SHARE, kill_every=kill_every)
        _stay(scene, server, found, seconds * STILL_SHARE)
        _wind_down(scene, server, working, plan.wind_down_seconds)
        if plan.slices:
            found.attacks = _attack(scene, server, port, plan)
        found.wrong += _shown_balances(scene)
        if (code := server.end(signal.SIGTERM)) != 0:
            found.wrong.append(f"the server ended with {code}")
    found.wrong += [f"the server ended by itself with {code}" for code in server.ended_by_itself]
    _count(scene, server, found)
    return found


@contextlib.contextmanager
def parties(scene: Scene, names: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Processes of all parties under one, which ends when they have; without it they end too."""
    started = _process("soak_party.py", scene.folder, *names)
    try:
        yield started
    finally:
        scene.tell("end")
        try:
            started.wait(timeout=15)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def percentile(values: list[float], share: float) -> float:
    """0 for no values."""
    return sorted(values)[int(share * (len(values) - 1))] if values else 0.0


def free_port() -> int:
    """A port of the loopback interface that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _process(script: str, *arguments: str, **more: Any) -> "subprocess.Popen[bytes]":
    search = os.pathsep.join([environment()["PYTHONPATH"], str(HERE.parent)])
    env = {**environment(), "PYTHONPATH": search, "OPENBLAS_NUM_THREADS": "1"}
    options = {"stdin": subprocess.DEVNULL} | more
    return subprocess.Popen([sys.executable, str(HERE / script), *arguments], env=env, **options)


def _kill_again_and_again(server: ServedProcess, found: Found, *, seconds: float, kill_every: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _watch(server, min(kill_every, left))
        if left > kill_every:
            server.kill()
            found.kills += 1
            server.start()


def _watch(server: ServedProcess, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(0.5, left))
        server.require_alive()


def _stay(scene: Scene, server: ServedProcess, found: Found, seconds: float) -> None:
    """One life without a kill: memory and descriptors must stay as they are."""
    life, before = server.lives, _status(scene)["size"]
    began = max((one.second for one in server.samples if one.life == life), default=0.0)
    _watch(server, seconds)
    samples = [one for one in server.samples if one.life == life and one.second > began]
    found.memory_kib = trend([one.anonymous_kib for one in samples])
    found.descriptors = trend([one.descriptors for one in samples])
    found.still_seconds, found.still_entries = seconds, _status(scene)["size"] - before


def _wind_down(
    scene: Scene, server: ServedProcess, working: "subprocess.Popen[bytes]", seconds: float
) -> None:
    """No new work; what is under way is finished: every hold has ended."""
    scene.tell("stop")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        server.require_alive()
        status = _status(scene)
        if not status["held_micro"] and not status["unsettled_jobs"]:
            break
        time.sleep(0.5)
    scene.tell("end")
    with contextlib.suppress(subprocess.TimeoutExpired):  # who has not ended is found by what was told
        working.wait(timeout=seconds)


def _attack(scene: Scene, server: ServedProcess, port: int, plan: Plan) -> list[Attacked]:
    """Slices with and without each attack, turn by turn, so that both meet the same machine."""
    left = plan.seconds * (1 - KILLED_SHARE - STILL_SHARE)
    slice_seconds = left / (2 * plan.slices * len(ATTACKS))
    timed = _process("timed_party.py", scene.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert timed.stdin is not None
    assert timed.stdout is not None

    def times(seconds: float) -> list[float]:
        assert timed.stdin is not None
        assert timed.stdout is not None
        timed.stdin.write(f"{seconds}\n".encode())
        timed.stdin.flush()
        return [second * 1_000 for _, second in json.loads(timed.stdout.readline())]

    try:
        times(min(2.0, slice_seconds))  # the first requests open connections
        found = []
        for kind in ATTACKS:
            one = Attacked(kind, [], [], {})
            for _ in range(plan.slices):
                one.calm_ms.extend(times(slice_seconds))
                lasting = str(slice_seconds + RAMP_SECONDS)
                attacker = _process("loopback_attacks.py", kind, str(port), lasting, stdout=subprocess.PIPE)
                time.sleep(RAMP_SECONDS)
                one.under_ms.extend(times(slice_seconds))
                said, _ = attacker.communicate(timeout=60)
                for name, count in json.loads(said or b"{}").items():
                    one.did[name] = one.did.get(name, 0) + count
                server.require_alive()
                time.sleep(0.3)
            found.append(one)
        return found
    finally:
        timed.stdin.close()
        try:
            timed.wait(timeout=90)
        except subprocess.TimeoutExpired:
            timed.kill()
            timed.wait()


def _status(scene: Scene) -> dict[str, Any]:
    """The server's; of one that has just begun too."""
    headers = {"authorization": f"Bearer {scene.token}"} if scene.token else {}
    for _ in range(20):
        with contextlib.suppress(httpx2.TransportError):
            answer = httpx2.get(f"{scene.url}/v1/status", headers=headers, timeout=10, trust_env=False)
            if answer.status_code == 200:
                found: dict[str, Any] = answer.json()
                return found
        time.sleep(0.5)
    raise AssertionError("the server does not say how it is")


def _shown_balances(scene: Scene) -> list[str]:
    """Where the server shows another balance than the parties have in their books."""
    wrong = []
    headers = {"authorization": f"Bearer {scene.token}"} if scene.token else {}
    for name, purse in purses(told_lines(scene.path))[0].items():
        url = f"{scene.url}/v1/accounts/{name}"
        shown = httpx2.get(url, headers=headers, timeout=10, trust_env=False).json()
        if other := differences(purse, shown):
            wrong.append(f"the server shows {name} with (expected, found) {other}")
    return wrong


def _count(scene: Scene, server: ServedProcess, found: Found) -> None:
    lines = list(told_lines(scene.path))
    figures, wrong = audited(scene, lines)
    found.figures |= figures
    found.wrong += wrong
    found.statuses, found.counts = dict(counted(lines, "statuses")), dict(counted(lines, "counts"))
    found.wrong += [
        f"{count} answers with status {status}"
        for status, count in found.statuses.items()
        if status not in EXPECTED
    ]
    ended = {line["ended"] for line in lines if "ended" in line}
    found.wrong += [f"{name} did not end" for name in (*WORKERS, *READERS) if name not in ended]
    log = (scene.path / "server.log").read_text()
    found.wrong += [f"server: {line}" for line in log.splitlines() if '"bug"' in line or "a bug" in line]
    found.ready_seconds = server.ready_seconds
    found.most_descriptors = max((one.descriptors for one in server.samples), default=0)
    found.most_resident_kib = max((one.resident_kib for one in server.samples), default=0)
