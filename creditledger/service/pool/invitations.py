"""Invitations: tokens that admit so many accounts, each once. Source: specs/service.md §4."""

from creditledger.credits.state import StateView
from creditledger.errors import RoleError, TokenError
from creditledger.records.registration import Role
from creditledger.service.pool.bearer_token import BearerToken
from creditledger.service.pool.tokens import Permit, Scope, checked_row, keep_row


def redeem(view: StateView, invitation: BearerToken, *, role: Role, now_unix_ms: int) -> None:
    """Take one use, in the transaction that keeps who was admitted by it: two that race take two, and the
    one that comes too late gets nothing. Raises TokenError, RoleError."""
    row = checked_row(view, invitation, now_unix_ms=now_unix_ms)
    Permit(id=invitation.id, scopes=Scope(row.scopes)).require(Scope.JOIN)
    if row.role not in (0, role):
        raise RoleError(
            "the invitation is for another role",
            expected=Role(row.role).name.lower(),
            found=role.name.lower(),
        )
    if row.used >= row.uses:
        raise TokenError("the invitation is used up", expected=f"at most {row.uses} accounts")
    keep_row(view, invitation, row.replace(used=row.used + 1))
