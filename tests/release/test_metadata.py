"""The version is the same wherever it is written."""

from __future__ import annotations

import re
from pathlib import Path

import elmo_fast

PROJECT = Path(__file__).resolve().parents[2]


def written(file: str, pattern: str) -> str:
    match = re.search(pattern, (PROJECT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert match, f"{file}: expected a line like {pattern}"
    return match[1]


def test_the_citation_names_this_version() -> None:
    assert written("CITATION.cff", r"^version: (\S+)$") == elmo_fast.__version__


def test_the_changelog_begins_with_this_version() -> None:
    assert written("CHANGELOG.md", r"^## (\S+)") == elmo_fast.__version__
