"""Checks that the package uses nothing of torch that its oldest supported version lacks.

The x86-64 wheels of old torch versions bring gigabytes of CUDA libraries, so the oldest version is not run: the type
checker reads the Python sources and stubs of its small aarch64 wheel. What it reports there and not with the installed
torch is an API that the floor does not have. (Typing differences of the two versions' stubs come out alike.)

    python .ci/check_torch_floor.py FOLDER_FOR_DOWNLOADS
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

FLOOR = "2.4.0"
# Codes that mean "this name, argument or overload does not exist"; the others are opinions about types.
MISSING = re.compile(r"\[(attr-defined|call-arg|call-overload|import-not-found|name-defined)\]$")


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder),
         "--platform", "manylinux2014_aarch64", "--python-version", "3.11", f"torch=={FLOOR}"],
        check=True,
    )  # fmt: skip
    wheel = next(folder.glob(f"torch-{FLOOR}-*.whl"))
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site, [name for name in archive.namelist() if name.endswith((".py", ".pyi", "py.typed"))])
    new = sorted(_errors(folder / "cache_floor", site) - _errors(folder / "cache_now", None))
    for line in new:
        print(line)
    print(f"torch {FLOOR}: {len(new)} uses of an API it does not have")
    return 1 if new else 0


def _errors(cache: Path, search_path: Path | None) -> set[str]:
    environment = dict(os.environ, MYPYPATH=str(search_path or ""))
    # Not with pyproject.toml's settings, which ignore the errors of most modules.
    command = [sys.executable, "-m", "mypy", "--config-file="]
    command += ["--follow-imports=silent", "--ignore-missing-imports", "-p", "elmo_fast"]
    done = subprocess.run(
        [*command, "--cache-dir", str(cache)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):  # 2: mypy itself failed
        raise SystemExit(done.stdout + done.stderr)
    return {line for line in done.stdout.splitlines() if MISSING.search(line)}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
