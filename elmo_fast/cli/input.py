"""The sentences that `elmo-fast embed` reads: a file, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import BinaryIO


class InputError(ValueError):
    """The input cannot be read; the message is for the user."""


class Input:
    """An open source of lines: a file, or standard input for "-". Lines end at a line feed alone.

    Raises:
        InputError: standard input is closed.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._is_stdin = path == "-"
        if self._is_stdin and sys.stdin is None:
            raise InputError("standard input is closed")
        self._name = "standard input" if self._is_stdin else path
        self._file: BinaryIO = sys.stdin.buffer if self._is_stdin else open(path, "rb")  # noqa: SIM115

    def __enter__(self) -> Input:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._is_stdin:
            self._file.close()

    def count_lines(self) -> int | None:
        """Counts the lines of a file and checks its encoding, so that a mistake shows at once; None for a stream."""
        if not self._file.seekable():
            return None
        start = self._file.tell()
        count = sum(1 for _ in self.lines())
        self._file.seek(start)
        return count

    def lines(self) -> Iterator[str]:
        """Yields the lines.

        Raises:
            InputError: a line is not UTF-8, or cannot be read.
        """
        for number, line in enumerate(self._raw_lines(), 1):
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
                raise InputError(f"{self._name}: line {number} is not UTF-8: {byte}: {error.reason}") from error

    def _raw_lines(self) -> Iterator[bytes]:
        try:
            yield from self._file
        except OSError as error:  # a folder, a disk error
            raise InputError(f"{self._name}: {error.strerror or error}") from error
