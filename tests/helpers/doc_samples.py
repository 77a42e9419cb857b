"""The code samples of README.md and docs/, run as a reader would run them.

A sample is a fence of the language `python` (or `sh`), and the fence of the language `text` that follows it is what it
prints. The samples of a page run from top to bottom in one namespace and one empty folder, so a later sample may use
what an earlier one made. Of a `sh` sample the lines that start with `elmo-fast` are run; what that command prints is
not compared, for it tells times. A `python` fence without output, because it needs files or packages of the reader's
own, has the line `<!-- not run: reason -->` above it.

    PYTHONPATH=. python tests/helpers/doc_samples.py --write     # put what the samples print into the pages
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest.mock
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
NOT_RUN = re.compile(r"<!-- not run: .+ -->$")

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")


@dataclass
class Fence:
    """A fenced block of a page: its language, its text, and the numbers of its first and last line, from 0."""

    language: str
    text: str
    first: int
    last: int
    marked_as_not_run: bool


@dataclass
class Sample:
    """A sample and what the page says that it prints; None where it says nothing."""

    code: Fence
    output: Fence | None


def pages() -> list[Path]:
    """Returns README.md and every page of docs/."""
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def samples_of(page: Path) -> list[Sample]:
    """Returns the samples of a page, in their order."""
    fences = list(_fences(page.read_text(encoding="utf-8").split("\n")))
    samples = []
    for fence, following in itertools.zip_longest(fences, fences[1:]):
        if fence.language in ("python", "sh"):
            has_output = following is not None and following.language == "text" and following.first - fence.last <= 2
            samples.append(Sample(fence, following if has_output else None))
    return samples


def is_run(sample: Sample) -> bool:
    """Reports whether a sample is one to run."""
    return not sample.code.marked_as_not_run


def outputs_of(page: Path, samples: list[Sample]) -> list[str]:
    """Runs samples, in the current folder.

    Returns:
        what each prints to standard output; "" for `sh`.
    Raises:
        whatever a sample raises; subprocess.CalledProcessError for a command that fails.
    """
    namespace: dict[str, object] = {"__name__": "__sample__"}
    with unittest.mock.patch.dict(os.environ):  # samples may set variables
        return [_output_of(page, sample, namespace) for sample in samples]


def _fences(lines: list[str]) -> Iterator[Fence]:
    start: int | None = None
    language = indent = ""
    for number, line in enumerate(lines):
        match = _FENCE.match(line)
        if start is None:
            if match:
                start, language, indent = number, match["language"], match["indent"]
        elif line.strip() == "```":
            text = "".join(one.removeprefix(indent) + "\n" for one in lines[start + 1 : number])
            before = next((one.strip() for one in reversed(lines[:start]) if one.strip()), "")
            yield Fence(language, text, start, number, bool(NOT_RUN.match(before)))
            start = None


def _output_of(page: Path, sample: Sample, namespace: dict[str, object]) -> str:
    if sample.code.language == "sh":
        _run_commands(sample.code.text)
        return ""
    # The right line of the page in a traceback.
    program = compile("\n" * (sample.code.first + 1) + sample.code.text, str(page), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program, namespace)
    return printed.getvalue()


def _run_commands(script: str) -> None:
    for line in script.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["elmo-fast"]:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
            subprocess.run([sys.executable, "-m", "elmo_fast", *words[1:]], check=True, env=environment)


def _write(page: Path) -> None:
    samples = [sample for sample in samples_of(page) if is_run(sample)]
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            outputs = outputs_of(page, samples)
        finally:
            os.chdir(before)
    lines = page.read_text(encoding="utf-8").split("\n")
    for sample, output in reversed(list(zip(samples, outputs, strict=True))):
        if sample.output is not None:
            lines[sample.output.first + 1 : sample.output.last] = output.splitlines()
        elif output:
            lines[sample.code.last + 1 : sample.code.last + 1] = ["", "```text", *output.splitlines(), "```"]
    page.write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", required=True, help="put what the samples print into the pages")
    parser.add_argument("pages", type=Path, nargs="*", help="pages (default: README.md and docs/)")
    for page in parser.parse_args().pages or pages():
        _write(page.resolve())


if __name__ == "__main__":
    main()
