"""A published tree at a second place: a folder, a bucket, a mirror. Source: specs/ledger.md §16.

The bucket is moto's: a mock that keeps everything in memory, and honours conditional writes as S3 does."""

import functools
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cli_pools import Stage, ask, cli, environment
from creditledger.errors import BusyError, IntegrityError, StorageError
from creditledger.ledger import tree_copy
from creditledger.ledger.folder_place import FolderPlace
from creditledger.ledger.source import DirectorySource
from creditledger.ledger.tree_copy import copy_tree
from creditledger.ledger.tree_place import Found, TreePlace
from creditledger.service.bucket_place import BucketPlace
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.trust_policy import TrustPolicy
from ledger_pools import registration
from pool_processes import serving

BUCKET = "tree-of-a-pool"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The URL of a store with one bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(store: str) -> Any:
    return boto3.client("s3", endpoint_url=store)


@pytest.fixture
def prefix(client: Any, request: pytest.FixtureRequest) -> str:
    """A place of its own for each test."""
    client.create_bucket(Bucket=BUCKET)
    return f"of-{abs(hash(request.node.name)):x}"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """A plain web server over a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def needed(found: dict[str, bytes], stage: Stage) -> bool:
    """Whether these are the ledger's files under its checkpoint: those of earlier ones need not be there."""
    return found.items() <= files_of(stage.pool / "public").items() and "checkpoint" in found


def objects_of(client: Any, prefix: str) -> dict[str, bytes]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix + "/")
    keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
    return {
        key.removeprefix(prefix + "/"): client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        for key in keys
    }


def open_to_readers(client: Any, prefix: str) -> None:
    """What a bucket's policy does, of which this store knows nothing."""
    for key in objects_of(client, prefix):
        client.put_object_acl(Bucket=BUCKET, Key=f"{prefix}/{key}", ACL="public-read")


def grow(stage: Stage, entries: int) -> None:
    """More entries, published."""
    for _ in range(entries):
        stage.grant("alice", "1")


def test_an_auditor_who_has_the_buckets_url_alone_finds_the_same(
    stage: Stage, store: str, client: Any, prefix: str
) -> None:
    place = f"s3://{BUCKET}/{prefix}"
    found = ask("publish", stage.pool, place, "--endpoint-url", store)
    assert found["size"] == ask("status", stage.pool)["published_size"]
    assert needed(objects_of(client, prefix), stage)
    open_to_readers(client, prefix)
    audited = ask("audit", f"{store}/{BUCKET}/{prefix}", "--policy", stage.policy)
    assert audited["ok"]
    assert audited["entries"] == found["size"]
    again = ask("publish", stage.pool, place, "--endpoint-url", store)
    assert again == found | {"written": 0}
    grow(stage, 2)
    more = ask("publish", stage.pool, place, "--endpoint-url", store)
    assert more["size"] > found["size"]
    assert more["written"] > 0
    open_to_readers(client, prefix)
    assert ask("audit", f"{store}/{BUCKET}/{prefix}", "--policy", stage.policy)["entries"] == more["size"]
    kept = client.head_object(Bucket=BUCKET, Key=f"{prefix}/checkpoint")
    assert "max-age=1," in kept["CacheControl"]
    assert (
        "immutable"
        in client.head_object(Bucket=BUCKET, Key=f"{prefix}/tile/entries/000.p/{more['size']}")[
            "CacheControl"
        ]
    )


def test_a_folder_behind_any_web_server_is_enough(stage: Stage, tmp_path: Path) -> None:
    found = ask("publish", stage.pool, tmp_path / "www")
    assert needed(files_of(tmp_path / "www"), stage)
    with web_server(tmp_path / "www") as url:
        audited = ask("audit", url, "--policy", stage.policy)
    assert audited["entries"] == found["size"]


class Places:
    """A folder and a bucket under one name, for what holds of both."""

    def __init__(self, folder: Path, store: str, prefix: str) -> None:
        self.folder = FolderPlace(folder)
        self.bucket = BucketPlace(f"s3://{BUCKET}/{prefix}", endpoint_url=store)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, store: str, prefix: str) -> TreePlace:
    made: TreePlace = getattr(Places(tmp_path / "place", store, prefix), request.param)
    return made


def copied(stage: Stage, place: TreePlace) -> int:
    directory = stage.pool
    policy = TrustPolicy.load(directory / "policy").for_any_size()
    return copy_tree(DirectorySource(directory / "public"), place, policy, now_unix_ms=2**62).size


def test_a_place_keeps_its_promises(place: TreePlace) -> None:
    assert place.find("a/b", most=9) is None
    assert place.create("a/b", b"one")
    assert not place.create("a/b", b"two")
    found = place.find("a/b", most=3)
    assert found is not None
    assert found.content == b"one"
    with pytest.raises((IntegrityError, StorageError)):
        place.find("a/b", most=2)
    assert not place.replace("a/b", b"two", found=None)
    assert not place.replace("a/b", b"two", found=Found(content=b"one", tag='"another"'))
    assert place.replace("a/b", b"two", found=found)
    assert not place.replace("a/b", b"three", found=found)
    assert place.replace("c", b"new", found=None)
    assert place.create("a/c.p/1", b"x")
    assert place.create("a/c", b"y")
    place.remove_below("a/c.p/")
    assert place.find("a/c.p/1", most=9) is None
    assert place.find("a/c", most=9) is not None


class Stopping:
    """A place whose publisher is gone after so many writes."""

    def __init__(self, place: TreePlace, after: int) -> None:
        self._place, self._left = place, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def create(self, path: str, content: bytes) -> bool:
        self._step()
        return self._place.create(path, content)

    def replace(self, path: str, content: bytes, *, found: Found | None) -> bool:
        self._step()
        return self._place.replace(path, content, found=found)

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise BusyError("gone")


def test_stopped_between_any_two_writes_the_next_turn_goes_on(
    stage: Stage, place: TreePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_copy, "AT_ONCE", 1)
    policy = TrustPolicy.load(stage.policy)
    size = ask("status", stage.pool)["published_size"]
    for after in range(100):
        stopping: Any = Stopping(place, after)
        try:
            assert copied(stage, stopping) == size
            break
        except BusyError:
            note = place.find("checkpoint", most=10**6)
            assert note is None, "the checkpoint stands before all that it speaks of"
    assert after >= 2
    found = place.find("checkpoint", most=10**6)
    assert found is not None
    assert policy.verify_checkpoint(found.content).checkpoint.size == size


def test_a_foreign_file_in_the_way_stops_it_and_stays(stage: Stage, place: TreePlace) -> None:
    size = ask("status", stage.pool)["published_size"]
    path = f"tile/0/000.p/{size}"
    assert place.create(path, b"something else")
    with pytest.raises(IntegrityError, match="write-once"):
        copied(stage, place)
    assert place.find("checkpoint", most=10**6) is None
    kept = place.find(path, most=10**6)
    assert kept is not None
    assert kept.content == b"something else"


def test_what_stands_there_is_never_put_back(stage: Stage, place: TreePlace, tmp_path: Path) -> None:
    backup = tmp_path / "before"
    subprocess.run(["cp", "-r", stage.pool, backup], check=True)
    grow(stage, 1)
    size = copied(stage, place)
    policy = TrustPolicy.load(stage.policy).for_any_size()
    with pytest.raises(Exception, match="shorter"):
        copy_tree(DirectorySource(backup / "public"), place, policy, now_unix_ms=2**62)
    assert copied(stage, place) == size


def test_two_publishers_at_once_leave_one_tree(stage: Stage, place: TreePlace) -> None:
    sizes: list[int] = []
    threads = [threading.Thread(target=lambda: sizes.append(copied(stage, place))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [ask("status", stage.pool)["published_size"]] * 3


def test_a_served_pool_publishes_to_a_second_place_by_itself(
    stage: Stage, store: str, client: Any, prefix: str
) -> None:
    """And goes on appending where that place is away."""
    place = ["--publish-to", f"s3://{BUCKET}/{prefix}", "--endpoint-url", store, "--interval", "1"]
    with serving(stage.pool, *place) as pool:
        pool.outcomes([registration(pool.ledger_id, "dora")])
        size = pool.get("/v1/status").json()["size"]
        assert pool.end() == (0, "")
    kept = objects_of(client, prefix)
    assert parse_checkpoint_note(kept["checkpoint"]).size >= size
    assert needed(kept, stage)
    away = ["--publish-to", f"s3://{BUCKET}/{prefix}", "--endpoint-url", "http://127.0.0.1:9"]
    with serving(stage.pool, *away) as pool:
        assert "index" in pool.outcomes([registration(pool.ledger_id, "emil")])[0]
        code, said = pool.end()
    assert code == 0
    assert "not carried" in said


def test_a_store_that_is_away_or_refuses_is_told_apart(stage: Stage, store: str, prefix: str) -> None:
    away = cli("publish", stage.pool, f"s3://{BUCKET}/x", "--endpoint-url", "http://127.0.0.1:9")
    refused = cli("publish", stage.pool, "s3://no-such-bucket/x", "--endpoint-url", store)
    assert (away.code, refused.code) == (3, 5)
    assert "NoSuchBucket" in refused.err
    assert away.err.count("\n") == refused.err.count("\n") == 1


def test_a_mirror_is_a_checked_copy_that_can_be_read_on(stage: Stage, tmp_path: Path) -> None:
    kept = tmp_path / "mirror"
    with web_server(stage.pool / "public") as url:
        found = ask("mirror", url, kept, "--policy", stage.policy)
        assert needed(files_of(kept / "public"), stage)
        grow(stage, 3)
        more = ask("mirror", url, kept, "--policy", stage.policy)
        assert more["size"] > found["size"]
    assert ask("audit", kept)["entries"] == more["size"]
    with web_server(kept / "public") as url:
        second = ask("mirror", url, tmp_path / "of-the-mirror", "--policy", stage.policy)
    assert second["size"] == more["size"]


def test_a_mirror_follows_serves_and_survives_a_kill(stage: Stage, tmp_path: Path) -> None:
    kept = tmp_path / "mirror"
    with web_server(stage.pool / "public") as url:
        for number in (signal.SIGKILL, signal.SIGTERM):
            with following(url, kept, stage.policy) as (process, served):
                before = ask("audit", served, "--policy", stage.policy)["entries"]
                grow(stage, 1)
                assert process.stdout is not None
                process.stdout.readline()
                assert ask("audit", served, "--policy", stage.policy)["entries"] > before
                process.send_signal(number)
                assert process.wait(30) == (0 if number == signal.SIGTERM else -number)


@contextmanager
def following(url: str, kept: Path, policy: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    ready, said = os.pipe()
    words = ["mirror", url, str(kept), "--policy", str(policy), "--every", "1", "--json"]
    words += ["--listen", "127.0.0.1:0", "--ready-fd", str(said)]
    command = [sys.executable, "-m", "creditledger", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[said], env=environment()) as process:
        os.close(said)
        try:
            with open(ready) as lines:
                address = lines.readline().strip()
            assert process.stdout is not None
            process.stdout.readline()
            yield process, f"http://{address}"
        finally:
            process.kill()


def test_a_mirror_believes_the_checkpoint_alone(stage: Stage, tmp_path: Path) -> None:
    grow(stage, 1)
    with web_server(stage.pool / "public") as url:
        ask("mirror", url, tmp_path / "true", "--policy", stage.policy)
    victims = [stage.pool / "public" / name for name in files_of(tmp_path / "true" / "public")]
    for number, victim in enumerate(victims):
        before = victim.read_bytes()
        victim.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with web_server(stage.pool / "public") as url:
            said = cli("mirror", url, tmp_path / f"mirror-{number}", "--policy", stage.policy)
        assert said.code in (1, 2, 4), (victim, said.err)
        assert not (tmp_path / f"mirror-{number}" / "public" / "checkpoint").exists(), victim
        victim.write_bytes(before)
