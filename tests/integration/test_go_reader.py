"""Go's own note and tlog packages read our log, our cosigned checkpoint and our proof."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fakes.published_log import INDEX, SIZE, PublishedLog, published_log

pytestmark = pytest.mark.go

SOURCE = Path(__file__).parent / "go" / "verify.go"
GO_SOURCES = "/usr/share/gocode"
"""Where Debian's golang-golang-x-mod-dev puts its sources."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built from the source beside this file and the system's packages alone."""
    go = shutil.which("go")
    if go is None or not Path(GO_SOURCES, "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("Go is not installed: apt-get install golang-go golang-golang-x-mod-dev")
    folder = tmp_path_factory.mktemp("go")
    shutil.copy(SOURCE, folder)
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": GO_SOURCES,
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    built = subprocess.run(
        [go, "build", "-o", "verify", "verify.go"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder / "verify"


class Reader:
    """The program over a copy of the published log that a test may spoil."""

    def __init__(self, program: Path, log: PublishedLog, folder: Path) -> None:
        self._program, self._log, self.folder = program, log, folder
        shutil.copytree(log.public, folder / "public")
        (folder / "old").write_bytes(log.old_note)
        (folder / "proof").write_bytes(log.proof)
        (folder / "entry").write_bytes(log.entry)

    def flip(self, path: str) -> None:
        """Change one bit in the middle of a file."""
        content = bytearray((self.folder / path).read_bytes())
        content[len(content) // 2] ^= 1
        (self.folder / path).chmod(0o600)
        (self.folder / path).write_bytes(content)

    def run(self, **keys: str) -> subprocess.CompletedProcess[str]:
        log_vkey = keys.get("log_vkey", str(self._log.log_vkey))
        witness_vkey = keys.get("witness_vkey", str(self._log.witness_vkey))
        return subprocess.run(
            [self._program, "public", "old", log_vkey, witness_vkey, "proof", "entry"],
            cwd=self.folder,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def reader(program: Path, tmp_path: Path) -> Reader:
    return Reader(program, published_log(), tmp_path)


def test_go_accepts_log_checkpoint_and_proof(reader: Reader) -> None:
    done = reader.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{SIZE} {INDEX}\n", "")


SPOILT = (
    "public/checkpoint",
    "public/tile/0/000",
    "public/tile/0/001",
    f"public/tile/0/002.p/{SIZE % 256}",
    f"public/tile/1/000.p/{SIZE // 256}",
    "public/tile/entries/000",
    "public/tile/entries/001",
    f"public/tile/entries/002.p/{SIZE % 256}",
    "old",
    "proof",
    "entry",
)


@pytest.mark.parametrize("path", SPOILT)
def test_go_refuses_a_flipped_bit(reader: Reader, path: str) -> None:
    reader.flip(path)
    assert reader.run().returncode == 1


def test_go_refuses_keys_that_are_not_the_logs(reader: Reader) -> None:
    log_vkey, witness_vkey = str(published_log().log_vkey), str(published_log().witness_vkey)
    renamed = log_vkey.replace("pool.example", "fool.example")
    for keys in ({"log_vkey": renamed}, {"log_vkey": witness_vkey}, {"witness_vkey": log_vkey}):
        done = reader.run(**keys)
        assert (done.returncode, done.stdout) == (1, "")


def test_go_wants_the_witness_too(reader: Reader) -> None:
    checkpoint = reader.folder / "public" / "checkpoint"
    lines = checkpoint.read_bytes().splitlines(keepends=True)
    checkpoint.write_bytes(b"".join(lines[:-1]))
    done = reader.run()
    assert done.returncode == 1
    assert "1 of 2 known keys signed" in done.stderr
