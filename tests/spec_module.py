"""The second implementation: the Python blocks of the specification, read in order as one module."""

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

SPECS: Final = Path(__file__).parent.parent / "specs"
PAGES: Final = ("records", "log", "rounds", "bundle")
"""In the order in which their blocks build on each other."""
_NO_CODE: Final = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def page_text(page: str) -> str:
    """The page as it stands in the repository."""
    return (SPECS / f"{page}.md").read_text("utf-8")


@cache
def source(*, beside: bool = True) -> str:
    """The blocks of all pages; without those ``beside``, the ones that verify bundles."""
    fence = r"(?ms)^```python%s\n(.*?)^```$" % ("(?: beside)?" if beside else "")
    return "\n\n".join(block for page in PAGES for block in re.findall(fence, page_text(page)))


def load(*, beside: bool = True) -> Any:
    """A fresh module of `source`; what it refuses ends in a ``ValueError``.

    Records and bundles are laid out by the pages' own lists of fields: the module is given the text
    of each page as ``RECORDS_PAGE`` and so on."""
    module = ModuleType("second_implementation")
    for page in PAGES:
        setattr(module, f"{page.upper()}_PAGE", page_text(page))
    exec(compile(source(beside=beside), "specs/*.md", "exec"), vars(module))
    return module


def code_lines() -> int:
    """Lines that hold code of what verifies bundles: neither blank nor comment nor docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source(beside=False)).readline):
        if token.type not in _NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - _docstring_lines())


def _docstring_lines() -> set[int]:
    found: set[int] = set()
    for node in ast.walk(ast.parse(source(beside=False))):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            found |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return found


def imported() -> set[str]:
    """The packages that the blocks import."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found
