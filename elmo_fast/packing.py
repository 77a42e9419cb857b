"""Model files -> packed native weights, a piece at a time: the float32 arrays of the file are never all in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from elmo_fast.native import _cpu as cpu
from elmo_fast.native import get_num_threads, pack_encoder
from elmo_fast.parallel import run_tasks
from elmo_fast.weights import LstmWeights, Options, WeightFile, open_weights, read_options

if TYPE_CHECKING:
    from elmo_fast import _cpu


def pack_files(
    options_file: str | os.PathLike[str],
    weight_file: str | os.PathLike[str],
    precision: str = "float32",
    word_cache_size: int = 0,
) -> tuple[_cpu.TokenEncoder, _cpu.BiLstm]:
    """Reads a model from local files and packs it.

    Memory beyond the packed weights is at most that of two pieces in float32 (`elmo_fast.parallel.IN_FLIGHT`): a piece
    is one direction of one LSTM layer, or the token encoder.

    Args:
        options_file, weight_file: paths.
        precision: of the packed weights.
        word_cache_size: of the token encoder.
    Raises:
        FileNotFoundError: a file is missing.
        WeightsError: a file is wrong or damaged; nothing was packed if a name, shape or type is wrong.
    """
    options = read_options(options_file)
    with open_weights(weight_file, options) as file:
        tasks: list[Callable[[], Any]] = [partial(_pack_direction, read, precision) for read in file.directions()]
        # The encoder last and alone: with a layer beside it, both would be there twice when all else is packed.
        tasks.append(partial(_pack_encoder, file, options, precision, word_cache_size))
        *directions, encoder = run_tasks(tasks, get_num_threads())
    layers = list(zip(directions[0::2], directions[1::2], strict=True))
    return encoder, cpu.BiLstm(layers, options.cell_clip, options.proj_clip, options.use_skip_connections)


def _pack_direction(read: Callable[[], LstmWeights], precision: str) -> _cpu.LstmLayer:
    return cpu.LstmLayer(*read().as_tuple(), precision)


def _pack_encoder(file: WeightFile, options: Options, precision: str, word_cache_size: int) -> _cpu.TokenEncoder:
    weights = file.encoder()
    return pack_encoder(
        weights.char_embedding, weights.convolutions, options.activation, weights.highways, weights.projection,
        options.max_characters, precision, word_cache_size,
    )  # fmt: skip
