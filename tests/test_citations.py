"""Code cites the specification; what it cites must be there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CITED = re.compile(r"specs/([a-z_]+\.md)((?: §\d+(?:,| and)?)*)")


def _citations() -> list[tuple[str, str, str]]:
    sources = [*ROOT.glob("creditledger/**/*.py"), *ROOT.glob("specs/*.md"), ROOT / "README.md"]
    found = []
    for source in sources:
        for page, sections in CITED.findall(source.read_text("utf-8")):
            numbers = re.findall(r"\d+", sections) or [""]
            found += [(str(source.relative_to(ROOT)), page, number) for number in numbers]
    return sorted(set(found))


@pytest.mark.parametrize(("source", "page", "section"), _citations())
def test_cited_section_exists(source: str, page: str, section: str) -> None:
    text = (ROOT / "specs" / page).read_text("utf-8")
    if section:
        assert re.search(rf"^## §?{section}\b", text, re.MULTILINE), f"{source} cites {page} §{section}"
