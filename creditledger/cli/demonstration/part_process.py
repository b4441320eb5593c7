"""A party of the story in a process of its own: ``python -m creditledger.cli.demonstration.part_process``.

The first line on stdin says who it is and where the pool is; every later one is a cue, answered with one line
on stdout. When stdin ends, so does the party: it never outlives the story."""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from creditledger.activations.runners.weights import load_model
from creditledger.cli.demonstration.cast import CLIENT, Party
from creditledger.cli.demonstration.client import Client
from creditledger.cli.demonstration.crossing import Crossing
from creditledger.cli.demonstration.node_app import NodeDesk, node_app, send_order, send_rows
from creditledger.cli.demonstration.node_part import open_node
from creditledger.cli.demonstration.reached import reach
from creditledger.cli.demonstration.scene import Scene, node_name
from creditledger.cli.demonstration.spending import Owner, Queue
from creditledger.errors import CreditLedgerError
from creditledger.ledger.clock import system_clock
from creditledger.ledger.keyring import load_key
from creditledger.ledger.ledger import Ledger
from creditledger.service.http_server import HttpServer, address_of, listening_socket

Cues = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The first line: who is called on the stage."""

    part: str
    number: int
    url: str
    """Of the pool."""
    nodes: tuple[str, ...]
    """URLs of the nodes, as far as they stand already."""
    scene: Scene

    def encode(self) -> str:
        """One line."""
        told = {"part": self.part, "number": self.number, "url": self.url, "nodes": self.nodes}
        return json.dumps(told | {"scene": self.scene.encode()})

    @classmethod
    def decode(cls, line: str) -> "Call":
        """The inverse of `encode`."""
        told = json.loads(line)
        scene = Scene.decode(told.pop("scene"))
        return cls(**told | {"nodes": tuple(told["nodes"]), "scene": scene})


def main() -> None:
    """Take part until stdin ends."""
    with ExitStack() as opened:
        try:
            call = Call.decode(sys.stdin.readline())
            ledger = reach(call.url, call.scene.folder, clock=system_clock)
            opened.callback(ledger.close)
            cues = _PARTS[call.part](call, ledger, opened)
        except CreditLedgerError as error:
            _say(_refusal(error))
            return
        _say({"ok": None})
        for line in sys.stdin:
            _say(_answer(cues, json.loads(line)))


def _answer(cues: Cues, cue: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": cues[cue["do"]](*cue["with"])}
    except CreditLedgerError as error:
        return _refusal(error)


def _refusal(error: CreditLedgerError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "message": str(error),
        "expected": error.expected,
        "found": error.found,
    }


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _client(call: Call, ledger: Ledger, opened: ExitStack) -> Cues:
    client = Client(
        scene=call.scene,
        ledger=ledger,
        model=load_model(call.scene.model_path),
        party=_party(call, CLIENT),
        line=_HttpLine(call.nodes),
        clock=system_clock,
    )
    return {"order": client.order, "send": client.send, "confirm": client.confirm}


def _node(call: Call, ledger: Ledger, opened: ExitStack) -> Cues:
    """Serves on its own URL; whoever owns it can spend what it earns."""
    party = _party(call, node_name(call.number))
    model = load_model(call.scene.model_path)
    node = open_node(
        call.scene,
        call.number,
        party,
        ledger,
        model,
        clock=system_clock,
        may_use_torch=False,
    )
    opened.callback(node.minter.close)
    url = opened.enter_context(_listening(node_app(NodeDesk(node, ledger.policy()))))
    owner = Owner(scene=call.scene, ledger=ledger, name=party.name, clock=system_clock)
    return {"url": lambda: url, "buy": owner.buy, "voucher": owner.voucher}


def _queue(call: Call, ledger: Ledger, opened: ExitStack) -> Cues:
    return {"run": Queue(scene=call.scene, ledger=ledger, clock=system_clock).run}


_PARTS: Final[Mapping[str, Callable[[Call, Ledger, ExitStack], Cues]]] = {
    "client": _client,
    "node": _node,
    "queue": _queue,
}


def _party(call: Call, name: str) -> Party:
    file = call.scene.key_file(name)
    key = load_key(file)
    return Party(name=name, role=key.role, key=key, file=file)


class _HttpLine:
    """The way to the nodes over HTTP: each is told its own order, and where the rows go next."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        self._urls = urls

    def tell(self, number: int, order: bytes, hold: bytes) -> None:
        following = (*self._urls, "")[number + 1]
        send_order(self._urls[number], order, hold, following)

    def send(self, job: bytes, crossing: Crossing) -> Crossing:
        return Crossing.decode(send_rows(self._urls[0], job, crossing))


@contextmanager
def _listening(app: Any) -> Iterator[str]:
    """The URL of an application that answers meanwhile, on a free port of this machine's own."""
    ready = threading.Event()
    server = HttpServer(app, on_ready=ready.set, connection_seconds=600.0)
    listening = listening_socket("127.0.0.1", 0)
    url = f"http://{address_of(listening)}"
    thread = threading.Thread(target=server.serve_on, args=(listening,), name="serving", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield url
    finally:
        server.stop()
        thread.join()


if __name__ == "__main__":
    main()
