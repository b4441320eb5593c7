"""What a server that is not ours is told by its environment. Source: specs/service.md §8."""

from collections.abc import Mapping

from creditledger.errors import StorageError


def named_in(environment: Mapping[str, str], name: str) -> str:
    """The value of ``CREDITLEDGER_<name>``. Raises StorageError if it is not set."""
    found = environment.get(f"CREDITLEDGER_{name}", "")
    if not found:
        raise StorageError("the server's environment does not name its part", expected=f"CREDITLEDGER_{name}")
    return found


def digest_in(environment: Mapping[str, str], name: str) -> bytes:
    """The 32 bytes that ``CREDITLEDGER_<name>`` has in hex. Raises StorageError for anything else."""
    text = named_in(environment, name)
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise StorageError(
            f"CREDITLEDGER_{name} is no digest or account", expected="64 hex digits", found=text
        )
    return digest
