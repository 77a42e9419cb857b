"""Embeds a file of sentences, one per line, into HDF5 in the layout of AllenNLP 0.9.

One float32 dataset per line: (num_layers, length, dim) for "all", (length, dim) for "top" and "average". Its name is
the line's number as a string, or the line itself (`use_sentence_keys`). The dataset `sentence_to_index` holds one JSON
object that maps each line, without the white space at its ends, to its key; of equal lines the last one wins. It is
left out with `forget_sentences`, and empty with `use_sentence_keys`.

The output appears whole or not at all: it is written to a temporary file beside it and moved at the end.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py
    from typing_extensions import Buffer

OUTPUT_FORMATS = ("all", "top", "average")
SENTENCE_TO_INDEX = "sentence_to_index"

EmbedSentences = Callable[[Iterable[list[str]]], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Counts:
    """The numbers of lines (sentences) and tokens in a file."""

    num_sentences: int
    num_tokens: int


class _OutputFile(io.FileIO):
    """A file for HDF5 to write to that remembers its first error, because HDF5 itself loses it.

    The library writes late, often while it closes a dataset; h5py then prints the error and continues, so that a full
    disk would give a broken file and no exception. Here every write seems to succeed, and `check` raises the error.
    """

    error: OSError | KeyboardInterrupt | None = None

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def write(self, data: Buffer) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except (OSError, KeyboardInterrupt) as error:
            self.error = error
        return size

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        got = super().readinto(view) or 0
        view[got:] = bytes(len(view) - got)  # HDF5 reads back what it has written, which may be missing after an error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


def check_output_format(output_format: str) -> str:
    """Returns `output_format`; raises ValueError when it is not one of `OUTPUT_FORMATS`."""
    if output_format not in OUTPUT_FORMATS:
        expected = ", ".join(map(repr, OUTPUT_FORMATS))
        raise ValueError(f"output_format: expected one of {expected}, got {output_format!r}")
    return output_format


def check_output_path(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Returns the file to write, links followed.

    Raises:
        FileExistsError: it exists and `overwrite` is false, or it is no regular file.
        FileNotFoundError: its folder does not exist.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{path}: not a regular file")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{path}: the output file exists already")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {target.parent}")
    return target


def embed_lines(
    lines: Iterable[str],
    embed_sentences: EmbedSentences,
    output_file_path: str | os.PathLike[str],
    output_format: str = "all",
    *,
    forget_sentences: bool = False,
    use_sentence_keys: bool = False,
    overwrite: bool = False,
) -> Counts:
    """Embeds lines of white-space separated tokens into an HDF5 file (its layout is this module's docstring).

    Lines are read as they are needed. Only the lines that `embed_sentences` reads ahead are kept in memory, and every
    distinct line unless `forget_sentences` or `use_sentence_keys` is set.

    Args:
        lines: an open text file or any iterable; a blank line is a sentence without tokens.
        embed_sentences: yields (num_layers, length, dim) float32 for each sentence, in order.
        output_file_path: the file to make.
        output_format: "all", "top" (the last layer) or "average" (the mean of the layers).
        forget_sentences: leave out `sentence_to_index`.
        use_sentence_keys: name each dataset by its line. HDF5 takes "/" in it as a path of groups.
        overwrite: replace an existing file.
    Raises:
        FileExistsError, FileNotFoundError: see `check_output_path`.
        ValueError: an unknown output format; with `use_sentence_keys`, a line that is blank, occurs twice or cannot be
            a name in HDF5.
        OSError: the file could not be written, for example on a full disk.
    """
    check_output_format(output_format)
    index: dict[str, str] = {}
    pending: deque[str] = deque()
    num_sentences = num_tokens = 0

    def token_lists() -> Iterator[list[str]]:
        for line in lines:
            pending.append(line.strip())
            yield line.split()

    with _hdf5_output(output_file_path, overwrite) as (file, check):
        for number, embedding in enumerate(embed_sentences(token_lists())):
            sentence = pending.popleft()
            key = str(number)
            if use_sentence_keys:
                key = _check_sentence_key(file, sentence, number)
            elif not forget_sentences:
                index[sentence] = key
            file.create_dataset(key, data=_format(embedding, output_format), dtype="float32")
            check()
            num_sentences, num_tokens = number + 1, num_tokens + embedding.shape[1]
        if not forget_sentences:
            import h5py

            dataset = file.create_dataset(SENTENCE_TO_INDEX, (1,), dtype=h5py.string_dtype())
            dataset[0] = json.dumps(index)
    return Counts(num_sentences, num_tokens)


@contextlib.contextmanager
def _hdf5_output(path: str | os.PathLike[str], overwrite: bool) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Opens an HDF5 file that moves to `path` at the end, or leaves nothing behind when the body raises."""
    import h5py

    target = check_output_path(path, overwrite)
    temporary = target.parent / f".{uuid.uuid4().hex}.elmo-fast"

    def check() -> None:
        with _named(path):
            raw.check()

    try:
        with _named(path):
            raw = _OutputFile(temporary, "x+")
        with raw:
            with h5py.File(raw, "w") as file:
                yield file, check
            check()
        check_output_path(path, overwrite)  # it may have been created meanwhile
        with _named(path):
            os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Makes errors of the temporary file name the file that the caller requested."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _check_sentence_key(file: h5py.File, sentence: str, number: int) -> str:
    """Returns the line as the name of a dataset, or raises an error that says why it cannot be one."""
    where = f"line {number + 1}: {sentence!r:.80}"
    parts = [part for part in sentence.split("/") if part]
    if not parts or "." in parts or "\0" in sentence:
        raise ValueError(f"{where}: cannot be a key in HDF5; leave out use_sentence_keys")
    if sentence == SENTENCE_TO_INDEX:
        raise ValueError(f"{where}: is the name of the index; leave out use_sentence_keys")
    if sentence in file:
        raise ValueError(f"{where}: is a key already, or the part of one before a '/'; leave out use_sentence_keys")
    for i in range(1, len(parts)):
        prefix = "/".join(parts[:i])
        if prefix in file and not hasattr(file[prefix], "keys"):
            raise ValueError(f"{where}: {prefix!r} before its '/' is another line's key; leave out use_sentence_keys")
    return sentence


def _format(embedding: np.ndarray, output_format: str) -> np.ndarray:
    if output_format == "all":
        return embedding
    return np.asarray(embedding[-1] if output_format == "top" else embedding.mean(axis=0))
