"""A quote with its queue's word for it, in a file that a client can hold against the queue.

Source: specs/redemption.md §2."""

from typing import Annotated, Final

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import MalformedRecordError, UnknownIdError
from creditledger.quantities import octets
from creditledger.records import canonical
from creditledger.records.record import Fields
from creditledger.records.transfer import Quote
from creditledger.transparency.keys import Ed25519Signer, verify_ed25519

_TAG: Final = b"cl/quote"
_VERSION: Final = 1


class SignedQuote(Fields):
    """A quote under the signature of the queue that it names."""

    quote: Quote
    signature: Annotated[bytes, octets(64, 64)]
    """Ed25519, over the quote's signing bytes."""

    def encode(self) -> bytes:
        """The one encoding: a canonical array, a few hundred bytes."""
        return canonical.encode([_TAG, _VERSION, *self.to_values()])


def sign_quote(quote: Quote, signer: Ed25519Signer, ledger_id: bytes) -> SignedQuote:
    """``quote`` signed with its queue's key."""
    return SignedQuote(quote=quote, signature=signer.sign(quote.signing_bytes(ledger_id)))


def decode_quote(encoded: bytes) -> Quote | SignedQuote:
    """What a quote file holds, signed or not: the exact inverse of either's ``encode``.

    Raises MalformedRecordError for any other bytes."""
    values = canonical.decode(encoded)
    if not isinstance(values, list) or values[:1] != [_TAG]:
        return Quote.decode(encoded)
    if values[:2] != [_TAG, _VERSION]:
        raise MalformedRecordError("not a signed quote", expected="version 1")
    return SignedQuote.from_values(values[2:])


def verify_quote(signed: SignedQuote, view: StateView, ledger_id: bytes) -> None:
    """Check the signature by the key of the quote's queue that is in force in ``view``.

    Raises SignatureError; UnknownIdError where the queue is no account."""
    queue = signed.quote.queue
    if reading.account_state(view, queue) is None:
        raise UnknownIdError("no such queue", found=queue.hex())
    verify_ed25519(
        public_key=reading.key_at(view, queue, reading.tip(view).size),
        message=signed.quote.signing_bytes(ledger_id),
        signature=signed.signature,
    )
