"""Where this machine keeps its copies of other machines' ledgers, and how one is opened.

Source: specs/service.md §7."""

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from creditledger.credits.fold import TransparencyVerifier
from creditledger.errors import (
    BusyError,
    IntegrityError,
    MalformedRecordError,
    PolicyError,
    StorageError,
)
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.directory import LedgerDirectory, is_there, read_file, replace_file
from creditledger.ledger.evidence_taker import EvidenceTaker
from creditledger.ledger.keyring import KeyRole, load_key
from creditledger.ledger.last_seen import LastSeen
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.log_copy import COPY_OF, LogCopy
from creditledger.ledger.opening import Place, is_url
from creditledger.ledger.reader_folders import state_folder
from creditledger.ledger.remote_ledger import RemoteLedger
from creditledger.ledger.stored_log import StoredLog
from creditledger.service.http_exchange import require_base_url
from creditledger.service.http_source import HttpSource
from creditledger.service.remote.record_client import RecordClient
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.trust_policy import POLICY_SIZE_MAX, TrustPolicy

POLICY: Final = "CREDITLEDGER_POLICY"
"""The environment's name for the policy file that ledgers at URLs are read under."""
TOKEN: Final = "CREDITLEDGER_TOKEN"
OPERATOR_KEY: Final = "CREDITLEDGER_OPERATOR_KEY"
URL_BYTES_MAX: Final = 2_048


def copy_of(url: str, *, policy: Path | None = None) -> Path:
    """The directory of the copy of the ledger at ``url``, made if it is not there yet; nothing is fetched.

    ``policy``: by default the file that `POLICY` names. Raises PolicyError without one or for one that
    names no ledger, MalformedRecordError, StorageError."""
    url = require_base_url(url, what="pool")
    file = policy or (Path(os.environ[POLICY]) if os.environ.get(POLICY) else None)
    if file is None:
        raise PolicyError(
            "a ledger at a URL is read under your own policy", expected=f"--policy FILE or ${POLICY}"
        )
    content = read_file(file, what="policy", most=POLICY_SIZE_MAX)
    ledger_id = TrustPolicy.parse(content).ledger_id
    if ledger_id is None:
        raise PolicyError("the policy does not say which ledger it is for", expected="#creditledger ledger")
    name = f"{ledger_id.hex()[:32]}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    path = state_folder() / "copies" / name
    if not is_there(path / COPY_OF):
        try:
            LogCopy.create(path, url=url, policy=content)
        except StorageError:
            # Another process was quicker, and a copy is there whole or not at all.
            if not is_there(path / COPY_OF):
                raise
    elif read_file(path / "policy", what="policy", most=POLICY_SIZE_MAX) != content:
        replace_file(path / "policy", content)
    return path


def open_remote(place: Place, *, clock: Clock = system_clock, may_be_stale: bool = False) -> RemoteLedger:
    """The ledger at a URL, or that of a copy's directory, brought up to date; ``may_be_stale``: or as it was
    last seen, where the service is away.

    Within a process a copy is open once, and shared. One that cannot be gone on with is made anew; the last
    checkpoint seen stays. Raises what `copy_of` and `LogCopy.follow` raise."""
    path = (copy_of(str(place)) if is_url(place) else Path(place)).absolute()
    with _TURN:
        shared = _OPEN.get(path)
        if shared is None:
            ledger = _fresh(path, clock, lambda: _leave(path), may_be_stale=may_be_stale)
            shared = _OPEN[path] = _Shared(ledger=ledger)
        else:
            _follow(shared.ledger.follow, may_be_stale=may_be_stale)
        shared.users += 1
        return shared.ledger


def _follow(follow: Callable[[], object], *, may_be_stale: bool) -> None:
    try:
        follow()
    except BusyError:
        if not may_be_stale:
            raise


@dataclass(slots=True)
class _Shared:
    ledger: RemoteLedger
    users: int = 0


_OPEN: Final[dict[Path, _Shared]] = {}
_TURN: Final = threading.RLock()


def _leave(path: Path) -> bool:
    """Whether that was the last user of an open copy."""
    with _TURN:
        shared = _OPEN.get(path)
        if shared is None:
            return False
        shared.users -= 1
        if not shared.users:
            del _OPEN[path]
        return not shared.users


def _fresh(path: Path, clock: Clock, is_last: Callable[[], bool], *, may_be_stale: bool) -> RemoteLedger:
    try:
        return _open(path, clock, is_last, may_be_stale=may_be_stale)
    except IntegrityError:
        LogCopy.begin_anew(path)
        return _open(path, clock, is_last, may_be_stale=False)


def _open(path: Path, clock: Clock, is_last: Callable[[], bool], *, may_be_stale: bool) -> RemoteLedger:
    directory, url, token = LedgerDirectory(path), _url_of(path), os.environ.get(TOKEN, "")
    policy, verifier = TrustPolicy.load(directory.policy), TransparencyVerifier()
    memory = LastSeen(path.with_name(f"{path.name}.seen"), policy)
    operator = os.environ.get(OPERATOR_KEY)
    with ExitStack() as opened:
        store = LmdbStore(directory.store)
        opened.callback(store.close)
        source = HttpSource(url, token=token)
        opened.callback(source.close)
        records = RecordClient(url, token=token)
        opened.callback(records.close)
        copy = LogCopy(directory, store, source, policy, memory=memory, clock=clock, verifier=verifier)
        with store.read() as view:
            is_begun = StoredLog(view).size > 0
        _follow(copy.follow, may_be_stale=may_be_stale and is_begun)
        ledger = RemoteLedger(
            directory,
            store,
            copy,
            records.submit,
            url=url,
            open_taker=partial(_taker, url, clock),
            operator=load_key(Path(operator), roles=(KeyRole.OPERATOR,)).ed25519() if operator else None,
            clock=clock,
            verifier=verifier,
            close=lambda: let_go.close() if is_last() else None,
        )
        let_go = opened.pop_all()
    return ledger


def _taker(url: str, clock: Clock, key: Ed25519Signer, ledger_id: bytes) -> EvidenceTaker:
    from creditledger.service.http_evidence import POOLS_OWN, EvidencePlace, HttpEvidence

    place = EvidencePlace(url=url + POOLS_OWN, audience=ledger_id)
    return HttpEvidence([place], signer=key, ledger_id=ledger_id, clock=clock)


def _url_of(path: Path) -> str:
    try:
        return read_file(path / COPY_OF, what="copy's origin", most=URL_BYTES_MAX).decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedRecordError("not a URL", found=str(path / COPY_OF)[-100:]) from error
