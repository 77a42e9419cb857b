"""The program that the type checkers read: it runs, and what it prints has the types that they were told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import elmo_fast

SCRIPT = Path(__file__).resolve().parent / "user_script.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(elmo_fast.__file__).resolve().parent.parent)}


def test_a_users_program_runs(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(SCRIPT)], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "(2, 128)",
        "[(2, 128), (1, 128)]",
        "1",
        "('reset', 'float32', 'float32', 3, 128)",
        "(3, 2, 128)",
        "(2, 2, 5)",
        "(1, 2, 4)",
        f"missing: {Path('nowhere') / 'options.json'}: no such file",
    ]
