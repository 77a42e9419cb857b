"""Child processes that import the package that this process tests."""

from __future__ import annotations

import os
from pathlib import Path

import elmo_fast

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(elmo_fast.__file__).resolve().parent.parent)}
