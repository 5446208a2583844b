"""docs/private-parts.md lists exactly the private names of other packages that are used."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "docs" / "private-parts.md"
CONTRACTS = ROOT / "tests" / "contracts"
#: Documented by Django, in spite of their names.
DOCUMENTED = {"_meta", "_state", "_default_manager", "_base_manager"}
#: | package | part | file | why | risk | contract test |
_ROW = re.compile(r"\| [^|]+ \| `(_\w+)` \| `([\w/.]+)` \| [^|]+ \| [^|]+ \| `(test_\w+\.py)` \|")

PACKAGES = ("aily", "accounts", "chat")
BY_NAME = ("getattr", "setattr", "hasattr", "delattr")

Use = tuple[str, str]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@cache
def sources() -> dict[Path, ast.Module]:
    files = [ROOT / "manage.py"]
    for package in PACKAGES:
        files += (ROOT / package).rglob("*.py")
    return {path: ast.parse(path.read_text()) for path in files if "migrations" not in path.parts}


def defined_in(tree: ast.AST) -> set[str]:
    """Names of all functions, classes and variables in it, and of all attributes that it sets."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("self", "cls")
        ):
            found.add(node.attr)
    return found


@cache
def own_names() -> set[str]:
    return {name for tree in sources().values() for name in defined_in(tree)}


def private_uses(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """Private names that the module takes from others: attributes, imports, and `getattr`s.

    `own`: names of the project, which may be inherited from another module.
    """
    here = defined_in(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            base = node.value
            is_self = isinstance(base, ast.Name) and base.id in ("self", "cls")
            if node.attr not in (own if is_self else here) or _is_super(base):
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from node.module.split(".")
            if node.module.split(".")[0] not in PACKAGES:
                yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from _by_name(node, here)


def _is_super(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    )


def _by_name(call: ast.Call, here: set[str]) -> Iterator[str]:
    if isinstance(call.func, ast.Name) and call.func.id in BY_NAME:
        given = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
        yield from (name for name in given if isinstance(name, str) and name not in here)


def overridden(tree: ast.Module) -> Iterator[str]:
    """Methods of its classes that a class of another package has as well."""
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names = [base.id for base in node.bases if isinstance(base, ast.Name)]
            bases = [_foreign(*imported[name]) for name in names if name in imported]
            methods = [
                method.name
                for method in node.body
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
            ]
            yield from (name for name in methods if any(hasattr(base, name) for base in bases))


def _foreign(module: str, name: str) -> object:
    if module.split(".")[0] in PACKAGES:
        return None
    try:
        return getattr(importlib.import_module(module), name, None)
    except RuntimeError:
        # allauth, which is no installed app here: its `super()` calls show.
        return None


def uses() -> set[Use]:
    return {
        (name, str(path.relative_to(ROOT)))
        for path, tree in sources().items()
        for name in (*private_uses(tree, own_names()), *overridden(tree))
        if is_private(name) and name not in DOCUMENTED
    }


def listed() -> dict[Use, str]:
    """The contract test of each part and file in the first table."""
    return {(name, path): test for name, path, test in _ROW.findall(LIST.read_text())}


def test_every_private_name_is_listed_and_every_listed_one_used() -> None:
    assert set(listed()) == uses()


def test_each_has_its_contract_test() -> None:
    text = LIST.read_text()
    for name in set(re.findall(r"`(test_\w+\.py)`", text)):
        assert (CONTRACTS / name).exists(), name
    for (part, _), name in listed().items():
        assert part in (CONTRACTS / name).read_text(), f"{part} in {name}"


def test_pinned_packages_have_an_exact_version() -> None:
    requirements = (ROOT / "requirements.txt").read_text().lower()
    # | Twisted, **pinned** | or | daphne, autobahn, **pinned** |
    rows = re.findall(r"^\| ([^|]+), \*\*pinned\*\* \|", LIST.read_text(), re.MULTILINE)
    assert rows
    for package in {package for row in rows for package in row.split(", ")}:
        name = package.lower()
        assert re.search(rf"^{name}(\[\w+\])?==[\d.]+$", requirements, re.MULTILINE), package


def test_the_search_finds_what_it_is_for() -> None:
    code = """
from a._b import c
from d import _e
from django.middleware.csrf import CsrfViewMiddleware
import f._g
class X(CsrfViewMiddleware):
    def _own(self): return super()._h()
    def _reject(self): return self._own(), self.other._i, getattr(self, "_j", None), self._l
"""
    tree = ast.parse(code)
    found = {*private_uses(tree, defined_in(tree)), *overridden(tree)}
    assert set(filter(is_private, found)) == {"_b", "_e", "_g", "_h", "_i", "_j", "_l", "_reject"}
