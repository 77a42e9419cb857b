"""Every code sample of README.md and docs/ runs, and prints what the page shows below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.doc_samples import PROJECT, is_run, outputs_of, pages, samples_of

PAGES = [pytest.param(page, id=page.relative_to(PROJECT).as_posix()) for page in pages() if samples_of(page)]

# Samples set elmo_fast's number of threads.
pytestmark = [
    pytest.mark.usefixtures("num_threads"),
    pytest.mark.skipif(not (PROJECT / "docs").is_dir(), reason="no docs/ beside the tests: not a source checkout"),
]


@pytest.mark.parametrize("page", PAGES)
def test_samples_print_what_the_page_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    samples = [sample for sample in samples_of(page) if is_run(sample)]
    for sample, printed in zip(samples, outputs_of(page, samples), strict=True):
        shown = "" if sample.output is None else sample.output.text
        assert printed == shown, f"{page}, line {sample.code.first + 1}"


@pytest.mark.parametrize("page", PAGES)
def test_samples_show_their_output_or_say_why_they_are_not_run(page: Path) -> None:
    for sample in samples_of(page):
        if sample.code.language == "python":
            where = f"{page}, line {sample.code.first + 1}"
            assert (sample.output is None) == sample.code.marked_as_not_run, where


def test_there_are_samples() -> None:
    assert len(PAGES) > 5


def test_a_sample_that_prints_something_else_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n", encoding="utf-8")
    (sample,) = samples_of(page)
    assert outputs_of(page, [sample]) == ["2\n"]
    assert sample.output is not None and sample.output.text == "3\n"


def test_a_sample_marked_as_not_run_is_left_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: needs a file -->\n\n```python\nopen('x')\n```\n", encoding="utf-8")
    assert [is_run(sample) for sample in samples_of(page)] == [False]
