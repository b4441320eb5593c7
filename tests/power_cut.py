"""What a disk may hold after a power cut: a file system's model, filled from a writer's system calls.

What was synced is there. Of what was not, any part may be: each unit of each write by itself, and a name
may point to the old file or the new one. Source: specs/ledger.md §3, §4."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

RECORDED: Final = (
    "openat,close,lseek,write,writev,pwrite64,pwritev,pwritev2,fdatasync,fsync,rename,ftruncate,unlink,sendto"
)
OPTIONS: Final = ("-e", f"trace={RECORDED}", "-s", "100000000", "-xx", "-e", "abbrev=none")

TRIES: Final = 4
"""How many states are drawn for one that was not drawn before."""

_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
_BEGUN = re.compile(r"^(\d+) +(.*?) *<unfinished \.\.\.>$")
_ENDED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


@dataclass(slots=True)
class _Inode:
    durable: bytes = b""
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def sync(self) -> None:
        for offset, content in self.pending:
            self.durable = _written(self.durable, offset, content)
        self.pending = []


@dataclass(slots=True)
class _Open:
    path: str
    inode: _Inode | None
    is_synchronous: bool
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """A file's durable content, and the writes after it that no sync has followed."""

    durable: bytes
    pending: tuple[tuple[int, bytes], ...]

    def states(self, unit: int, chance: random.Random) -> Iterator[bytes]:
        """Every prefix of the pending writes, then subsets of their units by chance, for ever."""
        pieces = [piece for offset, content in self.pending for piece in _units(offset, content, unit)]
        for kept in range(len(self.pending) + 1):
            yield self._with(list(self.pending[:kept]))
        while True:
            share = chance.choice((0.1, 0.5, 0.9))
            yield self._with([piece for piece in pieces if chance.random() < share])

    def _with(self, pieces: list[tuple[int, bytes]]) -> bytes:
        content = bytearray(self.durable)
        for offset, piece in pieces:
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(piece)] = piece
        return bytes(content)


@dataclass(frozen=True, slots=True)
class Cut:
    """The moment after one system call."""

    said: tuple[str, ...]
    """What the writer had said by then."""
    files: tuple[tuple[str, tuple[Image, ...]], ...]
    """By path, what the name may point to: the durable file first, then each later one."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that were written and not synced."""
        return sum(len(piece) for _, images in self.files for image in images for _, piece in image.pending)

    def states(self, unit: int, most: int, chance: random.Random) -> Iterator[dict[str, bytes]]:
        """At most ``most`` contents of all files that the disk may have, torn at ``unit`` bytes."""
        seen: set[int] = set()
        choices = {name: [image.states(unit, chance) for image in images] for name, images in self.files}
        for _ in range(TRIES * most):
            if len(seen) == most:
                return
            state = {name: next(chance.choice(images)) for name, images in choices.items()}
            identity = hash(tuple(state.values()))
            if identity not in seen:
                seen.add(identity)
                yield state


class Disk:
    """Follows the files of one directory tree through a trace."""

    def __init__(self, root: Path, watched: tuple[str, ...]) -> None:
        """``watched``: paths under ``root`` to model; they are durable as they are now."""
        self._root = str(root)
        self._inodes = {name: _Inode((root / name).read_bytes()) for name in watched}
        self._watched = watched
        self._names: dict[str, list[_Inode]] = {name: [self._inodes[name]] for name in watched}
        self._current = dict(self._inodes)
        self._open: dict[int, _Open] = {}
        self._said: list[str] = []
        self._unsettled: tuple[_Inode, tuple[int, bytes]] | None = None

    def cuts(self, trace: str) -> Iterator[Cut]:
        """The moments of ``trace`` at which something on the disk, or something said, had changed.

        A descriptor that syncs by itself has done so when the next call begins: a writer killed right
        after such a write counts as killed within it. The next trace is another process's."""
        self._open, self._said = {}, []
        yield self._cut()
        for line in whole_calls(trace):
            found = _CALL.match(line)
            if found is None or int(found[3]) < 0:
                continue
            self._settle()
            if self._follow(found[1], found[2], int(found[3])):
                yield self._cut()
        self._unsettled = None

    def _settle(self) -> None:
        if self._unsettled is not None:
            inode, piece = self._unsettled
            inode.durable = _written(inode.durable, *piece)
            inode.pending.remove(piece)
            self._unsettled = None

    def _cut(self) -> Cut:
        return Cut(
            said=tuple(self._said),
            files=tuple(
                (name, tuple(Image(inode.durable, tuple(inode.pending)) for inode in self._names[name]))
                for name in self._watched
            ),
        )

    def _follow(self, call: str, arguments: str, result: int) -> bool:
        strings = [bytes.fromhex(text.replace("\\x", "")) for text, _ in _STRING.findall(arguments)]
        if any(cut for _, cut in _STRING.findall(arguments)):
            raise ValueError(f"the trace is cut short: {arguments[:80]}")
        if call == "openat":
            self._opened(strings[0].decode(), arguments, result)
            return False
        if call == "rename":
            return self._renamed(self._name(strings[0].decode()), self._name(strings[1].decode()))
        if call == "unlink":
            return False
        if call == "sendto":
            self._said.append(strings[0].decode())
            return True
        number = int(arguments.split(",")[0])
        if call == "close":
            self._open.pop(number, None)
            return False
        file = self._open.get(number)
        return file is not None and self._used(file, call, arguments, strings, result)

    def _name(self, path: str) -> str:
        return path.removeprefix(self._root).lstrip("/") if path.startswith(self._root) else ""

    def _opened(self, path: str, arguments: str, number: int) -> None:
        if not path.startswith(self._root):
            return
        name = self._name(path)
        if "O_CREAT" in arguments and "O_EXCL" in arguments:
            self._current[name] = _Inode()
        self._open[number] = _Open(name, self._current.get(name), "O_DSYNC" in arguments)

    def _renamed(self, old: str, new: str) -> bool:
        inode = self._current.pop(old, None)
        if inode is None or new not in self._names:
            return False
        self._current[new] = inode
        self._names[new].append(inode)
        return True

    def _used(self, file: _Open, call: str, arguments: str, strings: list[bytes], result: int) -> bool:
        if call in ("fsync", "fdatasync"):
            return self._synced(file)
        if call == "lseek":
            file.offset = result
            return False
        if file.inode is None:
            return False
        if call == "ftruncate":
            raise ValueError("the model knows no truncation")
        content = b"".join(strings)[:result]
        if call in ("pwrite64", "pwritev", "pwritev2"):
            offset = int(arguments.rsplit(",", 2 if call == "pwritev2" else 1)[1])
        else:
            offset, file.offset = file.offset, file.offset + result
        file.inode.pending.append((offset, content))
        if file.is_synchronous:
            self._unsettled = file.inode, (offset, content)
        return True

    def _synced(self, file: _Open) -> bool:
        if file.inode is not None:
            file.inode.sync()
            return True
        # A directory: its names now point where they were last made to.
        folder = file.path
        for name in self._watched:
            if name.rpartition("/")[0] == folder:
                self._names[name] = self._names[name][-1:]
        return True


def whole_calls(trace: str) -> Iterator[str]:
    """The lines of a trace, each call on one: those that another thread interrupts come in two parts.

    A call stands where it ended: only then is it known to have been done."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        if found := _BEGUN.match(line):
            begun[found[1]] = found[2]
        elif found := _ENDED.match(line):
            yield f"{found[1]} {begun.pop(found[1], '')}{found[2]}"
        else:
            yield line


def _written(content: bytes, offset: int, piece: bytes) -> bytes:
    grown = content.ljust(offset, b"\0")
    return grown[:offset] + piece + grown[offset + len(piece) :]


def _units(offset: int, content: bytes, unit: int) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(content):
        size = unit - (offset + at) % unit
        yield offset + at, content[at : at + size]
        at += size
