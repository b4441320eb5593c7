"""Asking the service of a pool to be let in, as `register` does. Source: specs/cli.md §24."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from creditledger.cli.options import read_input
from creditledger.errors import TokenError

if TYPE_CHECKING:
    from creditledger.records.registration import Role
    from creditledger.service.pool.bearer_token import BearerToken
    from creditledger.transparency.keys import Ed25519Signer

TOKEN_BYTES_MAX: Final = 256


def admission_at(
    url: str,
    signer: "Ed25519Signer",
    *,
    name: str,
    role: "Role",
    ledger_id: bytes,
    operator: bytes,
    invite: Path | None,
) -> bytes:
    """What goes into the registration of ``signer``'s account at the pool that ``url`` serves.

    ``operator``: its public key in force; ``invite``: the file of an invitation. Raises BusyError while the
    operator has not decided, UsageError without the file, and as `ask_admission`."""
    from creditledger.service.admission_client import ask_admission
    from creditledger.service.pool.admission_request import AdmissionRequest

    return ask_admission(
        url,
        AdmissionRequest.signed(signer, name=name, role=role, ledger_id=ledger_id),
        ledger_id=ledger_id,
        operator=operator,
        invitation=None if invite is None else token_in(invite),
    )


def token_in(path: Path) -> "BearerToken":
    """The token in a file; errors show nothing of it. Raises UsageError, TokenError, MalformedRecordError."""
    from creditledger.service.pool.bearer_token import BearerToken

    content = read_input(path, most=TOKEN_BYTES_MAX)
    try:
        return BearerToken.parse(content.decode("ascii").strip())
    except UnicodeDecodeError:
        raise TokenError("not a bearer token", expected="clt_...", found="other characters") from None
