"""Embedding of files into HDF5: AllenNLP's layout, and an output that is whole or absent."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.sample_sentences import ORDINARY

from elmo_fast import ElmoEmbedder
from elmo_fast.outputs.hdf5 import Counts, embed_lines

LINES = ["A first line .\n", "  another\tone \r\n", "\n", "A first line .\n", "last"]
TOKENS = [["A", "first", "line", "."], ["another", "one"], [], ["A", "first", "line", "."], ["last"]]


@pytest.fixture
def embedder(tiny_model: tuple[str, str]) -> ElmoEmbedder:
    return ElmoEmbedder(*tiny_model, state="reset")


def fake_embeddings(sentences: Iterator[list[str]]) -> Iterator[np.ndarray]:
    """(3, length, 2): cheap, and different for every sentence."""
    for number, sentence in enumerate(sentences):
        yield np.full((3, len(sentence), 2), number, np.float32) * np.array([1, 2, 6], np.float32)[:, None, None]


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {key: file[key][()] for key in file}


def only_file(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("output_format", ["all", "top", "average"])
def test_layout(embedder: ElmoEmbedder, tmp_path: Path, output_format: str) -> None:
    embedder.embed_file(io.StringIO("".join(LINES), newline="\n"), tmp_path / "out.hdf5", output_format)
    expected = embedder.embed_batch(TOKENS)
    content = read(tmp_path / "out.hdf5")
    del content["sentence_to_index"]
    assert set(content) == {"0", "1", "2", "3", "4"}
    for number, array in enumerate(expected):
        value = {"all": array, "top": array[-1], "average": array.mean(axis=0)}[output_format]
        assert content[str(number)].dtype == np.float32
        np.testing.assert_array_equal(content[str(number)], value)


def test_the_index_is_as_allennlp_writes_it(tmp_path: Path) -> None:
    embed_lines(LINES, fake_embeddings, tmp_path / "out.hdf5")
    with h5py.File(tmp_path / "out.hdf5") as file:
        dataset = file["sentence_to_index"]
        assert dataset.shape == (1,)
        assert h5py.check_string_dtype(dataset.dtype).length is None  # of variable length
        index = json.loads(dataset[0])
    # The line without the white space at its ends; numbers are strings; of equal lines the last one counts.
    assert index == {"A first line .": "3", "another\tone": "1", "": "2", "last": "4"}


def test_lines_end_at_a_line_feed_alone(embedder: ElmoEmbedder, tmp_path: Path) -> None:
    text = "one\x0btwo\x0cthree\x85four\u2028five\rsix\nseven"
    (tmp_path / "in.txt").write_bytes(text.encode())
    with open(tmp_path / "in.txt", encoding="utf-8", newline="\n") as file:
        embedder.embed_file(file, tmp_path / "out.hdf5")
        assert not file.closed
    content = read(tmp_path / "out.hdf5")
    assert [content[key].shape[1] for key in ("0", "1")] == [6, 1]
    assert len(content) == 3


def test_forget_sentences(tmp_path: Path) -> None:
    counts = embed_lines(LINES, fake_embeddings, tmp_path / "out.hdf5", forget_sentences=True)
    assert set(read(tmp_path / "out.hdf5")) == set("01234")
    assert counts == Counts(num_sentences=5, num_tokens=11)


def test_sentence_keys(tmp_path: Path) -> None:
    lines = ["a b\n", " and/or c \n", "and/not . d\n", "0\n", "ünï\n"]
    embed_lines(lines, fake_embeddings, tmp_path / "out.hdf5", use_sentence_keys=True)
    with h5py.File(tmp_path / "out.hdf5") as file:
        for number, line in enumerate(lines):
            assert file[line.strip()].shape == (3, len(line.split()), 2)
            assert (file[line.strip()][0] == number).all()
        assert json.loads(file["sentence_to_index"][0]) == {}  # as AllenNLP 0.9 writes it


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a", "b", "a "], "line 3: 'a': is a key already"),
        (["a/b", "a"], "line 2: 'a': is a key already, or the part of one"),
        (["a", "a/b"], "line 2: 'a/b': 'a' before its '/' is another line's key"),
        (["a", " "], "line 2: '': cannot be a key"),
        (["."], "line 1: '.': cannot be a key"),
        (["/"], "line 1: '/': cannot be a key"),
        (["a\0b"], "cannot be a key"),
        (["sentence_to_index"], "is the name of the index"),
    ],
)
def test_lines_that_cannot_be_keys(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        embed_lines(lines, fake_embeddings, tmp_path / "out.hdf5", use_sentence_keys=True)
    assert only_file(tmp_path) == []


def test_no_lines(tmp_path: Path) -> None:
    assert embed_lines([], fake_embeddings, tmp_path / "out.hdf5") == Counts(0, 0)
    assert json.loads(read(tmp_path / "out.hdf5")["sentence_to_index"][0]) == {}


def test_embed_file_replaces_as_allennlp_does(embedder: ElmoEmbedder, tmp_path: Path) -> None:
    for text in ("one\ntwo\n", "three\n"):
        embedder.embed_file(io.StringIO(text), tmp_path / "out.hdf5", forget_sentences=True)
    assert set(read(tmp_path / "out.hdf5")) == {"0"}


def test_embed_file_carries_the_state(tiny_model: tuple[str, str], tmp_path: Path) -> None:
    text = "".join(" ".join(sentence) + "\n" for sentence in ORDINARY)
    ElmoEmbedder(*tiny_model).embed_file(io.StringIO(text), tmp_path / "out.hdf5", batch_size=3)
    content = read(tmp_path / "out.hdf5")
    for number, array in enumerate(ElmoEmbedder(*tiny_model).embed_sentences(ORDINARY, 3)):
        np.testing.assert_array_equal(content[str(number)], array)


def test_wrong_arguments(embedder: ElmoEmbedder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="output_format: expected one of 'all', 'top', 'average', got 'middle'"):
        embedder.embed_file(io.StringIO("a\n"), tmp_path / "out.hdf5", "middle")
    with pytest.raises(ValueError, match="batch_size"):
        embedder.embed_file(io.StringIO("a\n"), tmp_path / "out.hdf5", batch_size=0)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        embedder.embed_file(io.StringIO("a\n"), tmp_path / "nowhere" / "out.hdf5")
    with pytest.raises(FileExistsError, match="not a regular file"):
        embedder.embed_file(io.StringIO("a\n"), tmp_path)
    assert only_file(tmp_path) == []


def test_existing_output(tmp_path: Path) -> None:
    (tmp_path / "out.hdf5").write_text("precious")
    with pytest.raises(FileExistsError, match="exists already"):
        embed_lines(["a"], fake_embeddings, tmp_path / "out.hdf5")
    assert (tmp_path / "out.hdf5").read_text() == "precious"
    assert only_file(tmp_path) == ["out.hdf5"]


def test_an_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    def embeddings(sentences: Iterator[list[str]]) -> Iterator[np.ndarray]:
        yield from fake_embeddings(sentences)
        (tmp_path / "out.hdf5").write_text("precious")

    with pytest.raises(FileExistsError):
        embed_lines(["a"], embeddings, tmp_path / "out.hdf5")
    assert (tmp_path / "out.hdf5").read_text() == "precious"
    assert only_file(tmp_path) == ["out.hdf5"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.hdf5").symlink_to(tmp_path / "real" / "out.hdf5")
    embed_lines(["a"], fake_embeddings, tmp_path / "link.hdf5")
    assert (tmp_path / "link.hdf5").is_symlink()
    assert "0" in read(tmp_path / "real" / "out.hdf5")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_nothing_half_written(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "out.hdf5").write_text("the old one")

    def embeddings(sentences: Iterator[list[str]]) -> Iterator[np.ndarray]:
        yield from fake_embeddings(iter([next(iter(sentences))]))
        raise error

    with pytest.raises(error):
        embed_lines(["a", "b"], embeddings, tmp_path / "out.hdf5", overwrite=True)
    assert (tmp_path / "out.hdf5").read_text() == "the old one"
    assert only_file(tmp_path) == ["out.hdf5"]


@pytest.mark.parametrize("num_lines", [1, 40])
def test_a_full_disk(tmp_path: Path, capfd: pytest.CaptureFixture[str], num_lines: int) -> None:
    """A limit on file sizes stands for the disk: the same error from the same calls. One line fails while closing."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def embeddings(sentences: Iterator[list[str]]) -> Iterator[np.ndarray]:
        return (np.ones((3, 10, 128), np.float32) for _ in sentences)

    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000 if num_lines == 1 else 200_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            embed_lines((f"line {i}" for i in range(num_lines)), embeddings, tmp_path / "out.hdf5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(tmp_path / "out.hdf5")
    assert only_file(tmp_path) == []
    assert capfd.readouterr().err == ""  # HDF5 would print pages of its own errors


def test_an_unwritable_folder_names_the_output(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(PermissionError) as caught:
        embed_lines(["a"], fake_embeddings, folder / "out.hdf5")
    assert caught.value.filename == str(folder / "out.hdf5")
