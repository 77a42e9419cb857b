"""Runs the checks of the emulated CUDA kernels: in every build and schedule, and with every fault planted.

    python tests/gpu_emu/run.py BUILD_PLAIN BUILD_ADDRESS BUILD_THREAD

The three are CMake build folders, without sanitizers, with AddressSanitizer and UndefinedBehaviorSanitizer, and with
ThreadSanitizer. Exit code 0: the kernels are right under all of them, the emulator sees its planted bugs, and each
mutant of a kernel is caught by one of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SCHEDULES = (["in_order"], ["reverse"], ["random", "1"])
SANITIZERS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:report_thread_leaks=0:history_size=4",
}
# The kernel whose cases show a mutant, by the beginning of its name: the others are spared.
KERNELS = {
    "kCharCnn": "char_cnn",
    "kHighway": "highway",
    "kMix": "scalar_mix",
    "kProduct": "lstm_products float32",
    **dict.fromkeys(
        ("kAhead", "kPersistent", "kSums", "kUpdate", "kFinish", "kCellsReady", "kGridSync"), "lstm_persistent bfloat16"
    ),
}


def run(build: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of a build to its end."""
    command = [str(build / "gpu_emu" / program), *arguments]
    environment = os.environ | SANITIZERS
    return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=120)


def main() -> int:
    builds = dict(zip(("plain", "address", "thread"), map(Path, sys.argv[1:4]), strict=True))
    failures: list[str] = []

    def check_schedule(name: str, schedule: list[str]) -> None:
        done = run(builds[name], "kernel_check", "--schedule", *schedule)
        print(f"{name:8} {schedule[0]:9} {done.stdout.strip().splitlines()[-1:]}", flush=True)
        if done.returncode:
            failures.append(f"kernel_check, {name}, {schedule[0]}:\n{done.stdout}{done.stderr}")

    def check_emulator(name: str, bug: str, seen_by: str) -> None:
        if bug == "":
            done = run(builds[name], "emulator_check")
            if done.returncode:
                failures.append(f"emulator_check, {name}:\n{done.stdout}{done.stderr}")
        elif seen_by == name:
            done = run(builds[name], "emulator_check", bug)
            if "Sanitizer" not in done.stderr and "runtime error" not in done.stderr:
                failures.append(f"emulator_check: {bug} was not seen in the build {name}:\n{done.stdout}{done.stderr}")

    def check_mutant(mutant: str) -> None:
        only = next((kernel for prefix, kernel in KERNELS.items() if mutant.startswith(prefix)), "lstm_steps float")
        for name, build in builds.items():
            try:
                done = run(build, "kernel_check", "--mutant", mutant, "--only", only)
            except subprocess.TimeoutExpired:
                continue
            if done.returncode:
                lines = [line for line in done.stderr.splitlines() if "SUMMARY" in line or "error:" in line]
                seen = [*lines, *done.stdout.splitlines(), f"exit code {done.returncode}"][0]
                print(f"{mutant:24} {name:8} {seen[:110]}", flush=True)
                return
        failures.append(f"mutant {mutant}: not caught")

    bugs = [line.split() for line in run(builds["plain"], "emulator_check", "--list").stdout.splitlines()]
    mutants = run(builds["plain"], "kernel_check", "--list").stdout.split()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = [pool.submit(check_schedule, name, schedule) for name in builds for schedule in SCHEDULES]
        tasks += [pool.submit(check_emulator, name, bug, by) for name in builds for bug, by in (("", ""), *bugs)]
        tasks += [pool.submit(check_mutant, mutant) for mutant in mutants]
        for task in tasks:
            task.result()
    print(f"{len(mutants)} mutants, {len(bugs)} planted bugs; {len(failures)} failures")
    for failure in failures:
        print(f"--- {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
