"""HDF5 weights in AllenNLP's and bilm-tf's layout -> validated arrays in the engine's terms.

This is the only module that knows HDF5 names and TensorFlow's gate order. Everything is read and checked before
anything is built from it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from elmo_fast.options import N_CHARACTERS, Options, WeightsError, read_options

if TYPE_CHECKING:
    import h5py

__all__ = [
    "BiLmWeights",
    "EncoderWeights",
    "LstmWeights",
    "Options",
    "WeightsError",
    "read_encoder_weights",
    "read_lstm_weights",
    "read_options",
    "read_weights",
]


@dataclass(frozen=True)
class LstmWeights:
    """One direction of one LSTM layer, gates in the order i, f, g, o; float32.

    Attributes:
        input_weight: (4 * cell_size, input_size).
        state_weight: (4 * cell_size, projection_dim).
        bias: (4 * cell_size,), TensorFlow's implicit forget bias of 1 included.
        projection: (projection_dim, cell_size).
    """

    input_weight: np.ndarray
    state_weight: np.ndarray
    bias: np.ndarray
    projection: np.ndarray

    def as_tuple(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.input_weight, self.state_weight, self.bias, self.projection


@dataclass(frozen=True)
class EncoderWeights:
    """The context-insensitive token encoder; float32.

    Attributes:
        char_embedding: (262, dim); row 0, "no token here", is zero.
        convolutions: for each filter width, weight (n, dim, width) and bias (n,).
        highways: weight (2 * n_filters, n_filters) and bias (2 * n_filters,), rows [transform; carry], for
            `x = g * x + (1 - g) * relu(transform)` with `g = sigmoid(carry)`: the carry rows are negated on reading.
        projection: weight (projection_dim, n_filters) and bias (projection_dim,), or None.
    """

    char_embedding: np.ndarray
    convolutions: tuple[tuple[np.ndarray, np.ndarray], ...]
    highways: tuple[tuple[np.ndarray, np.ndarray], ...]
    projection: tuple[np.ndarray, np.ndarray] | None


@dataclass(frozen=True)
class BiLmWeights(EncoderWeights):
    """A whole biLM: the encoder and, for each layer, (forward, backward) `LstmWeights`."""

    layers: tuple[tuple[LstmWeights, LstmWeights], ...]


def read_weights(path: str | os.PathLike[str], options: Options) -> BiLmWeights:
    """Reads a whole biLM.

    Args:
        path: HDF5 file.
        options: what the options file says the HDF5 file holds.
    Raises:
        FileNotFoundError: no such file.
        WeightsError: the file does not hold what `options` says; the message names the dataset.
    """
    with _open(path) as file:
        encoder = _read_encoder(file, options)
        layers = _read_layers(file, options.projection_dim, options.projection_dim, options.cell_size, options.n_layers)
    return BiLmWeights(encoder.char_embedding, encoder.convolutions, encoder.highways, encoder.projection, layers)


def read_encoder_weights(path: str | os.PathLike[str], options: Options) -> EncoderWeights:
    """Reads only the token encoder; arguments and errors as `read_weights`."""
    with _open(path) as file:
        return _read_encoder(file, options)


def read_lstm_weights(
    path: str | os.PathLike[str], *, input_size: int, projection_dim: int, cell_size: int, n_layers: int
) -> tuple[tuple[LstmWeights, LstmWeights], ...]:
    """Reads only the LSTM layers, (forward, backward) each; errors as `read_weights`."""
    with _open(path) as file:
        return _read_layers(file, input_size, projection_dim, cell_size, n_layers)


class _File:
    """An open HDF5 file whose datasets are read checked."""

    def __init__(self, path: str, handle: h5py.File) -> None:
        self.path = path
        self.handle = handle

    def read(self, name: str, *shape: int) -> np.ndarray:
        """Reads one dataset as finite float32 of exactly this shape."""
        import h5py

        try:
            dataset = self.handle.get(name)
            actual = dataset.shape if isinstance(dataset, h5py.Dataset) else None
            if actual == shape and dataset.dtype.kind == "f":
                with np.errstate(over="ignore"):  # a float64 beyond float32's range turns infinite: refused below
                    array = np.asarray(dataset[...], dtype=np.float32)
        except (OSError, RuntimeError, KeyError) as error:
            raise WeightsError(f"{self.path}: {name}: cannot be read, the file is damaged: {error}") from error
        if dataset is None:
            raise WeightsError(f"{self.path}: {name}: missing, expected a float32 dataset of shape {shape}")
        if not isinstance(dataset, h5py.Dataset):
            raise WeightsError(f"{self.path}: {name}: expected a float32 dataset of shape {shape}, got a group")
        if actual != shape:
            raise WeightsError(f"{self.path}: {name}: expected shape {shape}, got {actual}")
        if dataset.dtype.kind != "f":
            raise WeightsError(f"{self.path}: {name}: expected float32 of shape {shape}, got {dataset.dtype}")
        finite = np.isfinite(array)
        if not finite.all():
            first = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise WeightsError(
                f"{self.path}: {name}: {int((~finite).sum())} of {array.size} values are NaN or infinite (or beyond "
                f"float32), the first at {first}; expected finite numbers of shape {shape}"
            )
        return array


@contextlib.contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[_File]:
    import h5py  # here, not above: h5py is a third of this package's import time, and character ids need none of it

    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such weight file")
    try:
        handle = h5py.File(path, "r")
    except OSError as error:
        raise WeightsError(f"{path}: not a readable HDF5 file, or cut short: {error}") from error
    with handle:
        yield _File(path, handle)


def _read_encoder(file: _File, options: Options) -> EncoderWeights:
    dim, n_filters = options.char_embedding_dim, options.n_filters
    char_embedding = np.pad(file.read("char_embed", N_CHARACTERS, dim), ((1, 0), (0, 0)))
    convolutions = tuple(_read_convolution(file, i, width, dim, n) for i, (width, n) in enumerate(options.filters))
    highways = tuple(_read_highway(file, f"CNN_high_{k}", n_filters) for k in range(options.n_highway))
    if f"CNN_high_{options.n_highway}" in file.handle:
        # Run without its last highway layer a model gives vectors of the right shape and no sense.
        raise WeightsError(
            f"{file.path}: CNN_high_{options.n_highway}: present, but the options say n_highway = {options.n_highway}"
        )
    projection = None
    # bilm-tf writes no projection where it would be square.
    if n_filters != options.projection_dim or "CNN_proj" in file.handle:
        weight = file.read("CNN_proj/W_proj", n_filters, options.projection_dim)
        bias = file.read("CNN_proj/b_proj", options.projection_dim)
        projection = np.ascontiguousarray(weight.T), bias
    return EncoderWeights(char_embedding, convolutions, highways, projection)


def _read_convolution(file: _File, i: int, width: int, dim: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    weight = file.read(f"CNN/W_cnn_{i}", 1, width, dim, n)
    return np.ascontiguousarray(weight[0].transpose(2, 1, 0)), file.read(f"CNN/b_cnn_{i}", n)


def _read_highway(file: _File, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    # TensorFlow's carry gate weighs the transformed part, ours the part carried through: sigmoid(-x) = 1 - sigmoid(x).
    weights = file.read(f"{name}/W_transform", size, size).T, -file.read(f"{name}/W_carry", size, size).T
    biases = file.read(f"{name}/b_transform", size), -file.read(f"{name}/b_carry", size)
    return _stack(*weights), _stack(*biases)


def _read_layers(
    file: _File, input_size: int, projection_dim: int, cell_size: int, n_layers: int
) -> tuple[tuple[LstmWeights, LstmWeights], ...]:
    # A file may hold more layers than are asked for: layer k does not depend on the ones above it.
    layers = []
    for layer in range(n_layers):
        sizes = (input_size if layer == 0 else projection_dim, projection_dim, cell_size)
        names = (f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell" for direction in (0, 1))
        forward, backward = (_read_lstm(file, name, *sizes) for name in names)
        layers.append((forward, backward))
    return tuple(layers)


def _read_lstm(file: _File, name: str, input_size: int, projection_dim: int, cell_size: int) -> LstmWeights:
    weight = file.read(f"{name}/W_0", input_size + projection_dim, 4 * cell_size)
    bias = _reorder_gates(file.read(f"{name}/B", 4 * cell_size))
    bias[cell_size : 2 * cell_size] += 1.0  # TensorFlow adds it at run time, so it is not in the file
    projection = file.read(f"{name}/W_P_0", cell_size, projection_dim)
    return LstmWeights(
        input_weight=_reorder_gates(weight[:input_size].T),
        state_weight=_reorder_gates(weight[input_size:].T),
        bias=bias,
        projection=np.ascontiguousarray(projection.T),
    )


def _reorder_gates(rows: np.ndarray) -> np.ndarray:
    """TensorFlow stacks the gates as i, g, f, o; returns a C-contiguous copy with rows i, f, g, o."""
    i, g, f, o = np.split(rows, 4)
    return _stack(i, f, g, o)


def _stack(*parts: np.ndarray) -> np.ndarray:
    """Concatenates rows into a C-contiguous array; of transposed parts np.concatenate alone makes a transposed one."""
    rows = sum(len(part) for part in parts)
    return np.concatenate(parts, out=np.empty((rows, *parts[0].shape[1:]), dtype=np.float32))
