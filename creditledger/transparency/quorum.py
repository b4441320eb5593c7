"""Which sets of witnesses are enough. Source: specs/log.md §10, after C2SP tlog-policy."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from creditledger.errors import MalformedRecordError
from creditledger.transparency.note import VerifierKey

NO_QUORUM = "none"
"""The predefined name: no cosignature is asked for. No witness or group may have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRange:
    """The tree sizes of which a log's key may sign checkpoints."""

    first_size: int
    until_size: int
    """Exclusive; 0 while the key is not retired."""

    def __post_init__(self) -> None:
        if self.first_size < 0 or (self.until_size and self.until_size <= self.first_size):
            raise MalformedRecordError(
                "a key's range is empty",
                expected="a size, then a larger one or 0",
                found=f"{self.first_size} {self.until_size}"[:60],
            )

    @property
    def is_retired(self) -> bool:
        """Whether another key has followed."""
        return self.until_size > 0

    def covers(self, size: int) -> bool:
        """Whether a checkpoint of ``size`` entries may be signed."""
        return self.first_size <= size and (self.until_size == 0 or size < self.until_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLog:
    """A log whose checkpoints are accepted; the key's name is the log's origin."""

    vkey: VerifierKey
    url: str | None = None
    range: KeyRange | None = None
    """None for a key that may sign checkpoints of every size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyWitness:
    """A witness under the name the policy gives it."""

    name: str
    vkey: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessGroup:
    """Witnesses and earlier groups, of whom ``threshold`` stand for all."""

    name: str
    threshold: int
    """1 to the number of members."""
    members: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= len(self.members):
            raise MalformedRecordError(
                "group threshold is out of range",
                expected=f"1 to {len(self.members)}",
                found=str(self.threshold)[:40],
            )


def require_well_founded(
    witnesses: Sequence[PolicyWitness], groups: Sequence[WitnessGroup], quorum: str
) -> None:
    """Check that names are defined once, before use, and that each is a member at most once.

    So every witness counts in one way only. Raises MalformedRecordError."""
    defined: set[str] = {NO_QUORUM}
    for witness in witnesses:
        _define(witness.name, defined)
    used: set[str] = {NO_QUORUM}
    for group in groups:
        for member in group.members:
            if member not in defined or member in used:
                raise MalformedRecordError(
                    "a group member is not defined, or is a member already",
                    expected="names of earlier lines, each once",
                    found=ascii(member[:40]),
                )
            used.add(member)
        _define(group.name, defined)
    if quorum not in defined:
        raise MalformedRecordError(
            "quorum is not defined", expected="a witness, a group or none", found=ascii(quorum[:40])
        )


def is_quorum(present: Set[str], *, quorum: str, groups: Sequence[WitnessGroup]) -> bool:
    """Whether the witnesses named in ``present`` reach ``quorum``."""
    reached = {NO_QUORUM, *present}
    for group in groups:
        if sum(member in reached for member in group.members) >= group.threshold:
            reached.add(group.name)
    return quorum in reached


def quorum_time(times: Mapping[str, int], *, quorum: str, groups: Sequence[WitnessGroup]) -> int | None:
    """The latest time since which a quorum has cosigned, or None where there is no quorum.

    ``times``: per witness name, the time of its cosignature. One witness alone, however late
    its clock, cannot move the result past what the others of the quorum say."""
    for candidate in sorted(set(times.values()), reverse=True):
        present = {name for name, time in times.items() if time >= candidate}
        if is_quorum(present, quorum=quorum, groups=groups):
            return candidate
    return None


def smallest_quorum(times: Mapping[str, int], *, quorum: str, groups: Sequence[WitnessGroup]) -> Set[str]:
    """Witnesses of whom none can be spared, whose `quorum_time` is that of all; all where they are no quorum.

    ``times``: as for `quorum_time`, the most welcome first."""
    since = quorum_time(times, quorum=quorum, groups=groups)
    if since is None:
        return times.keys()
    kept = {name for name, time in times.items() if time >= since}
    for name in reversed(list(times)):
        if is_quorum(kept - {name}, quorum=quorum, groups=groups):
            kept -= {name}
    return kept


def _define(name: str, defined: set[str]) -> None:
    if not name or name in defined:
        raise MalformedRecordError(
            "a name is empty or taken", expected="each name once, not none", found=ascii(name[:40])
        )
    defined.add(name)
