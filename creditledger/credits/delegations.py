"""Who may be a delegate, and with which key it signs. Source: specs/credits.md §13."""

from typing import Final

from creditledger.credits.account import require_open
from creditledger.credits.key_history import is_known_key, key_in_force
from creditledger.credits.pool import operator_account
from creditledger.credits.state import State
from creditledger.credits.step import Step
from creditledger.errors import RoleError
from creditledger.records.state import AccountState, account_key
from creditledger.transparency.keys import require_ed25519_public_key

_MACHINE: Final = b"Z/"


def require_delegate(state: State, delegate: bytes) -> None:
    """An open account, or a key that is not weak and nobody's.

    Raises AccountClosedError, RoleError, KeyFormatError."""
    account = state.entry(AccountState, account_key(delegate))
    if account is not None:
        require_open(account)
        return
    _require_nobodys(state, delegate)
    require_ed25519_public_key(delegate)


def require_delegate_signed(step: Step, delegate: bytes) -> None:
    """The delegate signed the entry: with its account's key in force, or else itself; from then on such a key
    is a machine's, which no account can have any more.

    Raises RoleError, SignatureError, AccountClosedError."""
    state = step.state
    account = state.entry(AccountState, account_key(delegate))
    if account is not None:
        step.require_signer(key_in_force(state, delegate))
        require_open(account)
        return
    _require_nobodys(state, delegate)
    step.require_signer(delegate)
    state.view.put(_MACHINE + delegate, b"")


def require_no_machine(state: State, key: bytes) -> None:
    """No machine has signed a hold with ``key``. Raises RoleError."""
    if state.view.get(_MACHINE + key) is not None:
        raise RoleError("the key is a machine's", expected="a key of its own", found=key.hex())


def _require_nobodys(state: State, key: bytes) -> None:
    if key == operator_account(state) or is_known_key(state, key):
        raise RoleError(
            "a delegate is an account by its id, or nobody's key", expected="another key", found=key.hex()
        )
