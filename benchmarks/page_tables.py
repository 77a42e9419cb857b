"""Puts tables into a page of docs/, between its two markers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

END = "<!-- end of the tables -->"


def begin(script: str) -> str:
    """The marker after which the tables of a script start."""
    return f"<!-- tables: benchmarks/{script} -->"


def head(*titles: str) -> tuple[str, str]:
    return line(*titles), "|---" * len(titles) + "|"


def line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def with_tables(page: Path, script: str, lines: Iterable[str]) -> str:
    """The page's text with these lines between its markers."""
    text = page.read_text(encoding="utf-8")
    mark = begin(script)
    if text.count(mark) != 1 or text.count(END) != 1:
        raise SystemExit(f"{page}: expected the lines {mark!r} and {END!r} once each")
    before, rest = text.split(mark)
    after = rest.split(END)[1]
    return f"{before}{mark}\n\n" + "\n".join(lines) + f"\n{END}{after}"


def replace_tables(page: Path, script: str, lines: Iterable[str]) -> None:
    """Writes the lines between the page's markers; the page is either written whole or not changed."""
    text = with_tables(page, script, lines)
    with tempfile.TemporaryDirectory(dir=page.parent) as folder:
        part = Path(folder) / page.name
        part.write_text(text, encoding="utf-8")
        os.replace(part, page)
