"""What the pool is at an index: its operator, its parameters, and how far the fold has come.

Source: specs/credits.md §2."""

from functools import lru_cache
from typing import Final

from creditledger.credits.key_history import key_in_force
from creditledger.credits.state import State
from creditledger.errors import UnknownIdError
from creditledger.quantities import Count, RoundNumber, TreeSize, UnixMillisecond
from creditledger.records.parameters import Genesis, Parameters
from creditledger.records.record import Fields

_TIP: Final = b"t/tip"
_GENESIS: Final = b"t/genesis"
_OPERATOR: Final = b"t/operator"
_IN_FORCE: Final = b"t/parameters"
_PARAMETERS: Final = b"p/"


class Tip(Fields):
    """How far the fold has come."""

    size: TreeSize = 0
    """Entries folded."""
    time_unix_ms: UnixMillisecond = 0
    """The last entry's time."""
    round: RoundNumber = 0
    """The latest round's number; 0 for none."""
    certified_round: RoundNumber = 0
    """The latest certified round's number; 0 for none."""
    sequence: Count = 0
    """The latest logged parameters' sequence number, in force or pending."""


def tip_of(state: State) -> Tip:
    """How far the fold has come; all zero before the genesis."""
    return state.row(Tip, _TIP) or Tip()


def put_tip(state: State, tip: Tip) -> None:
    """Set how far the fold has come."""
    state.put_row(_TIP, tip)


def found_pool(state: State, genesis: Genesis) -> None:
    """Remember the genesis and put its parameters in force."""
    state.view.put(_GENESIS, genesis.encode())
    state.view.put(_OPERATOR, genesis.operator)
    put_in_force(state, genesis.parameters, genesis.ledger_id)


def genesis_of(state: State) -> Genesis:
    """The genesis. Raises UnknownIdError before entry 0."""
    encoded = state.view.get(_GENESIS)
    if encoded is None:
        raise UnknownIdError("the ledger has no genesis yet", expected="a genesis at entry 0")
    return _genesis(encoded)


def operator_account(state: State) -> bytes:
    """What names the operator, whatever key it signs with: the genesis' key, 32 bytes.

    Raises UnknownIdError before entry 0."""
    operator = state.view.get(_OPERATOR)
    if operator is None:
        raise UnknownIdError("the ledger has no genesis yet", expected="a genesis at entry 0")
    return operator


def operator_of(state: State) -> bytes:
    """The public key with which the operator signs now. Raises UnknownIdError before entry 0."""
    return key_in_force(state, operator_account(state))


def put_in_force(state: State, parameters: Parameters, ledger_id: bytes) -> None:
    """Put ``parameters`` in force and keep them under their digest."""
    digest = parameters.digest(ledger_id)
    state.view.put(_PARAMETERS + digest, parameters.encode())
    state.view.put(_IN_FORCE, digest)


def in_force_digest(state: State) -> bytes:
    """The digest of the parameters in force. Raises UnknownIdError before entry 0."""
    digest = state.view.get(_IN_FORCE)
    if digest is None:
        raise UnknownIdError("no parameters are in force yet", expected="a genesis at entry 0")
    return digest


def parameters_of(state: State, digest: bytes) -> Parameters:
    """The parameters with this digest, in force now or once. Raises UnknownIdError."""
    encoded = state.view.get(_PARAMETERS + digest)
    if encoded is None:
        raise UnknownIdError("no such parameters were ever in force", found=digest.hex())
    return _parameters(encoded)


def in_force(state: State) -> Parameters:
    """The parameters in force. Raises UnknownIdError before entry 0."""
    return parameters_of(state, in_force_digest(state))


@lru_cache(maxsize=32)
def _parameters(encoded: bytes) -> Parameters:
    return Parameters.decode(encoded)


@lru_cache(maxsize=32)
def _genesis(encoded: bytes) -> Genesis:
    return Genesis.decode(encoded)
