"""Prints ptxas's report on each CUDA kernel, and fails if one spills registers or an architecture is missing.

    python .ci/check_spills.py LOG [TABLE]

LOG is the output of CMake and of a build with -Xptxas=-v; TABLE, if given, is written as Markdown.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

COMPILING = re.compile(r"Compiling entry function '(\S+)' for 'sm_(\d+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
CHOSEN = re.compile(r"CUDA kernels for (\S+): ")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def main() -> int:
    found: dict[str, dict[str, tuple[int, int, int]]] = defaultdict(dict)
    name = arch = ""
    spills = 0
    log = Path(sys.argv[1]).read_text(errors="replace")
    for line in log.splitlines():
        if match := COMPILING.search(line):
            name, arch = match.groups()
        elif match := SPILLS.search(line):
            spills = sum(map(int, match.groups()))
        elif match := USED.search(line):
            found[name][arch] = int(match[1]), int(match[2] or 0), spills
    if not found:
        print(f"{sys.argv[1]}: expected ptxas's report of kernels, got none")
        return 1
    readable = subprocess.run(["c++filt"], input="\n".join(found), capture_output=True, text=True, check=True)
    archs = sorted({arch for kernel in found.values() for arch in kernel}, key=int)
    chosen = CHOSEN.search(log)
    wanted = [arch.removesuffix("-real") for arch in chosen[1].split(";") if "virtual" not in arch] if chosen else []
    if archs != wanted:
        print(f"{sys.argv[1]}: expected the architectures that CMake names, {wanted}, got {archs}")
        return 1
    lines = [
        "Registers of a thread; behind + bytes of static shared memory.",
        "",
        f"| kernel | {' | '.join('sm_' + arch for arch in archs)} |",
        f"|---|{'---|' * len(archs)}",
    ]
    bad = []
    for mangled, kernel in zip(found, readable.stdout.splitlines(), strict=True):
        short = re.sub(r"^void |elmo_fast::gpu::|\(anonymous namespace\)::|\(.*$", "", kernel)
        cells = []
        for arch in archs:
            registers, shared, spilled = found[mangled].get(arch, (0, 0, 0))
            cells.append(
                f"{registers}" + (f" + {shared}" if shared else "") + (f" SPILLS {spilled}" if spilled else "")
            )
            if spilled:
                bad.append(f"{short} for sm_{arch}: {spilled} bytes of stack and spills, expected 0")
        lines.append(f"| {short} | {' | '.join(cells)} |")
    text = "\n".join([*lines[:4], *sorted(lines[4:])]) + "\n"
    print(text)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(text)
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
