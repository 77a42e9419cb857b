"""setup.py: what a failing build says last, and that pybind11's copy changes only when pybind11 does.

That a second install compiles nothing is checked by .ci/run, on whole builds.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

setuptools = pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 or newer is not installed")

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def setup_py(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py defines, without its build."""
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.setenv("ELMO_FAST_CUDA", "off")
    return runpy.run_path(str(PROJECT / "setup.py"))


@pytest.fixture
def pybind11(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small stand-in for the package pybind11."""
    package = tmp_path / "site-packages" / "pybind11"
    for name in ("include/pybind11/cast.h", "include/pybind11/gone.h", "share/cmake/pybind11/pybind11Config.cmake"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(f"first {name}")
    module: Any = types.ModuleType("pybind11")
    module.__file__ = str(package / "__init__.py")
    module.get_cmake_dir = lambda: str(package / "share/cmake/pybind11")
    monkeypatch.setitem(sys.modules, "pybind11", module)
    return package


def test_pybind11_is_copied_once(setup_py: dict[str, Any], pybind11: Path, tmp_path: Path) -> None:
    kept = tmp_path / "build" / "pybind11"
    assert setup_py["keep_pybind11"](kept) == kept / "share/cmake/pybind11"
    cast, gone = kept / "include/pybind11/cast.h", kept / "include/pybind11/gone.h"
    config = kept / "share/cmake/pybind11/pybind11Config.cmake"
    for path in (cast, gone, config):
        os.utime(path, (1e9, 1e9))
    (pybind11 / "include/pybind11/cast.h").write_text("other include/pybind11/cast.h")  # as long as the first
    (pybind11 / "include/pybind11/gone.h").unlink()
    os.utime(pybind11 / "share/cmake/pybind11/pybind11Config.cmake")  # as pip leaves it: new, with the old content
    setup_py["keep_pybind11"](kept)
    assert cast.read_text() == "other include/pybind11/cast.h"
    assert cast.stat().st_mtime > 1e9
    assert not gone.exists()
    assert config.stat().st_mtime == 1e9


def test_the_systems_pybind11_is_used_where_it_is(setup_py: dict[str, Any], pybind11: Path, tmp_path: Path) -> None:
    sys.modules["pybind11"].get_cmake_dir = lambda: "/usr/lib/cmake/pybind11"
    assert setup_py["keep_pybind11"](tmp_path / "kept") == Path("/usr/lib/cmake/pybind11")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("CMake Error at CMakeLists.txt:6 (project):\n  No CMAKE_CXX_COMPILER could be found.\n", "no C++ compiler"),
        ('  The C++ compiler\n\n    "/bin/false"\n\n  is not able to compile a simple test', "no C++ compiler"),
        ("g++: error: unrecognized command line option ‘-std=c++17’; did you mean", "too old: expected C++17"),
        ("Could NOT find Python (missing: Python_INCLUDE_DIRS Development.Module)", "Python's C headers are missing"),
        ("module.cc:1:10: fatal error: Python.h: No such file or directory", "Python's C headers are missing"),
        ('  The CUDA compiler\n\n    "/bin/false"\n\n  is not able to compile a simple test', "no CUDA compiler"),
        ("CMake Error at a.cmake:3 (message):\n  expected nvcc 11.8,\n  got 11.2\nCall Stack (", "nvcc 11.8, got 11.2"),
        ("[3/9] Building\nFAILED: x.o\ng++ -c x.cc\nx.cc:7:1: error: expected ';'\n", "x.cc:7:1: error: expected ';'"),
        ("nvcc fatal   : Unsupported gpu architecture 'compute_120'\n", "Unsupported gpu architecture 'compute_120'"),
        ("no word of a reason", ""),
    ],
)
def test_diagnosis(setup_py: dict[str, Any], output: str, line: str) -> None:
    said = setup_py["diagnosis"](output)
    assert line in said and "\n" not in said
    assert bool(said) == bool(line)


def build(folder: Path, **environment: str) -> list[str]:
    """Builds a copy of the project in `folder`, which must fail; returns what it printed."""
    for tool in ("cmake", "ninja"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    pytest.importorskip("pybind11", reason="pybind11 is not installed")
    shutil.copy(PROJECT / "setup.py", folder)
    shutil.copytree(PROJECT / "csrc", folder / "csrc")
    for source in (folder / "csrc").rglob("*.cc"):
        source.write_text("#error nothing compiles\n")
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", str(folder / "lib")],
        cwd=folder, env={**os.environ, "ELMO_FAST_CUDA": "off", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    return done.stdout.strip().splitlines()


@pytest.mark.parametrize("compiler", ["/nonexistent/g++", "/bin/false"])
def test_the_last_line_without_a_compiler(tmp_path: Path, compiler: str) -> None:
    last = build(tmp_path, CXX=compiler)[-1]
    assert last.startswith(f"elmo_fast: no C++ compiler that works (CXX: {compiler}). Install one")


def test_the_last_line_of_an_error_in_the_source(tmp_path: Path) -> None:
    last = build(tmp_path)[-1]
    assert last.startswith("elmo_fast: ") and "csrc/" in last and last.endswith("error: #error nothing compiles")


def test_the_last_line_for_a_wrong_choice(tmp_path: Path) -> None:
    assert build(tmp_path, ELMO_FAST_CUDA="yes")[-1] == "ELMO_FAST_CUDA: expected auto, on or off, got 'yes'"
