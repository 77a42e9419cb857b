"""Packs arrays or model files into native weights.

Files are read and packed one piece at a time, so that they are never in memory as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from elmo_fast.native import _cpu, get_num_threads
from elmo_fast.parallel import run_tasks
from elmo_fast.weights import WeightFile, open_weights, read_options

ArrayPair = tuple[np.ndarray, np.ndarray]
LstmArrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def pack_encoder(
    char_embedding: np.ndarray,
    convolutions: Sequence[ArrayPair],
    activation: str,
    highways: Sequence[ArrayPair],
    projection: ArrayPair | None,
    max_characters: int,
    precision: str = "float32",
    word_cache_size: int = 0,
) -> _cpu.CachedTokenEncoder:
    """Packs a token encoder from C-contiguous float32 arrays shaped as in `elmo_fast.weights.EncoderWeights`."""
    return _cpu.CachedTokenEncoder(
        char_embedding, list(convolutions), activation, list(highways), projection, max_characters, precision,
        word_cache_size, get_num_threads(),
    )  # fmt: skip


def pack_lstm(
    layers: Sequence[tuple[LstmArrays, LstmArrays]],
    cell_clip: float,
    proj_clip: float,
    use_skip_connections: bool,
    precision: str = "float32",
) -> _cpu.BiLstm:
    """Packs a biLSTM from C-contiguous float32 arrays shaped as in `elmo_fast.weights.LstmWeights`.

    A clip value of 0 means no clipping.
    """
    tasks = [partial(_pack_direction, lambda arrays=arrays: arrays, precision) for pair in layers for arrays in pair]
    return _join(run_tasks(tasks, get_num_threads()), cell_clip, proj_clip, use_skip_connections)


def pack_backward(
    state_weights: Sequence[np.ndarray], projections: Sequence[np.ndarray], cell_clip: float, proj_clip: float
) -> list[_cpu.LstmBackward]:
    """Packs the backward passes: both directions of layer 0, then both directions of layer 1, and so on."""
    pairs = zip(state_weights, projections, strict=True)
    return run_tasks([partial(_cpu.LstmBackward, *pair, cell_clip, proj_clip) for pair in pairs], get_num_threads())


def restore_encoder(arguments: Sequence[Any]) -> _cpu.CachedTokenEncoder:
    """Rebuilds a token encoder from the result of its `weights()`."""
    return _cpu.CachedTokenEncoder(*arguments)


def lstm_arguments(lstm: _cpu.BiLstm) -> tuple[Any, ...]:
    """Returns the arguments for `restore_lstm`, which are plain arrays and numbers."""
    layers, *options = lstm.arguments()
    return [tuple(layer.weights() for layer in pair) for pair in layers], *options


def restore_lstm(arguments: Sequence[Any]) -> _cpu.BiLstm:
    """Rebuilds a biLSTM from the result of `lstm_arguments`."""
    layers, *options = arguments
    return _cpu.BiLstm([tuple(_cpu.LstmLayer(*weights) for weights in pair) for pair in layers], *options)


def pack_files(
    options_file: str | os.PathLike[str],
    weight_file: str | os.PathLike[str],
    precision: str = "float32",
    word_cache_size: int = 0,
) -> tuple[_cpu.CachedTokenEncoder, _cpu.BiLstm]:
    """Reads a model from local files and packs it.

    In addition to the packed weights, this uses at most the memory of two pieces in float32
    (`elmo_fast.parallel.IN_FLIGHT`). A piece is one direction of one LSTM layer, or the token encoder.

    Args:
        options_file, weight_file: paths.
        precision: precision of the packed weights.
        word_cache_size: size of the token encoder's word cache.
    Raises:
        FileNotFoundError: a file is missing.
        WeightsError: a file is invalid or damaged. Wrong names, shapes and types are found before anything is packed.
    """
    options = read_options(options_file)

    def pack_encoder_of(file: WeightFile) -> _cpu.CachedTokenEncoder:
        weights = file.encoder()
        return pack_encoder(
            weights.char_embedding, weights.convolutions, options.activation, weights.highways, weights.projection,
            options.max_characters, precision, word_cache_size,
        )  # fmt: skip

    with open_weights(weight_file, options) as file:
        tasks: list[Callable[[], Any]] = [
            partial(_pack_direction, lambda read=read: read().as_tuple(), precision) for read in file.directions()
        ]
        # The encoder is last and a piece of its own: together with a layer, both would be in memory twice while
        # everything else is already packed.
        *directions, encoder = run_tasks([*tasks, partial(pack_encoder_of, file)], get_num_threads())
    return encoder, _join(directions, options.cell_clip, options.proj_clip, options.use_skip_connections)


def _pack_direction(arrays: Callable[[], LstmArrays], precision: str) -> _cpu.LstmLayer:
    return _cpu.LstmLayer(*arrays(), precision)


def _join(
    directions: Sequence[_cpu.LstmLayer], cell_clip: float, proj_clip: float, use_skip_connections: bool
) -> _cpu.BiLstm:
    """Joins directions in the order layer 0 forward, layer 0 backward, layer 1 forward, and so on."""
    layers = list(zip(directions[0::2], directions[1::2], strict=True))
    return _cpu.BiLstm(layers, cell_clip, proj_clip, use_skip_connections)
