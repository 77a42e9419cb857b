"""The stubs of the compiled modules: the names, arguments, defaults and plain result types that the modules have."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

import elmo_fast

PACKAGE = Path(elmo_fast.__file__).resolve().parent
PLAIN_TYPES = {"int", "float", "str", "bool", "None"}
Definition = ast.FunctionDef | ast.ClassDef | ast.AnnAssign


def compiled(name: str) -> ModuleType:
    """The compiled module; for `_cuda` the emulated one will do, which has everything of it and more."""
    emulated = os.environ.get("ELMO_FAST_CUDA_EMU")
    if name == "_cuda" and emulated:
        sys.path.insert(0, emulated)
        try:
            return importlib.import_module("_cuda_emu")
        finally:
            sys.path.remove(emulated)
    try:
        return importlib.import_module(f"elmo_fast.{name}")
    except ImportError:
        if name == "_cpu":
            raise
        pytest.skip("the CUDA kernels are not built here, and ELMO_FAST_CUDA_EMU names no folder of the emulated ones")


def definitions(body: list[ast.stmt]) -> dict[str, Definition]:
    """What a stub's module or class defines, without type aliases and other private names."""
    found: dict[str, Definition] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return {name: node for name, node in found.items() if not name.startswith("_") or name.endswith("__")}


def documented(docstring: str) -> ast.FunctionDef:
    """The signature that pybind11 puts at the head of a docstring."""
    (node,) = ast.parse(f"def {docstring.splitlines()[0]}: ...").body
    assert isinstance(node, ast.FunctionDef)
    return node


def arguments(node: ast.FunctionDef) -> tuple[list[str], list[str]]:
    names = [argument.arg for argument in node.args.args] + ["*"] * (node.args.vararg is not None)
    return names, [ast.unparse(default) for default in node.args.defaults]


def result(node: ast.FunctionDef) -> str:
    assert node.returns is not None
    return ast.unparse(node.returns)


def check_function(stub: Definition, function: object, name: str) -> None:
    assert isinstance(stub, ast.FunctionDef), name
    actual = documented(function.__doc__ or "")
    (stub_names, stub_defaults), (names, defaults) = arguments(stub), arguments(actual)
    assert stub_names == names, name
    assert len(stub_defaults) == len(defaults), name
    for in_stub, default in zip(stub_defaults, defaults, strict=True):
        assert in_stub in ("...", default), name
    check_result(stub, actual, name)


def check_result(stub: ast.FunctionDef, actual: ast.FunctionDef, name: str) -> None:
    if {result(stub), result(actual)} & PLAIN_TYPES:
        assert result(stub) == result(actual), name


def check_class(stub: Definition, class_: type, name: str) -> None:
    assert isinstance(stub, ast.ClassDef), name
    members = definitions(stub.body)
    own = {member for member in vars(class_) if not member.startswith("_")}
    assert own == {member for member in members if not member.startswith("_")}, name
    for member, node in members.items():
        actual = getattr(class_, member)
        if not isinstance(actual, property):
            if isinstance(node, ast.FunctionDef):
                check_function(node, actual, f"{name}.{member}")
        elif isinstance(node, ast.FunctionDef):
            assert actual.fset is None, f"{name}.{member} can be set"
            check_result(node, documented("f" + (actual.fget.__doc__ or "")), f"{name}.{member}")
        else:
            assert actual.fset is not None, f"{name}.{member} cannot be set"


@pytest.mark.parametrize("name", ["_cpu", "_cuda"])
def test_a_stub_is_that_of_its_module(name: str) -> None:
    module = compiled(name)
    stub = definitions(ast.parse((PACKAGE / f"{name}.pyi").read_text(encoding="utf-8")).body)
    names = {item for item in vars(module) if not item.startswith("_")}
    if module.__name__ == "_cuda_emu":
        names -= {"set_schedule", "set_device", "counters"}
    assert names == set(stub)
    for item, node in stub.items():
        actual = getattr(module, item)
        if isinstance(actual, type):
            check_class(node, actual, item)
        elif callable(actual):
            check_function(node, actual, item)
        else:
            assert isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == type(actual).__name__, item
