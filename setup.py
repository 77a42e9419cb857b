"""Builds the native modules with CMake and Ninja. Everything else is in pyproject.toml.

Environment variables: ELMO_FAST_CUDA (auto, on, off), ELMO_FAST_CUDA_ARCHS (csrc/cuda/architectures.cmake), and CMake's
own, CXX, CXXFLAGS, CUDACXX and CMAKE_ARGS among them.
"""

import filecmp
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PROJECT = Path(__file__).parent.resolve()
SOURCE = PROJECT / "csrc"

WITHOUT_CUDA = "the CPU package is complete without"
CUDA_MODULE = "elmo_fast._cuda"
CUDA_CHOICE = os.environ.get("ELMO_FAST_CUDA", "auto")
CUDA_ARCHS = os.environ.get("ELMO_FAST_CUDA_ARCHS", "")
# Who names architectures wants the kernels: a mistake there must not end in a package without them.
CUDA_INSISTS = CUDA_CHOICE == "on" or CUDA_ARCHS not in ("", "auto")

# What CMake or a compiler prints, and what that means to the person who installs.
DIAGNOSES = {
    r"No CMAKE_CXX_COMPILER could|environment variable CXX:|The C\+\+ compiler\s.*\sis not able": (
        "no C++ compiler that works (CXX: {cxx}). Install one (Debian, Ubuntu: apt install g++; Fedora: dnf install "
        "gcc-c++; macOS: xcode-select --install), or set CXX to one"
    ),
    r"""dialect "CXX17"|unrecognized[^\n]* ['‘"]-std=c\+\+17|invalid value 'c\+\+17'""": (
        "the C++ compiler (CXX: {cxx}) is too old: expected C++17, as GCC 9 and Clang 10 have it"
    ),
    r"Could NOT find Python .*Development.Module|Python\.h'?: No such file|'Python\.h' file not found": (
        "Python's C headers are missing for {python} (Debian, Ubuntu: apt install python3-dev; Fedora: dnf install "
        "python3-devel)"
    ),
    r"CMAKE_CUDA_COMPILER:|The CUDA compiler\s.*\sis not able|CompilerId/CUDA": (
        "no CUDA compiler that works ({nvcc}). Set CUDACXX to one, or ELMO_FAST_CUDA=off for a package without kernels "
        "for CUDA"
    ),
}


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
        self._folder = PROJECT / "build" / python
        self._build = self._folder / "csrc"
        self._build.mkdir(parents=True, exist_ok=True)
        wants_cuda = any(ext.name == CUDA_MODULE for ext in self.extensions)
        try:
            self._configure(wants_cuda)
        except BuildFailed:
            if not wants_cuda or CUDA_INSISTS:
                raise
            self.extensions = [ext for ext in self.extensions if ext.name != CUDA_MODULE]
            self._configure(False)
            wants_cuda = False
        if not wants_cuda:
            self._remove_cuda()
            print(f"elmo_fast: no CUDA compiler that works, or ELMO_FAST_CUDA={CUDA_CHOICE}: {WITHOUT_CUDA}")
        super().run()

    def _configure(self, cuda: bool) -> None:
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
            f"-Dpybind11_DIR={keep_pybind11(self._folder / 'pybind11')}",
        ]
        if cuda:
            configure += ["-DELMO_FAST_CUDA=ON", f"-DCMAKE_CUDA_COMPILER={NVCC}"]
            if CUDA_ARCHS:
                configure.append(f"-DELMO_FAST_CUDA_ARCHS={CUDA_ARCHS}")
        call([*configure, *os.environ.get("CMAKE_ARGS", "").split()])

    def _remove_cuda(self) -> None:
        """Removes what an earlier build left: kernels older than the Python beside them."""
        name = self.get_ext_filename(CUDA_MODULE)
        for folder in (Path(self.build_lib), PROJECT):
            (folder / name).unlink(missing_ok=True)

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        name = ext.name.rpartition(".")[2]
        try:
            call(["cmake", "--build", str(self._build), "--target", name])
        except BuildFailed:
            if not ext.optional:
                raise
            print(f"elmo_fast: the CUDA kernels do not compile here: {WITHOUT_CUDA}")
            self._remove_cuda()
            return
        (built,) = self._build.glob(f"modules/{name}.*")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a process may run the old one: it keeps its file
        shutil.copy(built, target)


class BuildFailed(SystemExit):
    """CMake or a compiler failed. Python, and so pip, prints the message as the last line: no traceback hides it."""


def call(command: list[str]) -> None:
    """Runs a command and shows its output.

    Raises:
        BuildFailed: It cannot be started or fails; with one line that says what is missing, as far as that is known.
    """
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise BuildFailed(f"elmo_fast: {command[0]} cannot be run: {error}") from None
    lines = []
    with process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode == 0:
        return
    raise BuildFailed(f"elmo_fast: {diagnosis(''.join(lines)) or f'{command[0]} failed, see above'}")


def diagnosis(output: str) -> str:
    """Says in one line what the output of CMake or a compiler means: in our words, or in theirs."""
    for sign, meaning in DIAGNOSES.items():
        if re.search(sign, output, re.DOTALL):
            return meaning.format(cxx=os.environ.get("CXX", "not set"), python=sys.executable, nvcc=NVCC)
    if paragraph := re.search(r"^CMake Error.*:\n\s*((?:.*\S.*\n)+)", output, re.MULTILINE):
        return " ".join(paragraph[1].partition("Call Stack")[0].split())
    error = re.search(r"^.*(?:\berror:|nvcc fatal).*$", output, re.MULTILINE)
    return error[0].strip() if error else ""


def keep_pybind11(folder: Path) -> Path:
    """Copies pybind11 into the build folder and returns the folder of its CMake files there.

    In pip's build environment its path and its times are new at every install, and all that includes it would be
    compiled again. A file whose content is the same is left alone.
    """
    import pybind11

    source = Path(pybind11.__file__).parent
    cmake_files = Path(pybind11.get_cmake_dir())
    if source not in cmake_files.parents:
        return cmake_files  # the system's pybind11, which does not move
    files = [path for part in ("include", "share") for path in (source / part).rglob("*") if path.is_file()]
    wanted = {folder / path.relative_to(source): path for path in files}
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    for path, original in wanted.items():
        if not path.is_file() or not filecmp.cmp(original, path, shallow=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, path)
    return folder / cmake_files.relative_to(source)


def find_nvcc() -> str | None:
    """CUDA's compiler as ELMO_FAST_CUDA wants it: "auto" (the default) takes it where it is, "on" insists, "off" does
    without."""
    if CUDA_CHOICE not in ("auto", "on", "off"):
        raise SystemExit(f"ELMO_FAST_CUDA: expected auto, on or off, got {CUDA_CHOICE!r}")
    if CUDA_CHOICE == "off":
        return None
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("nvcc", path=os.path.join(home, "bin"))
    if nvcc is None and CUDA_CHOICE == "on":
        raise SystemExit("ELMO_FAST_CUDA=on: expected CUDA's compiler, found no nvcc: put it on PATH or in CUDACXX")
    return nvcc


if "develop" in sys.argv:  # how pip below 21.3 makes an editable install, with whatever setuptools there is
    raise SystemExit("elmo_fast: an editable install needs pip 21.3 or newer: python -m pip install --upgrade pip")
NVCC = find_nvcc()
modules = [CMakeExtension("elmo_fast._cpu")]
if NVCC:
    modules.append(CMakeExtension(CUDA_MODULE, optional=not CUDA_INSISTS))
setup(ext_modules=modules, cmdclass={"build_ext": CMakeBuild})
