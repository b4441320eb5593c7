"""The table of published vectors: right with worker processes, and red when a suite was lost."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import published_vectors
import pytest
from published_vectors import Tally, VectorTable

published_vectors.PUBLISHED.clear()
published_vectors.PUBLISHED.update(one=2, other=3)

@pytest.fixture
def ran(request):
    return Tally(request.node)

def pytest_configure(config):
    config.pluginmanager.register(VectorTable(config))
"""
ONE = "def test_one(ran):\n    ran('one', {})\n"
OTHER = "def test_other(ran):\n    ran('other', 3, 'a remark')\n"


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    pytester.makeconftest(CONFTEST)
    pytester.makeini(f"[pytest]\ntestpaths = .\npythonpath = {Path(__file__).parent}\n")
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess(*arguments)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_every_suite_is_counted_once(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    result = run(pytester, ONE.format(2) + OTHER, *workers)
    assert result.ret == 0
    result.stdout.re_match_lines([r"one +2/2", r"other +3/3  a remark", r"all +5  of 5 published"])


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_a_suite_that_did_not_run_fails_the_run(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    result = run(pytester, OTHER, *workers)
    assert result.ret == 1
    result.stdout.re_match_lines([r"one +0/2  NOT RUN", r"FAILED: vectors were lost: one"])


def test_a_suite_that_ran_fewer_fails_its_test(pytester: pytest.Pytester) -> None:
    result = run(pytester, ONE.format(1) + OTHER)
    result.assert_outcomes(passed=1, failed=1)


def test_chosen_tests_need_not_run_every_suite(pytester: pytest.Pytester) -> None:
    result = run(pytester, ONE.format(2) + OTHER, "-k", "one")
    assert result.ret == 0
    result.stdout.re_match_lines([r"one +2/2"])
    result.stdout.no_re_match_line(r"other ")
