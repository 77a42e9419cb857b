"""Checks the exported symbols of the compiled files.

Each instruction-set unit must export its kernel table and nothing else: a function that the linker merges with another
unit's copy could bring AVX-512 code to a processor without it. The Python module must export only its initialiser,
need no libtorch, and stay small.

    python .ci/check_symbols.py OBJECT_FOLDER MODULE_OR_WHEEL
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LARGEST_MODULE = 5_000_000  # bytes
NEEDED = re.compile(r"lib(c|m|pthread|dl|rt|gcc_s|stdc\+\+)\.so|ld-linux")


def main(objects: Path, module: Path) -> int:
    problems = []
    units = sorted(objects.rglob("isa_*.cc.o"))
    names = [unit.name.removeprefix("isa_").removesuffix(".cc.o") for unit in units]
    print("units:", ", ".join(names))
    if len(units) < 2:
        problems.append(f"{objects}: expected the generic and at least one more unit, found {len(units)}")
    for unit, name in zip(units, names, strict=True):
        # A unit of the native tests that stands in for another one is not part of the library.
        if name.endswith("_emulated") or name == "wide_generic":
            continue
        problems += _exports_other_than(unit, f"elmo_fast_(kernels|int8|products)_{name}")
    for unit in sorted(objects.rglob("probe_*.cc.o")):
        name = unit.name.removeprefix("probe_").removesuffix(".cc.o")
        if name != "test":
            problems += _exports_other_than(unit, f"elmo_fast_probe_{name}")
    with tempfile.TemporaryDirectory() as folder:
        if module.suffix == ".whl":
            with zipfile.ZipFile(module) as wheel:
                inside = [name for name in wheel.namelist() if re.search(r"_cpu.*\.so$", name)]
                module = Path(wheel.extract(inside[0], folder))
        exported = _exported("nm", "--dynamic", "--defined-only", str(module))
        if exported != ["PyInit__cpu"]:
            problems.append(f"{module.name}: expected PyInit__cpu alone, got {exported}")
        dynamic = subprocess.run(["readelf", "-d", str(module)], capture_output=True, text=True, check=True).stdout
        libraries = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
        print("module:", module.stat().st_size, "bytes, needs", ", ".join(libraries))
        problems += [f"{module.name}: needs {lib}" for lib in libraries if not NEEDED.match(lib)]
        if module.stat().st_size > LARGEST_MODULE:
            problems.append(f"{module.name}: {module.stat().st_size} bytes, more than {LARGEST_MODULE}")
    print("\n".join(problems) or "symbols as they should be")
    return 1 if problems else 0


def _exports_other_than(unit: Path, symbol: str) -> list[str]:
    exported = _exported("nm", "--defined-only", "--extern-only", str(unit))
    if len(exported) == 1 and re.fullmatch(symbol, exported[0]):
        return []
    return [f"{unit.name}: expected {symbol} as its one symbol, got {exported}"]


def _exported(*command: str) -> list[str]:
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    # Initialiser's entry points that the linker adds to every shared object are not ours.
    return sorted(line.split()[-1] for line in lines if line and line.split()[-1] not in ("_init", "_fini"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
