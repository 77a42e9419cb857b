"""Builds the native module with CMake and Ninja. Everything else is in pyproject.toml."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path(__file__).parent.resolve() / "csrc"


WITHOUT_CUDA = "the CPU package is complete without"
CUDA_MODULE = "elmo_fast._cuda"
CUDA_CHOICE = os.environ.get("ELMO_FAST_CUDA", "auto")


class CMakeExtension(Extension):
    """An extension whose sources and flags are in csrc/CMakeLists.txt, as the target of its last name."""

    def __init__(self, name: str, *, optional: bool = False) -> None:
        super().__init__(name, sources=[], optional=optional)


class CMakeBuild(build_ext):
    """Configures csrc/ once, builds each module, and puts it where setuptools wants it.

    With ELMO_FAST_CUDA=auto a CUDA compiler that does not work costs the CUDA kernels alone.
    """

    def run(self) -> None:
        # Not setuptools' temporary folder, which is a new one for every editable install: here only what changed is
        # compiled again.
        python = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
        self._build = SOURCE.parent / "build" / python / "csrc"
        self._build.mkdir(parents=True, exist_ok=True)
        wants_cuda = any(ext.name == CUDA_MODULE for ext in self.extensions)
        try:
            self._configure(wants_cuda)
        except subprocess.CalledProcessError:
            if not wants_cuda or CUDA_CHOICE == "on":
                raise
            self.extensions = [ext for ext in self.extensions if ext.name != CUDA_MODULE]
            self._configure(False)
            wants_cuda = False
        if not wants_cuda:
            self._remove_cuda()
            print(f"elmo_fast: no CUDA compiler that works, or ELMO_FAST_CUDA={CUDA_CHOICE}: {WITHOUT_CUDA}")
        super().run()

    def _configure(self, cuda: bool) -> None:
        import pybind11

        # An earlier build's cache names tools inside pip's temporary build environment, which is gone.
        (self._build / "CMakeCache.txt").unlink(missing_ok=True)
        configure = [
            "cmake",
            "-S",
            str(SOURCE),
            "-B",
            str(self._build),
            "-G",
            "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DELMO_FAST_PYTHON=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        ]
        if cuda:
            configure += ["-DELMO_FAST_CUDA=ON", f"-DCMAKE_CUDA_COMPILER={NVCC}"]
        subprocess.run([*configure, *os.environ.get("CMAKE_ARGS", "").split()], check=True)

    def _remove_cuda(self) -> None:
        """Removes what an earlier build left: kernels older than the Python beside them."""
        name = self.get_ext_filename(CUDA_MODULE)
        for folder in (Path(self.build_lib), Path(__file__).parent):
            (folder / name).unlink(missing_ok=True)

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        name = ext.name.rpartition(".")[2]
        try:
            subprocess.run(["cmake", "--build", str(self._build), "--target", name], check=True)
        except subprocess.CalledProcessError:
            if not ext.optional:
                raise
            print(f"elmo_fast: the CUDA kernels do not compile here: {WITHOUT_CUDA}")
            self._remove_cuda()
            return
        (built,) = self._build.glob(f"modules/{name}.*")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a process may run the old one: it keeps its file
        shutil.copy(built, target)


def find_nvcc() -> str | None:
    """CUDA's compiler as ELMO_FAST_CUDA wants it: "auto" (the default) takes it where it is, "on" insists, "off" does
    without."""
    if CUDA_CHOICE not in ("auto", "on", "off"):
        raise ValueError(f"ELMO_FAST_CUDA: expected auto, on or off, got {CUDA_CHOICE!r}")
    if CUDA_CHOICE == "off":
        return None
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("nvcc", path=os.path.join(home, "bin"))
    if nvcc is None and CUDA_CHOICE == "on":
        raise FileNotFoundError(
            "ELMO_FAST_CUDA=on: expected CUDA's compiler, found no nvcc: put it on PATH or in CUDACXX"
        )
    return nvcc


NVCC = find_nvcc()
modules = [CMakeExtension("elmo_fast._cpu")]
if NVCC:
    modules.append(CMakeExtension(CUDA_MODULE, optional=CUDA_CHOICE == "auto"))
setup(ext_modules=modules, cmdclass={"build_ext": CMakeBuild})
