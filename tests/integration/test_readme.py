"""Every block of the README runs: the shell blocks in the release check, the Python blocks here."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pool that ``creditledger demo --dir pool`` leaves behind."""
    pytest.importorskip("gguf", reason="the demo extra is not installed")
    where = tmp_path_factory.mktemp("readme")
    command = [sys.executable, "-m", "creditledger", "demo", "--dir", "pool", "--seed", "7", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=where, check=True, capture_output=True, env=environment, timeout=300)
    return where


def test_set_up_lines_are_the_two_that_a_newcomer_needs() -> None:
    demo, tests = _blocks("shell")
    assert demo.count("\n") == tests.count("\n") == 1
    assert demo.endswith("&& creditledger demo\n")
    assert tests.endswith("&& pytest\n")


def test_the_three_jobs_run_as_written(folder: Path) -> None:
    """Mint, verify, redeem: in one folder, in the README's order."""
    mint, verify, redeem = _blocks("python")
    assert re.fullmatch(r"1 receipt in a log of \d+ entries\n", _run(mint, folder))
    assert re.fullmatch(r"work: upheld in a log of \d+ entries\n", _run(verify, folder))
    printed = re.fullmatch(r"exit code 0 for (\d+) of 100000 micro-credits\n", _run(redeem, folder))
    assert printed is not None
    assert 0 < int(printed[1]) < 100_000


def _run(block: str, folder: Path) -> str:
    output = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(output):
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    return output.getvalue()
