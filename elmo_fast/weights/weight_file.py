"""A whole model in one flat file, for programs without Python; `csrc/model/weight_file.h` defines it and reads it."""

from __future__ import annotations

import contextlib
import os
import struct
import uuid
import zlib
from collections.abc import Iterator

import numpy as np

from elmo_fast.outputs.hdf5 import check_output_path
from elmo_fast.weights.allennlp_format import BiLmWeights
from elmo_fast.weights.options import Options

_MAGIC, _VERSION = b"elmofast", 1


def write_weight_file(
    path: str | os.PathLike[str], options: Options, weights: BiLmWeights, *, overwrite: bool = False
) -> int:
    """Writes a model as one file, which appears whole or not at all.

    Args:
        path: the file to make.
        options, weights: the model, as `read_options` and `read_weights` return it.
        overwrite: replace an existing file.
    Returns:
        the size of the file in bytes.
    Raises:
        FileExistsError: it exists and `overwrite` is false, or it is no regular file.
        FileNotFoundError: its folder does not exist.
        OSError: it could not be written.
    """
    target = check_output_path(path, overwrite)
    temporary = target.parent / f".{uuid.uuid4().hex}.elmo-fast"
    checksum = 0
    try:
        with open(temporary, "xb") as file:
            file.write(struct.pack("<8sII", _MAGIC, _VERSION, 0))
            for part in _parts(options, weights):
                checksum = zlib.crc32(part, checksum)
                file.write(part)
            size = file.tell()
            file.seek(12)
            file.write(struct.pack("<I", checksum))
        check_output_path(path, overwrite)  # it may have been created meanwhile
        os.replace(temporary, target)
    except FileExistsError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return size


def _parts(options: Options, weights: BiLmWeights) -> Iterator[bytes | memoryview]:
    n_ids, embedding_dim = weights.char_embedding.shape
    yield struct.pack(
        "<11q2f", n_ids, embedding_dim, options.max_characters, options.activation == "tanh", len(options.filters),
        options.n_highway, weights.projection is not None, options.projection_dim, options.cell_size, options.n_layers,
        options.use_skip_connections, options.cell_clip, options.proj_clip,
    )  # fmt: skip
    for width, n_filters in options.filters:
        yield struct.pack("<2q", width, n_filters)
    pairs = [*weights.convolutions, *weights.highways, *([] if weights.projection is None else [weights.projection])]
    yield _bytes(weights.char_embedding)
    for weight, bias in pairs:
        yield _bytes(weight)
        yield _bytes(bias)
    for directions in weights.layers:
        for direction in directions:
            yield from map(_bytes, direction.as_tuple())


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array, dtype="<f4").data.cast("B")
