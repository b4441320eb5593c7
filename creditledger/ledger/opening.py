"""A ledger by its place: a directory, the URL of a service, or a copy of one. Source: specs/service.md §7.

Who can open a URL says so as an entry point: nothing here knows the network."""

from collections.abc import Sequence
from importlib.metadata import entry_points
from os import PathLike
from pathlib import Path
from typing import Final, Protocol, TypeAlias, cast

from creditledger.errors import StorageError
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.cosigning import Cosigner
from creditledger.ledger.directory import is_there
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.log_copy import COPY_OF

Place: TypeAlias = str | PathLike[str]
"""A directory, or an http(s) URL."""
OPENERS: Final = "creditledger.ledgers"


class RemoteOpener(Protocol):
    """Opens what another machine writes."""

    def __call__(self, place: Place, *, clock: Clock, may_be_stale: bool) -> Ledger:
        """The ledger at a URL, or that which the directory ``place`` is a copy of, brought up to date;
        ``may_be_stale``: or as it was last seen, where the service is away."""


def is_url(place: Place) -> bool:
    """Whether ``place`` names a service."""
    return isinstance(place, str) and place.startswith(("http://", "https://"))


def is_copy(place: Place) -> bool:
    """Whether ``place`` is the directory of a copy."""
    return not is_url(place) and is_there(Path(place) / COPY_OF)


def open_ledger(
    place: Place,
    *,
    read_only: bool,
    clock: Clock = system_clock,
    cosigners: Sequence[Cosigner] = (),
    may_be_stale: bool = False,
) -> Ledger:
    """The ledger at ``place``, for writing unless ``read_only``; see `Ledger.open`. One that another
    machine writes takes submissions either way; ``may_be_stale``: where its service is away, it is as this
    machine last saw it. Raises StorageError where nothing can open a URL."""
    if is_url(place) or is_copy(place):
        return _remote_opener()(place, clock=clock, may_be_stale=may_be_stale)
    return Ledger.open(Path(place), read_only=read_only, clock=clock, cosigners=cosigners)


def _remote_opener() -> RemoteOpener:
    for found in entry_points(group=OPENERS, name="http"):
        try:
            return cast(RemoteOpener, found.load())
        except ImportError as error:
            raise StorageError(
                "a ledger at a URL is on the network: pip install 'creditledger[service]'"
            ) from error
    raise StorageError("nothing here opens a ledger at a URL", expected=f"an entry point in {OPENERS}")
