"""Which GPU architectures the CUDA kernels are compiled for: csrc/cuda/architectures.cmake with stand-ins for nvcc and
nvidia-smi, and the build files that the real nvcc gets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")


def choose(tmp_path: Path, archs: str, gpus: str = "", *, nvcc: str = "13.0") -> str:
    """Runs the choice; returns the architectures, or what CMake says of an error."""
    scripts = {"nvcc": "compute_75\ncompute_80\ncompute_90\ncompute_100"}
    if gpus:
        scripts["nvidia-smi"] = gpus
    for name, output in scripts.items():
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
        script.chmod(0o755)
    (tmp_path / "ask.cmake").write_text(
        "cmake_minimum_required(VERSION 3.18)\n"  # as csrc/CMakeLists.txt has it
        f'include("{CSRC}/cuda/architectures.cmake")\nchoose_architectures()\nmessage("${{CMAKE_CUDA_ARCHITECTURES}}")\n'
    )
    definitions = [
        f"-DCMAKE_CUDA_COMPILER={tmp_path}/nvcc",
        f"-DCMAKE_CUDA_COMPILER_VERSION={nvcc}",
        *([f"-DELMO_FAST_CUDA_ARCHS={archs}"] if archs else []),
    ]
    # Only the stand-ins are found, not a driver of this machine.
    environment = {"PATH": f"{tmp_path}{os.pathsep}/bin"}
    done = subprocess.run(
        [shutil.which("cmake") or "cmake", *definitions, "-P", str(tmp_path / "ask.cmake")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("archs", "gpus", "expected"),
    [
        ("", "", "75-virtual;80-virtual;90-real"),
        ("auto", "", "75-virtual;80-virtual;90-real"),
        ("auto", "9.0", "90-real;90-virtual"),
        ("native", "9.0\n9.0", "90-real;90-virtual"),
        ("native", "10.0\n8.0", "80-real;100-real;80-virtual"),
        ("auto", "6.1", "75-virtual;80-virtual;90-real"),  # too old for the kernels
        ("auto", "6.1\n8.0", "80-real;80-virtual"),
        ("native", "12.1", "100-virtual"),  # newer than the compiler
        ("auto", "8.6", "80-virtual"),  # unknown to the compiler: the nearest older one's PTX runs there
        ("auto", "Failed to initialize NVML", "75-virtual;80-virtual;90-real"),
        ("80;90", "9.0", "80;90"),
        ("90-virtual", "", "90-virtual"),
        ("90a-real", "", "90a-real"),
        ("all", "9.0", "75-real;80-real;86-real;89-real;90-real;100-real;120-real;120-virtual"),
    ],
)
def test_choice(tmp_path: Path, archs: str, gpus: str, expected: str) -> None:
    assert choose(tmp_path, archs, gpus) == expected


def test_the_whole_list_of_an_older_compiler(tmp_path: Path) -> None:
    assert choose(tmp_path, "all", nvcc="12.4") == "75-real;80-real;86-real;89-real;90-real;90-virtual"


@pytest.mark.parametrize("archs", ["8.0", "70", "80;sm_90", "everything", "80-ptx"])
def test_a_wrong_list_is_an_error(tmp_path: Path, archs: str) -> None:
    wrong = archs.split(";")[-1]
    assert f'such as 80;90, got "{wrong}"' in choose(tmp_path, archs)


def test_native_without_a_gpu_is_an_error(tmp_path: Path) -> None:
    assert "ELMO_FAST_CUDA_ARCHS=native: expected a GPU of compute capability 7.5" in choose(tmp_path, "native")


@pytest.mark.skipif(not (shutil.which("nvcc") and shutil.which("ninja")), reason="nvcc or ninja is not installed")
def test_the_build_compiles_for_what_is_given(tmp_path: Path) -> None:
    """CMAKE_CUDA_ARCHITECTURES goes before ELMO_FAST_CUDA_ARCHS, also when CMake runs again."""
    pybind11 = pytest.importorskip("pybind11", reason="pybind11 is not installed")
    configure = [
        "cmake", "-S", str(CSRC), "-B", str(tmp_path), "-G", "Ninja", "-DELMO_FAST_PYTHON=ON", "-DELMO_FAST_CUDA=ON",
        "-DELMO_FAST_CUDA_ARCHS=all", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]  # fmt: skip
    for given in (["-DCMAKE_CUDA_ARCHITECTURES=89-real"], []):
        done = subprocess.run([*configure, *given], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "CUDA kernels for 89-real: as given" in done.stdout
        build = (tmp_path / "build.ninja").read_text(encoding="utf-8")
        assert "arch=compute_89,code=[sm_89]" in build
        assert "sm_80" not in build
