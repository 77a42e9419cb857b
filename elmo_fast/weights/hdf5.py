"""HDF5 datasets that are checked first and read afterwards, whole or transposed a few rows at a time."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from elmo_fast.weights.options import WeightsError

if TYPE_CHECKING:
    import h5py

# Number of rows transposed at a time: they stay in a core's cache, and a matrix is never in memory twice.
_BLOCK_ROWS = 64

# Floats between the rows of a block. Rows that are a power of two apart would compete for the same few cache lines:
# transposing the original model's gates would take six times as long.
_ROW_PADDING = 16

# Arrays of at least this many bytes are allocated directly from the system.
_OWN_MAPPING = 1 << 20


class Hdf5File:
    """An open HDF5 file. Threads may share it; h5py lets one of them read at a time."""

    def __init__(self, path: str, handle: h5py.File) -> None:
        self.path = path
        self._handle = handle

    def __contains__(self, name: str) -> bool:
        return name in self._handle

    def dataset(self, name: str, *shape: int) -> Dataset:
        """Checks, without reading its values, that a dataset is there and holds floats of exactly this shape.

        Raises:
            WeightsError: the dataset is missing or different; the message names it.
        """
        import h5py

        with self._damage(name):
            found = self._handle.get(name)
            actual = found.shape if isinstance(found, h5py.Dataset) else None
            dtype = found.dtype if isinstance(found, h5py.Dataset) else None
        if found is None:
            raise WeightsError(f"{self.path}: {name}: missing, expected a float32 dataset of shape {shape}")
        if not isinstance(found, h5py.Dataset):
            raise WeightsError(f"{self.path}: {name}: expected a float32 dataset of shape {shape}, got a group")
        if actual != shape:
            raise WeightsError(f"{self.path}: {name}: expected shape {shape}, got {actual}")
        if dtype is None or dtype.kind != "f":
            raise WeightsError(f"{self.path}: {name}: expected float32 of shape {shape}, got {dtype}")
        return Dataset(self, name, found)

    @contextlib.contextmanager
    def _damage(self, name: str) -> Iterator[None]:
        """Turns what h5py raises on a damaged file into `WeightsError`."""
        try:
            yield
        except (OSError, RuntimeError, KeyError) as error:
            raise WeightsError(f"{self.path}: {name}: cannot be read, the file is damaged: {error}") from error


class Dataset:
    """A checked dataset, read as finite float32.

    Attributes:
        shape: its shape.
    """

    def __init__(self, file: Hdf5File, name: str, dataset: h5py.Dataset) -> None:
        self.shape: tuple[int, ...] = dataset.shape
        self._file = file
        self._name = name
        self._dataset = dataset

    def read(self) -> np.ndarray:
        """Returns the values, float32.

        Raises:
            WeightsError: the file is damaged, or a value is NaN or infinite; the message names the dataset.
        """
        with self._file._damage(self._name), np.errstate(over="ignore"):
            # A float64 beyond the range of float32 becomes infinite and is rejected.
            array = np.asarray(self._dataset[...], dtype=np.float32)
        finite = np.isfinite(array)
        if not finite.all():
            first = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise WeightsError(
                f"{self._file.path}: {self._name}: {int((~finite).sum())} of {array.size} values are NaN or infinite "
                f"(or beyond float32), the first at {first}; expected finite numbers of shape {array.shape}"
            )
        return array

    def read_transposed(self, *outs: np.ndarray, column_blocks: Sequence[int] = (0,)) -> None:
        """Reads a matrix (rows, columns) transposed into new arrays.

        Args:
            outs: (columns, n) float32 each, which take the rows of the file one after the other: the n add up to its
                rows.
            column_blocks: the columns fall into this many blocks of equal size; the k-th of each `out` is the
                column_blocks[k]-th of the file.
        Raises:
            WeightsError: as `read`.
        """
        size = self.shape[1] // len(column_blocks)
        for part, row, block in self._row_blocks([out.shape[1] for out in outs]):
            if not np.isfinite(block).all():
                self.read()  # raises the error that says where
            for k, source in enumerate(column_blocks):
                to = outs[part][k * size : (k + 1) * size, row : row + len(block)]
                to[...] = block[:, source * size : (source + 1) * size].T

    def _row_blocks(self, part_sizes: Sequence[int]) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yields some rows at a time: the index of their part, their position in it, and values that are valid until
        the next iteration."""
        starts = [0, *itertools.accumulate(part_sizes)]
        if self._dataset.dtype != np.float32 or self._dataset.chunks is not None:
            # Converted as in `read`. A compressed chunk may be the whole matrix, which must not be unpacked each time.
            for part, rows in enumerate(np.split(self.read(), starts[1:-1])):
                yield part, 0, rows
            return
        columns = self.shape[1]
        block = empty_matrix(_BLOCK_ROWS, columns + _ROW_PADDING)
        for part, size in enumerate(part_sizes):
            for row in range(0, size, _BLOCK_ROWS):
                n = min(_BLOCK_ROWS, size - row)
                first = starts[part] + row
                with self._file._damage(self._name):
                    self._dataset.read_direct(block, np.s_[first : first + n], np.s_[:n, :columns])
                yield part, row, block[:n, :columns]


def empty_matrix(rows: int, columns: int) -> np.ndarray:
    """A new (rows, columns) float32 array, not initialised, whose memory is the system's again once it is freed.

    malloc would keep some freed blocks of a few megabytes: 15 MB after reading the original model.
    """
    size = rows * columns * np.dtype(np.float32).itemsize
    if size < _OWN_MAPPING or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.empty((rows, columns), dtype=np.float32)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype=np.float32).reshape(rows, columns)


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[Hdf5File]:
    """Opens a file for reading.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: not an HDF5 file, or cut short.
    """
    import h5py  # here, not above: it takes as long to import as this package, and character ids do not need it

    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such weight file")
    try:
        handle = h5py.File(path, "r")
    except OSError as error:
        raise WeightsError(f"{path}: not a readable HDF5 file, or cut short: {error}") from error
    with handle:
        yield Hdf5File(path, handle)
