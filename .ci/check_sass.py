"""Checks the machine code of the CUDA module: what must be there for speed, and what must not.

    python .ci/check_sass.py MODULE ARCHITECTURE...

Needs cuobjdump and nvdisasm, on PATH or from the packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

OPERATION = re.compile(r"\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]+)")
# kernel: (expected, forbidden), by the beginning of an instruction's name.
RULES = {
    "lstm_persistent_kernel": (
        # Tensor cores; weights from shared memory; what other blocks wrote from beyond the L1 cache; the same vectors.
        ("HMMA.16816.F32", "LDS.128", "LDG.E.128.STRONG.GPU"),
        ("LDL", "STL", "LD.E.128"),
    ),
    "lstm_cells_kernel": (("LDG.E.128",), ("LDL", "STL")),
    "lstm_outputs_kernel": (("LDG.E.128",), ("LDL", "STL")),
    "": ((), ("LDL", "STL")),
}


def tools() -> dict[str, str]:
    """Returns an environment whose PATH has the tools of the Python packages, too."""
    packages = Path(sysconfig.get_path("purelib"))
    folders = [str(path.parent) for path in packages.glob("nvidia/**/bin/cuobjdump")]
    return os.environ | {"PATH": os.pathsep.join([*folders, os.environ["PATH"]])}


def operations(module: str, arch: str) -> dict[str, Counter[str]]:
    """Returns, for each kernel of an architecture, how often each instruction occurs."""
    environment = tools()
    program = shutil.which("cuobjdump", path=environment["PATH"])
    if program is None:
        raise SystemExit("expected cuobjdump: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
    command = [program, "-sass", "-arch", arch, module]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr or done.stdout}")
    found: dict[str, Counter[str]] = {}
    kernel: Counter[str] = Counter()
    for line in done.stdout.splitlines():
        if "Function :" in line:
            kernel = found.setdefault(line.split()[-1], Counter())
        elif match := OPERATION.search(line):
            kernel[match[1]] += 1
    return found


def main() -> int:
    module, *archs = sys.argv[1:]
    problems = []
    for arch in archs:
        found = operations(module, arch)
        seen: Counter[str] = Counter()
        for name, counted in found.items():
            rule = next(rule for rule in RULES if rule in name)
            seen[rule] += 1
            for expected in RULES[rule][0]:
                if not any(operation.startswith(expected) for operation in counted):
                    problems.append(f"{arch}: {name}: expected {expected}, got none")
            for forbidden in RULES[rule][1]:
                # LDL is local memory, LDL_... would be another instruction; LD.E.128 a load that knows no memory.
                if n := sum(counted[o] for o in counted if o == forbidden or o.startswith(forbidden + ".")):
                    problems.append(f"{arch}: {name}: expected no {forbidden}, got {n}")
        missing = [rule for rule in RULES if rule and not seen[rule]]
        problems += [f"{arch}: expected a kernel {rule}, got none" for rule in missing]
        print(f"{arch}: machine code of {len(found)} kernels")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
