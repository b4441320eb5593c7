"""Plain HTTP as a careful client speaks it: one key for each request, retries until there is an answer."""

import random
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from creditledger.records import canonical
from creditledger.records.entry import Submission
from creditledger.service.http_source import HttpSource
from soak.soak_scene import Scene
from soak.told_file import ToldFile

LATER: Final = (408, 429, 503, 507)
"""Answers that ask for patience."""
PATIENCE_SECONDS: Final = 60.0
MSGPACK: Final = "application/msgpack"


@dataclass(frozen=True, slots=True)
class Answered:
    """A request and the only answer it may ever have."""

    path: str
    body: bytes
    key: str
    status: int
    content: bytes


class Asker:
    """One party's line to the server. Notes whatever is not as it must be."""

    def __init__(
        self,
        scene: Scene,
        told: ToldFile,
        *,
        chance: random.Random,
        repeats: float = 0.1,
        hangs_up: float = 0.03,
    ) -> None:
        """``repeats``: how often a request is sent once more. ``hangs_up``: how often a client does not wait
        for the answer, and asks again."""
        headers = {"authorization": f"Bearer {scene.token}"} if scene.token else {}
        self._client = httpx2.Client(base_url=scene.url, trust_env=False, timeout=20, headers=headers)
        self._scene = scene
        self._told = told
        self._chance = chance
        self._repeats = repeats
        self._hangs_up = hangs_up
        self._past: deque[Answered] = deque(maxlen=64)
        self.statuses: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def records(self, submissions: list[Submission], *refusals: str) -> list[dict[str, Any]]:
        """The outcomes; those that were logged are told. ``refusals``: names of errors that are expected."""
        body = canonical.encode([one.encode() for one in submissions], most=8 * 1024 * 1024)
        answer = self.post("/v1/records", body, 200)
        if answer is None:
            return []
        outcomes: list[dict[str, Any]] = answer.json()["outcomes"]
        for submission, outcome in zip(submissions, outcomes, strict=True):
            if "index" in outcome:
                self._logged(submission, outcome)
            elif outcome["error"] not in refusals:
                self._told.wrong("refused", outcome=outcome, kind=submission.record.KIND.name)
            else:
                self.counts[outcome["error"]] += 1
        return outcomes

    def one(self, path: str, submission: Submission, *expected: int) -> int:
        """A hold, capture or release at its own path; the status."""
        answer = self.post(path, submission.encode(), *(expected or (201,)))
        if answer is None:
            return 0
        if answer.status_code == 201:
            digest = submission.record.digest(self._scene.genesis.ledger_id).hex()
            if answer.json()["digest"] != digest:
                self._told.wrong("another digest", answer=answer.json())
            self._logged(submission, answer.json())
        return answer.status_code

    def post(self, path: str, body: bytes, *expected: int) -> httpx2.Response | None:
        """The answer, whatever happened on the way; None if there was none in time."""
        key = str(uuid.UUID(int=self._chance.getrandbits(128)))
        if self._chance.random() < self._hangs_up:
            self._hang_up(path, body, key)
        answer = self._ask("POST", path, body, {"content-type": MSGPACK, "idempotency-key": key})
        if answer is None:
            return None
        if answer.status_code not in expected:
            self._told.wrong("status", path=path, status=answer.status_code, text=answer.text[:500])
            return None
        # What cannot be read is tried by nobody, so nothing is kept of it.
        if answer.status_code != 400:
            self._past.append(Answered(path, body, key, answer.status_code, answer.content))
        if self._past and self._chance.random() < self._repeats:
            self.repeat(self._chance.choice([self._past[-1], self._chance.choice(self._past)]))
        return answer

    def repeat(self, past: Answered) -> None:
        """The same again must have the same bytes; without its key, the same effect."""
        headers = {"content-type": MSGPACK, "idempotency-key": past.key}
        answer = self._ask("POST", past.path, past.body, headers)
        if answer is None:
            return
        self.counts["repeats"] += 1
        found = (answer.status_code, answer.content, answer.headers.get("idempotent-replayed"))
        if found != (past.status, past.content, "true"):
            self._told.wrong("another answer", found=str(found)[:500], path=past.path, status=past.status)

    def get(self, path: str, *expected: int, **headers: str) -> httpx2.Response | None:
        """The answer; None if there was none in time."""
        answer = self._ask("GET", path, b"", {name.replace("_", "-"): each for name, each in headers.items()})
        if answer is not None and answer.status_code not in (expected or (200,)):
            self._told.wrong("status", path=path, status=answer.status_code, text=answer.text[:500])
            return None
        return answer

    def log(self) -> HttpSource:
        """The published log on a line of its own, whose statuses are counted too."""

        def count(response: httpx2.Response) -> None:
            self.statuses[str(response.status_code)] += 1

        limits = httpx2.Limits(max_connections=1)
        client = httpx2.Client(limits=limits, trust_env=False, event_hooks={"response": [count]})
        client.headers.update(self._client.headers)
        return HttpSource(self._scene.url, client=client)

    def close(self) -> None:
        """Repeat the last requests of all once more, then say what was counted."""
        for past in list(self._past)[-8:]:
            self.repeat(past)
        self._told.note(statuses=dict(self.statuses), counts=dict(self.counts))
        self._client.close()

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> httpx2.Response | None:
        began, pause = time.monotonic(), 0.05
        while time.monotonic() - began < PATIENCE_SECONDS and not self._scene.is_over():
            try:
                answer = self._client.request(method, path, content=body, headers=headers)
            except httpx2.TransportError:
                self.counts["no answer"] += 1
            else:
                self.statuses[str(answer.status_code)] += 1
                if answer.status_code not in LATER:
                    return answer
            time.sleep(pause * (0.5 + self._chance.random()))
            pause = min(1.0, pause * 1.5)
        self._told.wrong("no answer in time", method=method, path=path)
        return None

    def _hang_up(self, path: str, body: bytes, key: str) -> None:
        """Send the request, and do not wait for what it comes to."""
        headers = {"content-type": MSGPACK, "idempotency-key": key}
        try:
            self._client.post(path, content=body, headers=headers, timeout=self._chance.uniform(0.001, 0.01))
        except httpx2.TransportError:
            self.counts["hung up"] += 1

    def _logged(self, submission: Submission, row: dict[str, Any]) -> None:
        digest = submission.record.digest(self._scene.genesis.ledger_id).hex()
        kind = submission.record.KIND.name.lower()
        self._told.note(ack=digest, kind=kind, index=row["index"], leaf=row["leaf_hash"])
