"""Packs a model's parameters for the CUDA kernels: tensors in the storage dtype, padded for vector loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from elmo_fast.reference import LstmTensors, WeightAndBias

PADDING = 8
"""Rows of recurrent weights are padded with zeros to a multiple of this, because kernels read 16 bytes at a time."""


def padded(n: int) -> int:
    """Returns `n` rounded up to a multiple of `PADDING`."""
    return -(-n // PADDING) * PADDING


@dataclass(frozen=True)
class CudaEncoder:
    """The packed weights of a token encoder.

    Attributes:
        tables: (sum of width * n_ids * n_filters,) in the storage dtype: the concatenated tables of all convolutions.
            Each is (width, n_ids, n_filters), and holds the contribution to each filter of each character id at each
            place of the window.
        bias: (total number of filters,) float32.
        widths, n_filters: the width and the number of filters of each convolution.
        activation: "relu" or "tanh".
        highways: for each highway layer, weight (2 * filters, filters), rows [transform; carry], and bias.
        projection: weight and bias, or None.
        n_ids: number of character ids.
        max_characters: number of characters per word.
    """

    tables: Tensor
    bias: Tensor
    widths: tuple[int, ...]
    n_filters: tuple[int, ...]
    activation: str
    highways: tuple[WeightAndBias, ...]
    projection: WeightAndBias | None
    n_ids: int
    max_characters: int

    @classmethod
    def pack(
        cls,
        dtype: torch.dtype,
        char_embedding: Tensor,
        convolutions: Sequence[WeightAndBias],
        activation: str,
        highways: Sequence[WeightAndBias],
        projection: WeightAndBias | None,
        max_characters: int,
    ) -> CudaEncoder:
        """Packs tensors, shaped as in `elmo_fast.reference.encode_tokens`, in the given storage dtype."""
        embedding = char_embedding.detach().float()
        tables = [torch.einsum("vd,fdk->kvf", embedding, weight.detach().float()) for weight, _ in convolutions]
        return cls(
            tables=torch.cat([table.reshape(-1) for table in tables]).to(dtype),
            bias=torch.cat([bias.detach().float() for _, bias in convolutions]),
            widths=tuple(weight.shape[2] for weight, _ in convolutions),
            n_filters=tuple(weight.shape[0] for weight, _ in convolutions),
            activation=activation,
            highways=tuple(_stored(pair, dtype) for pair in highways),
            projection=None if projection is None else _stored(projection, dtype),
            n_ids=len(char_embedding),
            max_characters=max_characters,
        )

    @property
    def dtype(self) -> torch.dtype:
        return self.tables.dtype

    @property
    def output_dim(self) -> int:
        return sum(self.n_filters) if self.projection is None else len(self.projection[0])


@dataclass(frozen=True)
class DirectionWeights:
    """The packed weights of one direction of one layer.

    Attributes:
        input, bias: (4 * cell_size, input_size) and (4 * cell_size,), used by torch's product for many steps at once.
        state: (4 * cell_size, padded(projection_dim)).
        projection: (projection_dim, padded(cell_size)).
    """

    input: Tensor
    bias: Tensor
    state: Tensor
    projection: Tensor


@dataclass(frozen=True)
class CudaLstm:
    """The packed weights of a biLSTM, (forward, backward) for each layer, and its options."""

    layers: tuple[tuple[DirectionWeights, DirectionWeights], ...]
    cell_clip: float
    proj_clip: float
    use_skip_connections: bool
    projection_dim: int
    cell_size: int

    @classmethod
    def pack(
        cls,
        dtype: torch.dtype,
        layers: Sequence[tuple[LstmTensors, LstmTensors]],
        cell_clip: float,
        proj_clip: float,
        use_skip_connections: bool,
    ) -> CudaLstm:
        """Packs tensors, shaped as in `elmo_fast.reference.lstm`, in the given storage dtype.

        Tensors that already have this dtype and need no padding are not copied.
        """
        packed = tuple(tuple(_direction(tensors, dtype) for tensors in pair) for pair in layers)
        projection = layers[0][0][3]
        return cls(packed, cell_clip, proj_clip, use_skip_connections, *projection.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.layers[0][0].state.dtype


def _stored(pair: WeightAndBias, dtype: torch.dtype) -> WeightAndBias:
    weight, bias = pair
    return weight.detach().to(dtype).contiguous(), bias.detach().to(dtype).contiguous()


def _direction(tensors: LstmTensors, dtype: torch.dtype) -> DirectionWeights:
    input_weight, state_weight, bias, projection = (tensor.detach().to(dtype) for tensor in tensors)
    return DirectionWeights(input_weight.contiguous(), bias.contiguous(), _padded(state_weight), _padded(projection))


def _padded(weight: Tensor) -> Tensor:
    missing = padded(weight.shape[1]) - weight.shape[1]
    if missing:
        return F.pad(weight, (0, missing))
    weight = weight.contiguous()
    return weight.clone() if weight.data_ptr() % 16 else weight  # a view of a flat buffer may be unaligned
