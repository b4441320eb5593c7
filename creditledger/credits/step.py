"""One entry on its way into the state, and the questions every rule asks about it.

Source: specs/credits.md §1."""

from typing import Final

from msgspec import Struct

from creditledger.credits.account import account_of, require_open
from creditledger.credits.context import FoldContext
from creditledger.credits.key_history import key_in_force
from creditledger.credits.pool import in_force, operator_of
from creditledger.credits.state import State
from creditledger.errors import ConflictError, MalformedRecordError, RoleError
from creditledger.records.entry import Entry
from creditledger.records.parameters import Parameters
from creditledger.records.registration import Role
from creditledger.records.state import AccountState

_CLIENT_ID: Final = b"i/"


class Step(Struct, frozen=True, kw_only=True):
    """An entry, its digest and bodies, and the state it is to change."""

    state: State
    context: FoldContext
    entry: Entry
    message: bytes
    """What the entry's signature covers."""
    digest: bytes
    bodies: tuple[bytes, ...]

    @property
    def ledger_id(self) -> bytes:
        """32 bytes."""
        return self.context.ledger_id

    @property
    def index(self) -> int:
        """The entry's place in the log."""
        return self.context.index

    @property
    def now(self) -> int:
        """The entry's time, Unix milliseconds: the only clock of the rules."""
        return self.entry.time_unix_ms

    @property
    def parameters(self) -> Parameters:
        """The parameters in force."""
        return in_force(self.state)

    def require_signer(self, public_key: bytes) -> None:
        """The entry carries ``public_key``'s Ed25519 signature. Raises SignatureError."""
        self.context.verifier.ed25519(public_key, self.message, self.entry.signature)

    def require_operator(self) -> None:
        """The entry is signed with the operator's key in force. Raises SignatureError."""
        self.require_signer(operator_of(self.state))

    def require_actor(self, account: bytes, *roles: Role) -> AccountState:
        """``account``, registered in one of ``roles`` (any if none), signed the entry with its key in force.

        Raises UnknownIdError, RoleError, SignatureError, AccountClosedError."""
        found = account_of(self.state, account)
        if roles and found.role not in roles:
            raise RoleError(
                f"{found.name} may not sign a {self.entry.record.KIND.name.lower()}",
                expected=" or ".join(role.name.lower() for role in roles),
                found=Role(found.role).name.lower(),
            )
        self.require_signer(key_in_force(self.state, account))
        return require_open(found)

    def require_no_bodies(self) -> None:
        """Nothing travels beside the record. Raises MalformedRecordError."""
        if self.bodies:
            raise MalformedRecordError(
                "record takes no bodies", expected="no bodies", found=str(len(self.bodies))
            )

    def claim_id(self, signer: bytes, client_id: bytes) -> None:
        """Bind ``client_id`` of ``signer`` to this record. Raises ConflictError if another has it."""
        known = claimed_id(self.state, signer, client_id)
        if known is not None:
            raise ConflictError(
                "id was used for another record",
                expected=known.hex(),
                found=self.digest.hex(),
            )
        self.state.view.put(_CLIENT_ID + signer + client_id, self.digest)


def claimed_id(state: State, signer: bytes, client_id: bytes) -> bytes | None:
    """The digest of the record that ``signer`` logged under this 16-byte id, or None."""
    return state.view.get(_CLIENT_ID + signer + client_id)
