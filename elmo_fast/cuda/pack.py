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


TILE = 32
"""The persistent kernel pads projection_dim, and the cells of a block, to a multiple of this."""


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
class LayerWeights:
    """The packed weights of one layer, the forward direction first.

    Attributes:
        input, bias: for each direction (4 * cell_size, input_size) and (4 * cell_size,), used by torch's product for
            many steps at once.
        state: (2, 4 * cell_size, padded(projection_dim)).
        projection: (2, projection_dim, padded(cell_size)).
        fragments: state and projection once more for each direction, in the order of `fragments`, or None if the
            persistent kernel cannot run.
    """

    input: tuple[Tensor, ...]
    bias: tuple[Tensor, ...]
    state: Tensor
    projection: Tensor
    fragments: tuple[Tensor, ...] | None


@dataclass(frozen=True)
class CudaLstm:
    """The packed weights of a biLSTM and its options."""

    layers: tuple[LayerWeights, ...]
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
        groups: int = 0,
    ) -> CudaLstm:
        """Packs tensors, shaped as in `elmo_fast.reference.lstm`, in the given storage dtype.

        `groups` is the persistent plan's, 0 without one.
        """
        packed = tuple(_layer(pair, dtype, groups) for pair in layers)
        projection = layers[0][0][3]
        return cls(packed, cell_clip, proj_clip, use_skip_connections, *projection.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.layers[0].state.dtype


def _stored(pair: WeightAndBias, dtype: torch.dtype) -> WeightAndBias:
    weight, bias = pair
    return weight.detach().to(dtype).contiguous(), bias.detach().to(dtype).contiguous()


def fragments(state: Tensor, projection: Tensor, groups: int) -> Tensor:
    """Arranges recurrent weights by blocks of the persistent kernel, in the order in which its lanes read them.

    A block has `8 * groups` cells. A lane reads 16 bytes for each product of 16 x 16 weights; of every 32 values of k,
    lane l multiplies the 8 from 8 * (l % 4) on, so that it reads h 16 bytes at a time, too.

    Args:
        state: (4 * cell_size, projection_dim), float16 or bfloat16.
        projection: (projection_dim, cell_size).
    Returns:
        (blocks, values): the fragments of W_h, then those of W_P, with zeros where sizes are padded.
    """
    projection_dim, cell_size = projection.shape
    n = 8 * groups
    missing, cells_missing = -projection_dim % TILE, -cell_size % n
    gates = F.pad(state.view(4, cell_size, projection_dim), (0, missing, 0, cells_missing))
    size, n_blocks = projection_dim + missing, (cell_size + cells_missing) // n
    # (g, o over i, f; row half; block; group; cell; k by 32; lane % 4; product; k + 8; k + 1)
    split = gates.reshape(2, 2, n_blocks, groups, 8, size // TILE, 4, 2, 2, 2)
    first = split.permute(2, 3, 0, 5, 7, 4, 6, 8, 1, 9).reshape(n_blocks, -1)
    columns = F.pad(projection, (0, cells_missing, 0, missing)).view(size, n_blocks, n)
    columns = F.pad(columns, (0, TILE - n))
    # (outputs by 16; row half; output; block; lane % 4; product; k + 8; k + 1)
    split = columns.reshape(size // 16, 2, 8, n_blocks, 4, 2, 2, 2)
    second = split.permute(3, 0, 5, 2, 4, 6, 1, 7).reshape(n_blocks, -1)
    return torch.cat([first, second], dim=1).contiguous()


def _layer(pair: tuple[LstmTensors, LstmTensors], dtype: torch.dtype, groups: int) -> LayerWeights:
    inputs, states, biases, projections = zip(
        *(tuple(tensor.detach().to(dtype) for tensor in tensors) for tensors in pair), strict=True
    )
    return LayerWeights(
        input=tuple(weight.contiguous() for weight in inputs),
        bias=tuple(bias.contiguous() for bias in biases),
        state=torch.stack([_padded(weight) for weight in states]),
        projection=torch.stack([_padded(weight) for weight in projections]),
        fragments=tuple(map(fragments, states, projections, (groups, groups))) if groups else None,
    )


def _padded(weight: Tensor) -> Tensor:
    return F.pad(weight, (0, padded(weight.shape[1]) - weight.shape[1]))
