"""How many published vectors each suite has, and the table at the end of a run that says how many ran."""

from typing import Final

import pytest

PUBLISHED: Final = {
    "wycheproof ed25519": 151,
    "wycheproof ml-dsa-44 verify": 180,
    "wycheproof ml-dsa-44 sign, from the seed": 86,
    "wycheproof bls g2 pop verify": 26,
    "wycheproof bls g2 basic verify": 88,
    "wycheproof bls g2 basic aggregate verify": 19,
    "wycheproof bls hash to g2": 34,
    "wycheproof hkdf-sha256": 86,
    "bls12-381-tests sign": 10,
    "bls12-381-tests verify": 29,
    "bls12-381-tests aggregate": 6,
    "bls12-381-tests fast_aggregate_verify": 12,
    "bls12-381-tests batch_verify": 2,
    "bls12-381-tests deserialization_G1": 13,
    "bls12-381-tests deserialization_G2": 15,
    "bls12-381-tests hash_to_G2": 4,
    "c2sp-cctv ed25519": 914,
    "transparency-dev-merkle inclusion": 98,
    "transparency-dev-merkle consistency": 98,
    "transparency-dev-merkle subtree inclusion": 204,
    "transparency-dev-merkle consistency of subtrees": 102,
    "transparency-dev-merkle reference tree": 24,
    "tessera-log checkpoints, signed again": 16,
    "tessera-log tiles and entry bundles": 30,
    "tlog-proof": 11,
    "litewitness add-checkpoint": 10,
    "signed-notes notes": 22,
    "signed-notes signed again": 2,
    "signed-notes verifier keys": 8,
    "signed-notes witness consistency": 1,
    "signed-notes rfc 6962 key": 1,
    "msgpack-test-suite": 233,
    "ics23 smt": 6,
    "tigerbeetle state machine": 188,
}
"""Vectors in each suite. A test that runs a suite says so with the fixture ``ran``."""

NOT_RUN: Final = {
    "transparency-dev-merkle consistency of subtrees": (
        "16 of 118 start beyond leaf 0: only mirrors ask for those proofs, and we are none"
    ),
    "bls12-381-tests aggregate_verify": (
        "5 of one signature over several messages: a round has one statement, and there is no such check"
    ),
    "ics23 iavl, tendermint and operations": (
        "12 proofs and 57 operations of trees with other rules: no map of ours is one"
    ),
    "tigerbeetle state machine, other rows": (
        "776 of 964 are of queries, balancing, linked chains, imports, closing by a flag, other fields; "
        "state_tables.py has the reason of each"
    ),
}

_Ran = tuple[str, int, str]
_PROPERTY: Final = "published vectors"


class Tally:
    """What one test says of the suites that it ran to their ends."""

    def __init__(self, node: pytest.Item) -> None:
        self._node = node

    def __call__(self, suite: str, vectors: int, remark: str = "") -> None:
        """``vectors`` of ``suite`` behaved as our written policy asks. Fails if there should be others."""
        assert vectors == PUBLISHED[suite], f"{suite}: {vectors} vectors, {PUBLISHED[suite]} published"
        # With the report this crosses from a worker process to the one that prints the table.
        self._node.user_properties.append((_PROPERTY, (suite, vectors, remark)))


class VectorTable:
    """Gathers what the tests said; after a run of the whole suite, what is missing fails it."""

    def __init__(self, config: pytest.Config) -> None:
        self._ran: dict[str, _Ran] = {}
        selected = config.option.keyword or config.option.markexpr or config.option.deselect
        by_default = config.args_source == pytest.Config.ArgsSource.TESTPATHS
        self._is_whole = by_default and not selected and not config.option.collectonly

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            for name, said in report.user_properties:
                if name == _PROPERTY:
                    suite, vectors, remark = said  # type: ignore[misc]
                    self._ran[suite] = (suite, vectors, remark)

    def _missing(self) -> list[str]:
        return [suite for suite in PUBLISHED if suite not in self._ran] if self._ran else []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        is_worker = hasattr(session.config, "workerinput")
        if self._is_whole and not is_worker and session.exitstatus == 0 and self._missing():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._ran:
            return
        terminalreporter.section("published vectors")
        shown = PUBLISHED if self._is_whole else self._ran
        for suite in shown:
            _, vectors, remark = self._ran.get(suite, (suite, 0, "NOT RUN"))
            count = f"{vectors}/{PUBLISHED[suite]}"
            terminalreporter.write_line(f"{suite:<48} {count:>8}  {remark}".rstrip())
        for suite, reason in NOT_RUN.items() if self._is_whole else ():
            terminalreporter.write_line(f"{suite:<48} {'-':>8}  {reason}")
        total = sum(vectors for _, vectors, _ in self._ran.values())
        published = sum(PUBLISHED.values())
        scope = f"of {published} published" if self._is_whole else "in the tests that were chosen"
        terminalreporter.write_line(f"{'all':<48} {total:>8}  {scope}")
        if self._is_whole and self._missing():
            terminalreporter.write_line(f"FAILED: vectors were lost: {', '.join(self._missing())}", red=True)
