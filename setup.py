"""Builds the native module with CMake and Ninja. Everything else is in pyproject.toml."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path(__file__).parent.resolve() / "csrc"


class CMakeExtension(Extension):
    """An extension whose sources and flags are in csrc/CMakeLists.txt."""

    def __init__(self, name: str) -> None:
        super().__init__(name, sources=[])


class CMakeBuild(build_ext):
    """Configures and builds csrc/ once, then puts the module where setuptools wants it."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = Path(self.build_temp).resolve() / ext.name
        build.mkdir(parents=True, exist_ok=True)
        # An earlier build's cache names tools inside pip's temporary build environment, which is gone.
        (build / "CMakeCache.txt").unlink(missing_ok=True)
        configure = [
            "cmake",
            "-S",
            str(SOURCE),
            "-B",
            str(build),
            "-G",
            "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DELMO_FAST_PYTHON=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target.parent}",
            f"-DELMO_FAST_CUDA={_cuda_choice()}",
            *os.environ.get("CMAKE_ARGS", "").split(),
        ]
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build)], check=True)


def _cuda_choice() -> str:
    choice = os.environ.get("ELMO_FAST_CUDA", "auto")
    if choice not in ("auto", "on", "off"):
        raise ValueError(f"ELMO_FAST_CUDA: expected auto, on or off, got {choice!r}")
    return choice


# The module _cuda is built along with it, into the same folder, where nvcc is found.
setup(ext_modules=[CMakeExtension("elmo_fast._cpu")], cmdclass={"build_ext": CMakeBuild})
