"""A hook of MkDocs: links from the pages of docs/ to files of the repository that the site does not have.

In the repository such a link is relative and works where its files are browsed. The site links to the repository's
address where mkdocs.yml has a `repo_url`, and shows the file's path behind the text where it has none. A link to a file
that does not exist is a warning, which --strict makes an error.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent

log = logging.getLogger("mkdocs.plugins.docs_links")

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>\.\./[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Replaces the links of a page that leave docs/."""
    docs = Path(config["docs_dir"]).resolve()
    folder = docs / Path(page.file.src_uri).parent

    def replaced(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(folder / match["target"]))
        if path.is_relative_to(docs):
            return match[0]
        if not path.exists() or not path.is_relative_to(PROJECT):
            log.warning("Doc file '%s' links to '%s', which the repository does not have.", page.file.src_uri, path)
        name = path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else match["target"]
        if not config["repo_url"]:
            return f"`{name}`" if match["text"].rstrip("/") in name else f"{match['text']} (`{name}`)"
        kind = "tree" if path.is_dir() else "blob"
        address = f"{config['repo_url'].rstrip('/')}/{kind}/main/{name}"
        return f"[{match['text']}]({address}{match['anchor'] or ''})"

    return _LINK.sub(replaced, markdown)
