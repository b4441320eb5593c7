"""The shape of the package: imports point inwards, names say something, and nothing heavy loads early."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "creditledger"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

FOUNDATION = ("errors", "quantities")
"""Below every layer, in this order."""
LAYERS = (
    "records", "transparency", "activations", "credits", "ledger", "minting", "validation", "redemption",
    "adapters", "simulation", "service", "cli",
)  # fmt: skip
"""From the inside out: each may import those before it."""
DRAWERS = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "stuff", "shared"}
ROOT_FACTS = {"creditledger", "creditledger.__version__"}
WITHOUT_FLOATS = ("records", "credits", "redemption")
"""Layers that carry amounts. The last may hand seconds to ``sleep``."""
HEAVY = (
    "numpy", "py_ecc", "torch", "rich", "gguf", "tokenizers", "transformers",
    "starlette", "uvicorn", "httpx2", "httpx", "openai", "jinja2", "prometheus_client", "matplotlib",
    "psycopg", "boto3", "botocore", "ray",
)  # fmt: skip


def parsed(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(), filename=name)


def rank_of(module: str) -> int | None:
    """How far out a module lies; None for the package's root, which names everything lazily."""
    part = module.split(".")[1] if "." in module else ""
    if part in FOUNDATION:
        return FOUNDATION.index(part)
    return len(FOUNDATION) + LAYERS.index(part) if part in LAYERS else None


def imports_of(name: str) -> Iterator[tuple[str, int]]:
    """The package's modules that a module imports anywhere in its text, with the line."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
            source = node.module or "" if not node.level else f"{base}.{node.module}".rstrip(".")
            for alias in node.names:  # of a package, the names may be its modules
                inner = f"{source}.{alias.name}"
                yield (inner if inner in MODULES or source == "creditledger" else source), node.lineno


def test_every_folder_is_a_layer() -> None:
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/**/*.py")}
    assert folders <= set(LAYERS)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_inwards(name: str) -> None:
    """Also those inside functions: a layer does not know the ones around it."""
    own = rank_of(name)
    for imported, line in imports_of(name):
        if own is None or not (imported == "creditledger" or imported.startswith("creditledger.")):
            continue
        rank = rank_of(imported)
        if rank is None:  # the root's lazy names would hide where they come from
            assert imported in ROOT_FACTS, f"line {line}: {imported} is in no layer"
            continue
        assert rank <= own, f"line {line}: {name} imports {imported}, which lies outside it"


def test_a_layer_is_never_imported_in_a_circle() -> None:
    """Among one layer's modules, what is imported at the top can be put in an order."""
    graph = {name: {module for module in top_imports_of(name) if module in MODULES} for name in MODULES}
    done: set[str] = set()
    while len(done) < len(graph):
        ready = {name for name, needs in graph.items() if name not in done and needs - {name} <= done}
        assert ready, f"a circle among {sorted(set(graph) - done)}"
        done |= ready


def top_imports_of(name: str) -> Iterator[str]:
    """What a module imports as it loads."""
    lines = {node.lineno for node in parsed(name).body if isinstance(node, ast.Import | ast.ImportFrom)}
    return (imported for imported, line in imports_of(name) if line in lines)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_named_for_what_it_is(name: str) -> None:
    assert not set(name.split(".")) & DRAWERS
    assert not any(part.endswith(("_utils", "_helpers", "_manager")) for part in name.split("."))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_read_in_one_sitting(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= 400


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_about(name: str) -> None:
    assert ast.get_docstring(parsed(name))


def in_layers(*layers: str) -> list[str]:
    return [name for name in MODULES if name.startswith(tuple(f"creditledger.{layer}" for layer in layers))]


def annotations_of(tree: ast.Module) -> Iterator[ast.expr | None]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg):
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.returns


def holds_float(annotation: ast.AST | None) -> bool:
    """Whether a value so declared is or contains a float; a callable only takes one, as ``sleep`` does."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Callable":
        return False
    if isinstance(annotation, ast.Name):
        return annotation.id == "float"
    return annotation is not None and any(map(holds_float, ast.iter_child_nodes(annotation)))


@pytest.mark.parametrize("name", in_layers(*WITHOUT_FLOATS))
def test_no_amount_is_declared_a_float(name: str) -> None:
    declared = [ast.unparse(found) for found in annotations_of(parsed(name)) if holds_float(found)]
    called = [node.lineno for node in ast.walk(parsed(name)) if is_call_of_float(node)]
    assert (declared, called) == ([], [])


def is_call_of_float(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"


@pytest.mark.parametrize("name", in_layers("records", "credits"))
def test_no_amount_becomes_a_float(name: str) -> None:
    """Neither by a literal nor by a division; ``//`` says which way it rounds."""
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, float), f"line {node.lineno}"
        if isinstance(node, ast.BinOp | ast.AugAssign):
            assert not isinstance(node.op, ast.Div), f"line {node.lineno}"


LIGHT = [
    name
    for name in MODULES
    if name in ("creditledger", "creditledger.records.entry", "creditledger.cli.main")
    or name.startswith("creditledger.transparency.")
]
"""What a program that only verifies loads: it starts fast and needs no accelerator's software."""


def heavy_loaded_by(name: str) -> list[str]:
    """Which heavy packages a fresh interpreter has loaded once it has imported the module."""
    program = f"import sys, {name}; print(*({{m.partition('.')[0] for m in sys.modules}} & {set(HEAVY)!r}))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    return sorted(loaded.stdout.split())


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_module_loads_nothing_heavy(name: str) -> None:
    assert heavy_loaded_by(name) == []


def test_a_heavy_module_would_be_noticed() -> None:
    assert "numpy" in heavy_loaded_by("numpy")
