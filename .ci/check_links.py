"""Checks the relative links of the Markdown files outside docs/: README.md, CONTRIBUTING.md and the folders' READMEs.

    python .ci/check_links.py

The files and headings that they name must exist. Pages of docs/ are checked by `mkdocs build --strict`; addresses of
the web are not asked for.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

PROJECT = Path(__file__).resolve().parent.parent

_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)")
_FENCE = re.compile(r"^ *(```|~~~)")


def main() -> int:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    pages = [PROJECT / name for name in names if not name.startswith("docs/") and (PROJECT / name).is_file()]
    problems = [problem for page in pages for problem in problems_of(page)]
    print("\n".join([*problems, f"{len(pages)} files, {len(problems)} broken links"]))
    return 1 if problems else 0


def problems_of(page: Path) -> Iterator[str]:
    """Yields one line per broken link of a page."""
    text = re.sub(r"`[^`\n]*`", "", _without_fences(page))
    for match in _LINK.finditer(text):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path = (page.parent / unquote(target)).resolve() if target else page
        number = text.count("\n", 0, match.start()) + 1
        where = f"{page.relative_to(PROJECT)}:{number}: {match['target']}"
        if not path.exists() or not path.is_relative_to(PROJECT):
            yield f"{where}: no such file"
        elif anchor and path.suffix == ".md" and anchor not in set(_anchors(path)):
            yield f"{where}: no such heading"


def _without_fences(page: Path) -> str:
    """The text of a page, its fenced lines left empty."""
    inside = False
    lines = []
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = bool(_FENCE.match(line))
        lines.append("" if inside or fence else line)
        inside ^= fence
    return "\n".join(lines)


def _anchors(page: Path) -> Iterator[str]:
    """The anchors of a page's headings, as hosts of repositories make them."""
    for line in _without_fences(page).splitlines():
        if heading := re.match(r"#+ +(.+?) *#*$", line):
            yield re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())
