"""`publish` and `mirror`: a published tree at a second place. Source: specs/cli.md §27."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.listening import (
    ends_on_sigterm,
    optional_address,
    ready_option,
    require_service,
    say_ready,
)
from creditledger.cli.options import INPUT_FILE, directory_argument, json_option
from creditledger.cli.output import emit, note
from creditledger.cli.published import source_of, trusted, with_evidence
from creditledger.errors import BusyError, ForkError, StorageError

if TYPE_CHECKING:
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.ledger.tree_copy import TreeCopy
    from creditledger.ledger.tree_place import TreePlace
    from creditledger.transparency.trust_policy import TrustPolicy


@click.command()
@directory_argument
@click.argument("place", metavar="FOLDER|s3://BUCKET/PREFIX")
@click.option("--endpoint-url", metavar="URL", help="Of an S3-compatible store that is not Amazon's.")
@json_option
def publish(ledger: Path, place: str, endpoint_url: str | None, as_json: bool) -> None:
    """Bring what LEDGER has published to a folder or a bucket, for readers who need nothing else.

    Files are written once, the checkpoint last; stopped anywhere, the next turn goes on."""
    from creditledger.ledger.clock import system_clock
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.ledger.source import DirectorySource
    from creditledger.ledger.tree_copy import copy_tree
    from creditledger.transparency.trust_policy import TrustPolicy

    directory = LedgerDirectory(ledger)
    policy = TrustPolicy.load(directory.policy).for_any_size()
    copied = copy_tree(
        DirectorySource(directory.public), place_at(place, endpoint_url), policy, now_unix_ms=system_clock()
    )
    emit(_answer(place, copied), as_json=as_json)


def place_at(place: str, endpoint_url: str | None) -> "TreePlace":
    """A folder, or a bucket (which takes the extra ``s3``)."""
    if not place.startswith("s3://"):
        from creditledger.ledger.folder_place import FolderPlace

        if endpoint_url is not None:
            raise click.UsageError("--endpoint-url is of a bucket: name it s3://BUCKET/PREFIX")
        return FolderPlace(Path(place))
    try:
        from creditledger.service.bucket_place import BucketPlace
    except ImportError as error:
        raise StorageError("a bucket takes the package boto3: pip install 'creditledger[s3]'") from error
    return BucketPlace(place, endpoint_url=endpoint_url)


def _answer(place: object, copied: "TreeCopy") -> dict[str, Any]:
    return {"place": str(place), "size": copied.size, "written": copied.written}


@click.command()
@click.argument("url")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--policy", "policy_path", required=True, type=INPUT_FILE, help="Your policy for the log.")
@click.option("--every", type=click.IntRange(1, 86_400), metavar="SECONDS", help="Follow until stopped.")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    callback=optional_address,
    help="Serve the copy meanwhile (with --every).",
)
@ready_option
@json_option
def mirror(
    url: str,
    directory: Path,
    policy_path: Path,
    every: int | None,
    listen: tuple[str, int] | None,
    ready_fd: int | None,
    as_json: bool,
) -> None:
    """Keep a checked copy of the log at URL in DIR, which any web server may serve on.

    Each file is held against the checkpoint, which your policy must accept. A log that is shorter or another
    than it was is refused, and the copy stays as it is."""
    from creditledger.ledger.clock import system_clock
    from creditledger.ledger.directory import LedgerDirectory, WriterLock, disk_errors

    if listen is not None and every is None:
        raise click.UsageError("--listen serves for as long as the log is followed: say --every")
    kept, policy = LedgerDirectory(directory), trusted(url, policy_path)
    with source_of(url) as source:  # before anything is made for it
        policy.verify_checkpoint(source.checkpoint(), now_unix_ms=system_clock())
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with ends_on_sigterm(), contextlib.closing(WriterLock(kept.lock)):
        turn = _turn(url, kept, policy)
        emit(_answer(directory, turn()), as_json=as_json)
        if every is not None:
            with _served(kept, listen, ready_fd):
                _follow(turn, every, lambda copied: emit(_answer(directory, copied), as_json=as_json))


def _turn(url: str, kept: "LedgerDirectory", policy: "TrustPolicy") -> "Callable[[], TreeCopy]":
    """What brings the copy up to date. Raises as `copy_tree`, a ForkError with its evidence in a file."""
    from creditledger.ledger.clock import system_clock
    from creditledger.ledger.directory import replace_file
    from creditledger.ledger.folder_place import FolderPlace
    from creditledger.ledger.tree_copy import copy_tree

    replace_file(kept.policy, policy.serialize())

    def turn() -> "TreeCopy":
        with source_of(url) as source:
            try:
                return copy_tree(source, FolderPlace(kept.public), policy, now_unix_ms=system_clock())
            except ForkError as error:
                name = f"fork-{'-'.join(map(str, error.sizes))}"
                raise with_evidence(error, kept.path / name) from error

    return turn


def _follow(turn: "Callable[[], TreeCopy]", every: int, say: "Callable[[TreeCopy], None]") -> None:
    """Go on until stopped; whoever is away for now is asked again."""
    while True:
        sys.stdout.flush()
        time.sleep(every)
        try:
            copied = turn()
        except BusyError as error:
            note(f"the log is away: {error}")
            continue
        if copied.written:
            say(copied)


@contextlib.contextmanager
def _served(kept: "LedgerDirectory", listen: tuple[str, int] | None, ready_fd: int | None) -> Iterator[None]:
    """Serve the copy from another thread, as a pool serves its own tree."""
    if listen is None:
        yield
        return
    require_service("a server")
    from starlette.applications import Starlette

    from creditledger.service.http_server import HttpServer, address_of, listening_socket
    from creditledger.service.pool.published_files import published_files

    with listening_socket(*listen) as listening:
        server = HttpServer(
            Starlette(routes=published_files(kept)),
            on_ready=lambda: say_ready(ready_fd, address_of(listening)),
        )
        thread = threading.Thread(target=server.serve_on, args=(listening,), name="serving")
        thread.start()
        try:
            yield
        finally:
            server.stop()
            thread.join()
