"""Training of the biLSTM: a forward pass that saves activations, and the backward pass.

Native kernels run the parts that must go step by step through time. Products over all tokens at once run in torch.
Everything is float32 on the CPU, and deterministic. `elmo_fast.cpu.ops` makes torch operators from these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elmo_fast.cpu.backend import empty_tensor
from elmo_fast.cpu.saved_activations import array_of, lazy_zeros, saved_size, zeros
from elmo_fast.native import _cpu, get_num_threads

# If nothing was saved, the backward pass recomputes the activations for about this many tokens at a time.
_TOKENS_AGAIN = 1024


class LstmOptions(NamedTuple):
    """Options shared by all layers of a biLSTM. A clip value of 0 means no clipping."""

    cell_clip: float
    proj_clip: float
    use_skip_connections: bool


def bilstm_forward(
    native: _cpu.BiLstm,
    table: Tensor,
    index: Tensor,
    lengths: Tensor,
    h: Tensor | None,
    c: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Runs a biLSTM in which position t of row b reads `table[index[b, t]]`.

    Args:
        native: the biLSTM; it must be packed in float32 if `keep` is true.
        table: (n, input_size) float32.
        index: (batch_size, num_timesteps) integers, rows of the table.
        lengths: (batch_size,) integers.
        h, c: the initial state, (n_layers, batch_size, 2 * projection_dim) and (n_layers, batch_size, 2 * cell_size);
            None starts from zero.
        keep: whether to save activations for a backward pass.
    Returns:
        The outputs of all layers, (n_layers, batch_size, num_timesteps, 2 * projection_dim), zero beyond the lengths;
        the final h and c; and the activations saved for the backward pass, (n_layers, 2, batch_size * num_timesteps,
        saved_size), or (n_layers, 2, 0, saved_size) unless `keep`.
    """
    batch_size, num_timesteps = index.shape
    n_layers, projection_dim, cell_size = native.num_layers, native.projection_dim, native.cell_size
    out = empty_tensor(n_layers, batch_size, num_timesteps, 2 * projection_dim)
    final = [empty_tensor(n_layers, batch_size, 2 * size) for size in (projection_dim, cell_size)]
    initial = (None if part is None else array_of(part) for part in (h, c))
    rows = batch_size * num_timesteps if keep else 0
    saved = lazy_zeros(n_layers, 2, rows, saved_size(cell_size, projection_dim))
    native.run(
        array_of(table), array_of(index, np.int32), array_of(lengths, np.int64), out.numpy(), get_num_threads(),
        *initial, final[0].numpy(), final[1].numpy(), saved.numpy() if keep else None,
    )  # fmt: skip
    return out, final[0], final[1], saved


class LstmGradients(NamedTuple):
    """Gradients of a biLSTM. Those of the table and of each weight are None if they were not requested.

    Attributes:
        table: gradient of the table, in its shape.
        h, c: gradients of the initial state, in its shapes.
        weights: gradients of the weights, in their order and shapes.
    """

    table: Tensor | None
    h: Tensor
    c: Tensor
    weights: list[Tensor | None]


def bilstm_backward(
    native: Sequence[_cpu.LstmBackward],
    forward: Callable[[], _cpu.BiLstm],
    dout: Tensor,
    dh: Tensor | None,
    dc: Tensor | None,
    table: Tensor,
    index: Tensor,
    lengths: Tensor,
    weights: Sequence[Tensor],
    h: Tensor | None,
    c: Tensor | None,
    out: Tensor,
    saved: Tensor,
    use_skip_connections: bool,
    wanted: Sequence[bool],
) -> LstmGradients:
    """Computes the gradients of `bilstm_forward`.

    Args:
        native: the backward passes: both directions of layer 0, then both directions of layer 1, and so on.
        forward: returns the float32 biLSTM for `bilstm_forward`; called only if no activations were saved.
        dout: gradient of the outputs.
        dh, dc: gradients of the final state; None means zero.
        table, index, lengths, h, c: as passed to `bilstm_forward`.
        weights: for each layer and direction, four weights: input (4 * cell_size, input_size), state (4 * cell_size,
            projection_dim), bias (4 * cell_size,) and projection (projection_dim, cell_size).
        out, saved: the outputs and activations that `bilstm_forward` returned. If `saved` has no rows, the activations
            are recomputed for groups of rows with up to `_TOKENS_AGAIN` tokens.
        use_skip_connections: whether each layer from the second on adds its input to its output.
        wanted: whether to compute the gradient of the table, of the initial state, and of each weight, in this order.
    """
    batch_size, num_timesteps = index.shape
    flat_table = table.detach()
    gradients = LstmGradients(
        torch.zeros_like(flat_table) if wanted[0] else None,
        *(zeros(len(out), batch_size, 2 * size) for size in (weights[3].shape[0], weights[3].shape[1])),
        [torch.zeros_like(weight) if want else None for weight, want in zip(weights, wanted[2:], strict=True)],
    )
    kept = saved.shape[2] > 0 or index.numel() == 0
    for rows in [slice(0, batch_size)] if kept else _row_groups(lengths, _TOKENS_AGAIN):
        some = _Rows(
            table=flat_table, index=index[rows], lengths=lengths[rows], out=out[:, rows], dout=dout[:, rows],
            h=_rows(h, rows), c=_rows(c, rows), dh_last=_rows(dh, rows), dc_last=_rows(dc, rows),
            dh_first=gradients.h[:, rows], dc_first=gradients.c[:, rows],
        )  # fmt: skip
        if not kept:
            saved = bilstm_forward(forward(), table, some.index, some.lengths, some.h, some.c, True)[3]
        _add_gradients(native, some, weights, saved, use_skip_connections, wanted, gradients)
    return gradients


class _Rows(NamedTuple):
    """The tensors of some rows of a batch; `table` is shared by all rows."""

    table: Tensor
    index: Tensor
    lengths: Tensor
    out: Tensor
    dout: Tensor
    h: Tensor | None
    c: Tensor | None
    dh_last: Tensor | None
    dc_last: Tensor | None
    dh_first: Tensor
    dc_first: Tensor


def _add_gradients(
    native: Sequence[_cpu.LstmBackward],
    rows: _Rows,
    weights: Sequence[Tensor],
    saved: Tensor,
    use_skip_connections: bool,
    wanted: Sequence[bool],
    to: LstmGradients,
) -> None:
    n_layers = len(rows.out)
    # Use only the table rows that are read, because those of padding may contain anything.
    read = torch.arange(rows.index.shape[1], device="cpu") < rows.lengths[:, None]
    words, word_of = torch.unique(rows.index[read], return_inverse=True)
    word_at = word_of.new_zeros(rows.index.shape).masked_scatter_(read, word_of).flatten()
    d_above = None  # gradient of this layer's output through the layer above
    for layer in reversed(range(n_layers)):
        dout = rows.dout[layer] if d_above is None else rows.dout[layer] + d_above
        first = 8 * layer
        goes_on = layer > 0 and any(wanted[: 2 + first])
        d_above = torch.zeros_like(dout) if goes_on else None
        for direction in range(2):
            at = first + 4 * direction
            steps = _through_time(native[2 * layer + direction], rows, layer, direction, dout, saved)
            input_weight = weights[at].detach()
            if layer == 0:
                # Equal words share a row of the table, so their gradients are summed before the multiplication.
                dgates = zeros(len(words), steps.dgates.shape[1]).index_add_(0, word_at[steps.order], steps.dgates)
                x = rows.table[words]
                if to.table is not None:
                    to.table.index_add_(0, words, dgates @ input_weight)
            else:
                dgates = steps.dgates
                x = rows.out[layer - 1].reshape(-1, 2, rows.out.shape[3] // 2)[steps.order, direction]
                if d_above is not None:
                    d_above.view(-1, 2, x.shape[1])[steps.order, direction] = dgates @ input_weight
            products = ((dgates, x), (steps.dgates, steps.h_before), None, (steps.dh, steps.m))
            for weight, product in zip(to.weights[at : at + 4], products, strict=True):
                if weight is not None and product is not None:
                    weight.addmm_(product[0].t(), product[1])
                elif weight is not None:
                    weight += steps.dgates.sum(dim=0)
        if d_above is None:
            break
        if use_skip_connections:
            d_above += dout


class _Steps(NamedTuple):
    """Results of the backward pass through time in one direction. Token k is at b * num_timesteps + t == `order[k]`."""

    order: Tensor
    dgates: Tensor  # (tokens, 4 * cell_size)
    m: Tensor  # (tokens, cell_size)
    dh: Tensor  # (tokens, projection_dim)
    h_before: Tensor  # (tokens, projection_dim)


def _through_time(
    native: _cpu.LstmBackward, rows: _Rows, layer: int, direction: int, dout: Tensor, saved: Tensor
) -> _Steps:
    projection_dim, cell_size = rows.out.shape[3] // 2, rows.dc_first.shape[2] // 2
    lengths = array_of(rows.lengths, np.int64)
    order = torch.from_numpy(_cpu.token_order(lengths, rows.index.shape[1], direction))
    strides = native.gates_stride, native.cells_stride, native.outputs_stride, native.outputs_stride
    dgates, m, dh, h_before = (empty_tensor(len(order), stride) for stride in strides)
    states = (None if part is None else array_of(part[layer]) for part in (rows.h, rows.c))
    last = (None if part is None else array_of(part[layer]) for part in (rows.dh_last, rows.dc_last))
    first = [np.zeros(part[layer].shape, dtype=np.float32) for part in (rows.dh_first, rows.dc_first)]
    native.run(
        lengths, direction, saved[layer, direction].numpy(), *states, array_of(dout), *last,
        dgates.numpy(), m.numpy(), dh.numpy(), h_before.numpy(), *first, get_num_threads(),
    )  # fmt: skip
    for to, half in zip((rows.dh_first, rows.dc_first), first, strict=True):
        size = to.shape[2] // 2
        to[layer, :, direction * size : (direction + 1) * size] = torch.from_numpy(half)[
            :, direction * size : (direction + 1) * size
        ]
    padded = native.padded_cells
    gates = dgates[:, : 4 * padded]
    if padded != cell_size:
        gates = gates.unflatten(1, (4, padded))[:, :, :cell_size].flatten(1)
    return _Steps(order, gates, m[:, :cell_size], dh[:, :projection_dim], h_before[:, :projection_dim])


def _rows(state: Tensor | None, rows: slice) -> Tensor | None:
    return None if state is None else state[:, rows]


def _row_groups(lengths: Tensor, tokens: int) -> list[slice]:
    """Groups consecutive rows into groups of at most `tokens` tokens, with at least one row per group."""
    groups, first, total = [], 0, 0
    for row, length in enumerate(lengths.tolist()):
        if total + length > tokens and row > first:
            groups.append(slice(first, row))
            first, total = row, 0
        total += length
    groups.append(slice(first, len(lengths)))
    return groups
