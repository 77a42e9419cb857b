"""Checks the module `_cuda` on a machine without a GPU: it loads beside any torch, exports one symbol, and says clearly
that there is no device.

    python .ci/check_cuda_module.py MODULE
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys


def main() -> int:
    path = sys.argv[1]
    exported = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    symbols = [line.split()[-1] for line in exported.splitlines()]
    assert symbols == ["PyInit__cuda"], f"expected PyInit__cuda alone, got {symbols}"
    needed = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    assert "cudart" not in needed and "torch" not in needed, needed
    spec = importlib.util.spec_from_file_location("_cuda", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    count = module.device_count()
    print(f"{path}: {count} devices")
    if count == 0:
        try:
            module.check_device(0)
        except RuntimeError as error:
            assert "cuda" in str(error), error
            print(f"used without a device: {type(error).__name__}: {error}")
        else:
            raise AssertionError("check_device(0): expected a RuntimeError without a device")
    return 0


if __name__ == "__main__":
    sys.exit(main())
