"""An extension of griffe: puts the blank line above each section of a docstring that its parser wants to see."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"(?<!\n)\n(?=(Args|Attributes|Raises|Returns|Yields|Source):(\n| [^\n]))")


class SpacedSections(griffe.Extension):
    """`Args:`, `Returns:` and the other sections follow one another without blank lines in this project."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _SECTION.sub("\n\n", obj.docstring.value)
