"""Tokenised sentences for tests that need no test data: ordinary ones, and strange ones."""

from __future__ import annotations

from pathlib import Path

ORDINARY = [
    line.split()
    for line in (Path(__file__).resolve().parents[2] / "examples" / "sentences.txt").read_text("utf-8").splitlines()
]

STRANGE = [
    [],
    ["👩‍👩‍👧", "👍🏽", "❤️"],
    ["x" * 10_000],
    [""],
    ["", "word", ""],
    ["<S>", "inside", "</S>"],
    ["\ud800", "lone", "surrogate"],
    ["\x00", "\t", " ", "\r"],
    ["日本語", "हिन्दी", "العربية"],
    ["the"] * 40,
]

ALL = [*ORDINARY[:8], *STRANGE, *ORDINARY[8:]]
