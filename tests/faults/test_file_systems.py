"""Real file systems on loop devices: images copied under a writer, as a power cut leaves them; blocks that
cannot be written; a disk that is full."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crash_pools import founded, in_memory, opened
from creditledger.errors import CreditLedgerError, StorageError
from creditledger.ledger.fsck import check
from creditledger.ledger.ledger import Acknowledgement, Ledger
from ledger_pools import grant
from parties import Party, party

pytestmark = pytest.mark.loop

CUTS = int(os.environ.get("CREDITLEDGER_CUTS", "50"))
"""How often the image is copied; the long tier sets 1,000."""
BLOCK_ERRORS = int(os.environ.get("CREDITLEDGER_BLOCK_ERRORS", "20"))
"""How often blocks fail; the long tier sets 500."""
CUTS_OF_ONE_WRITER = 25
CHECKED_EACH = 10
KINDS = {
    "ext4": (("mkfs.ext4", "-q"), 48, "loop"),
    # A copy has the identifier of the original, which is mounted too.
    "xfs": (("mkfs.xfs", "-q"), 320, "loop,nouuid"),
}


def command(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{words}: {done.stderr}")
    return done.stdout.strip()


@contextlib.contextmanager
def mounted(source: Path, at: Path, options: str) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    command("mount", "-o", options, source, at)
    try:
        yield at
    finally:
        command("umount", at)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place for images, where loop devices can be had."""
    place = in_memory(tmp_path_factory.mktemp("images"))
    try:
        make("ext4", place / "trial")
        with mounted(place / "trial", place / "at", "loop"):
            pass
    except OSError as error:
        pytest.skip(f"no loop device can be mounted here: {error}")
    yield place
    shutil.rmtree(place)


def make(kind: str, image: Path) -> Path:
    """An empty file system in a file."""
    words, mebibytes, _ = KINDS[kind]
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    command(*words, image)
    return image


@dataclass(slots=True)
class Writing:
    """A writer at work on a mounted image."""

    image: Path
    options: str
    writer: Party

    def cut(self, target: Path) -> dict[int, str]:
        """Copy the image while the writer stands still; what it was told by then."""
        process = self.writer.process
        process.send_signal(signal.SIGSTOP)
        promised = acks(self.writer)
        command("cp", "--sparse=always", self.image, target)
        process.send_signal(signal.SIGCONT)
        assert process.poll() is None
        return promised


def acks(writer: Party) -> dict[int, str]:
    return {int(str(line["index"])): str(line["leaf"]) for line in writer.lines() if "index" in line}


@contextlib.contextmanager
def writing(kind: str, folder: Path, how: str) -> Iterator[Writing]:
    image, options = make(kind, folder / "image"), KINDS[kind][2]
    with mounted(image, folder / "disk", options) as disk:
        pool = founded(disk / "pool")
        os.sync()
        writer = party(how, 0, pool, folder / "told")
        try:
            while len(writer.lines()) < 5:
                time.sleep(0.01)
                assert writer.process.poll() is None
            yield Writing(image, options, writer)
        finally:
            writer.process.kill()
            writer.process.wait()


def lost(copy: Path, at: Path, options: str, promised: dict[int, str], *, is_checked: bool) -> str:
    """What the disk lacks of what was promised when the power is back; empty if nothing."""
    with mounted(copy, at, options):
        try:
            if is_checked:
                check(at / "pool")
            with opened(at / "pool") as ledger, ledger.snapshot() as snapshot:
                if snapshot.log.size <= max(promised):
                    return f"{snapshot.log.size} entries, {max(promised)} promised"
                leaves = {index: snapshot.log.node(0, index).hex() for index in promised}
                return "" if leaves == promised else "another entry"
        except (CreditLedgerError, OSError) as error:
            return str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_a_power_cut_on_a_real_file_system_loses_nothing(folder: Path, kind: str) -> None:
    """S1."""
    if shutil.which(KINDS[kind][0][0]) is None:
        pytest.skip(f"loop: {KINDS[kind][0][0]} is not installed")
    cuts = CUTS if kind == "ext4" or CUTS > 50 else CUTS // 5
    losses, commits = [], 0
    for first in range(0, cuts, CUTS_OF_ONE_WRITER):
        with writing(kind, folder, "keep") as work:
            for number in range(first, min(cuts, first + CUTS_OF_ONE_WRITER)):
                time.sleep(0.003 * (number % 7))
                promised = work.cut(folder / "copy")
                is_checked = number % CHECKED_EACH == 0
                losses.append(
                    lost(folder / "copy", folder / "at", work.options, promised, is_checked=is_checked)
                )
            commits += len(promised)
    print(f"{kind}: {len(losses)} cuts, {commits} commits, {sum(map(bool, losses))} lost")
    assert not any(losses), [loss for loss in losses if loss]
    assert len(losses) == cuts


def test_the_harness_catches_a_writer_that_never_syncs(folder: Path) -> None:
    losses = []
    with writing("ext4", folder, "careless") as work:
        for _ in range(10):
            promised = work.cut(folder / "copy")
            losses.append(lost(folder / "copy", folder / "at", work.options, promised, is_checked=False))
    print(f"never synced: {sum(map(bool, losses))} of {len(losses)} lost")
    assert sum(map(bool, losses)) >= 9


@contextlib.contextmanager
def failing_disk(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A loop device on an image whose writes fail while a file, given too, is there."""
    image, trigger = make("ext4", folder / "image"), folder / "trigger"
    trigger.unlink(missing_ok=True)
    (folder / "nbd").touch()
    failing = ["error=EIO", "error-pwrite-rate=100%", f"error-pwrite-file={trigger}"]
    disk = ["nbdkit", "-s", "--filter=error", "file", image, *failing]
    served = subprocess.Popen(
        ["nbdfuse", folder / "nbd", "--command", *disk], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    device = ""
    try:
        deadline = time.monotonic() + 10
        while (folder / "nbd").stat().st_size == 0:
            if served.poll() is not None or time.monotonic() > deadline:
                pytest.skip("nbdfuse does not come up here")
            time.sleep(0.02)
        device = command("losetup", "-f", "--show", folder / "nbd")
        yield Path(device), trigger
    finally:
        trigger.unlink(missing_ok=True)
        if device:
            command("losetup", "-d", device)
        subprocess.run(["fusermount3", "-u", folder / "nbd"], check=False, capture_output=True)
        served.terminate()
        served.wait(timeout=10)


@pytest.mark.nbd
def test_blocks_that_cannot_be_written_stop_the_writer_and_lose_nothing(folder: Path) -> None:
    """S5: it fails soon, takes nothing more, and after a restart the repeat has one effect."""
    for tool in ("nbdkit", "nbdfuse", "fusermount3"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    slowest, commits = 0.0, 0
    with failing_disk(folder) as (device, trigger):
        with mounted(device, folder / "disk", "defaults") as disk:
            pool = founded(disk / "pool")
            os.sync()
        promised: dict[int, str] = {}
        for life in range(BLOCK_ERRORS):
            with mounted(device, folder / "disk", "defaults"):
                writer = party("keep", life, pool, folder / "told", 10_000 * life)
                while len(writer.lines()) < 3 + life % 5:
                    time.sleep(0.005)
                    assert writer.process.poll() is None
                trigger.touch()
                began = time.monotonic()
                assert writer.process.wait(timeout=30) == StorageError.exit_code
                slowest = max(slowest, time.monotonic() - began)
                trigger.unlink()
            said = writer.lines()
            assert not [line for line in said if "accepted" in line]
            (failed,) = [int(str(line["failed"])) for line in said if "failed" in line]
            promised |= acks(writer)
            command("e2fsck", "-p", device)
            with mounted(device, folder / "disk", "defaults"):
                check(pool)
                with opened(pool) as ledger:
                    again = ledger.append(grant(ledger.id, "alice", 1, 10**9 + failed))
                    assert ledger.append(grant(ledger.id, "alice", 1, 10**9 + failed)).index == again.index
                    assert again.index not in promised
                    promised[again.index] = again.leaf_hash.hex()
                    with ledger.snapshot() as snapshot:
                        assert (
                            promised.items()
                            <= {
                                index: snapshot.log.node(0, index).hex() for index in range(snapshot.log.size)
                            }.items()
                        )
        commits = len(promised)
    print(f"{BLOCK_ERRORS} times blocks failed, {commits} commits, slowest stop {slowest:.2f} s, 0 lost")
    assert slowest < 5


@pytest.mark.parametrize("mebibytes", [2, 4])
def test_a_full_disk_is_read_on_and_written_again_once_there_is_room(folder: Path, mebibytes: int) -> None:
    """S6: typed, exit code 5, no signal, nothing lost, and no restart of the machine or the pool."""
    at = folder / "small"
    at.mkdir(exist_ok=True)
    command("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", at)
    try:
        pool = founded(at / "pool")
        (at / "ballast").write_bytes(bytes(256 << 10))
        promised: dict[int, bytes] = {}
        with opened(pool) as ledger:
            with pytest.raises(StorageError) as caught:
                fill_up(ledger, promised)
            assert caught.value.exit_code == 5
            with pytest.raises(StorageError):
                ledger.append(grant(ledger.id, "alice", 1, 10**8))
        with Ledger.open(pool, read_only=True) as reader:
            assert reader.size > max(promised)
            assert reader.bodies(reader.entry(0).record) == ()
        (at / "ballast").unlink()
        with opened(pool) as ledger:
            acknowledgement = ledger.append(grant(ledger.id, "alice", 1, 10**8))
            assert acknowledgement.index > max(promised)
            with ledger.snapshot() as snapshot:
                assert all(snapshot.log.node(0, index) == leaf for index, leaf in promised.items())
        assert check(pool) > max(promised)
        print(f"{mebibytes} MiB full after {len(promised)} records, 0 lost")
    finally:
        command("umount", at)


def fill_up(ledger: Ledger, promised: dict[int, bytes]) -> None:
    for turn in range(10**6):
        group = [grant(ledger.id, "alice", 1, 10**6 + 50 * turn + at) for at in range(50)]
        for outcome in ledger.submit(group):
            assert isinstance(outcome, Acknowledgement)
            promised[outcome.index] = outcome.leaf_hash
