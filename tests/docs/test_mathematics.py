"""The mathematics pages: every function and every test that they name exists."""

import ast
import importlib
import re
from functools import cache, reduce
from pathlib import Path

import pytest

from nc_jax import theory

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "mathematics").glob("*.md"))
REFERENCE = re.compile(r"\{(?:func|class|attr|meth|mod)\}`([\w.]+)`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def resolved(name: str) -> object:
    """The object of a dotted name: a module, or an attribute of the longest module in it."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        return reduce(member, parts[end:], module)
    raise ModuleNotFoundError(name)


def member(owner: object, name: str) -> object:
    """An attribute, or the type of a field that has no default."""
    fields = getattr(owner, "__annotations__", {})
    return fields[name] if name in fields else getattr(owner, name)


@cache
def functions_of(path: str) -> set[str]:
    """The functions that a test file defines."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def statements(page: Path) -> list[str]:
    """The sections of a page, each a statement with its source, function and test."""
    return page.read_text(encoding="utf-8").split("\n## ")[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_functions_and_tests_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in REFERENCE.findall(text):
        resolved(name)
    for path, function in TEST.findall(text):
        assert function in functions_of(path), f"{path} has no {function}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem not in ("index", "solvers")], ids=lambda p: p.stem
)
def test_each_statement_has_a_source_and_a_test(page):
    for statement in statements(page):
        title = statement.partition("\n")[0]
        assert re.search(r"^- Sources?: ", statement, re.MULTILINE), title
        assert TEST.search(statement), title


def test_every_function_of_theory_is_explained():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    # Searches for roots are methods, not statements.
    methods = ("nc_jax.theory.brackets", "nc_jax.theory.roots")
    functions = {
        name
        for name in theory.__all__
        if name.islower() and getattr(theory, name).__module__ not in methods
    }
    assert functions <= {name.removeprefix("nc_jax.theory.") for name in REFERENCE.findall(text)}
