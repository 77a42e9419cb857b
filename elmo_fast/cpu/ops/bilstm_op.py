"""The operator `elmo_fast::bilstm`.

It takes a table of token embeddings and the table row of each position, and returns all layers and the final state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elmo_fast import native
from elmo_fast.cpu import pack as packing
from elmo_fast.cpu.bilstm_training import LstmOptions, bilstm_backward, bilstm_forward
from elmo_fast.cpu.ops.registration import cpu_kernel, define, refuse_second_derivatives
from elmo_fast.cpu.saved_activations import saved_size
from elmo_fast.packed_cache import PackedCache
from elmo_fast.parameters import lstm_layers

_OPTIONS = "float cell_clip, float proj_clip, bool use_skip_connections"

define(
    f"bilstm(Tensor table, Tensor index, Tensor lengths, Tensor[] weights, Tensor? h, Tensor? c, {_OPTIONS}, "
    "str precision, Tensor key, bool keep) -> (Tensor, Tensor, Tensor, Tensor)"
)
define(
    "bilstm_backward(Tensor? dout, Tensor? dh, Tensor? dc, Tensor table, Tensor index, Tensor lengths, "
    f"Tensor[] weights, Tensor? h, Tensor? c, Tensor out, Tensor saved, {_OPTIONS}, Tensor key, bool[] wanted) "
    "-> Tensor[]"
)


def _packed_bilstm(weights: Sequence[Tensor], options: LstmOptions, precision: str, key: Tensor) -> native._cpu.BiLstm:
    def pack(arrays: list[Any]) -> native._cpu.BiLstm:
        return packing.pack_lstm(lstm_layers(arrays), *options, precision)

    return PackedCache.of(key).get(weights, pack, native.precision_in_use(precision))


def packed_backward(weights: Sequence[Tensor], options: LstmOptions, key: Tensor) -> Sequence[native._cpu.LstmBackward]:
    def pack(arrays: list[Any]) -> list[native._cpu.LstmBackward]:
        return packing.pack_backward(arrays[1::4], arrays[3::4], options.cell_clip, options.proj_clip)

    return PackedCache.of(key).get(weights, pack, "backward")


@cpu_kernel("bilstm")
def _bilstm(
    table: Tensor,
    index: Tensor,
    lengths: Tensor,
    weights: Sequence[Tensor],
    h: Tensor | None,
    c: Tensor | None,
    cell_clip: float,
    proj_clip: float,
    use_skip_connections: bool,
    precision: str,
    key: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    options = LstmOptions(cell_clip, proj_clip, use_skip_connections)
    packed = _packed_bilstm(weights, options, precision, key)
    return bilstm_forward(packed, table, index, lengths, h, c, keep)


@torch.library.register_fake("elmo_fast::bilstm")
def _bilstm_fake(
    table: Tensor,
    index: Tensor,
    lengths: Tensor,
    weights: Sequence[Tensor],
    h: Tensor | None,
    c: Tensor | None,
    cell_clip: float,
    proj_clip: float,
    use_skip_connections: bool,
    precision: str,
    key: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch_size, num_timesteps = index.shape
    n_layers, (projection_dim, cell_size) = len(weights) // 8, weights[3].shape
    rows = batch_size * num_timesteps if keep else 0
    return (
        table.new_empty(n_layers, batch_size, num_timesteps, 2 * projection_dim),
        table.new_empty(n_layers, batch_size, 2 * projection_dim),
        table.new_empty(n_layers, batch_size, 2 * cell_size),
        table.new_empty(n_layers, 2, rows, saved_size(cell_size, projection_dim)),
    )


@cpu_kernel("bilstm_backward")
def _bilstm_backward(
    dout: Tensor | None,
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
    cell_clip: float,
    proj_clip: float,
    use_skip_connections: bool,
    key: Tensor,
    wanted: Sequence[bool],
) -> list[Tensor]:
    options = LstmOptions(cell_clip, proj_clip, use_skip_connections)
    gradients = bilstm_backward(
        packed_backward(weights, options, key), lambda: _packed_bilstm(weights, options, "float32", key),
        torch.zeros_like(out) if dout is None else dout, dh, dc,
        table, index, lengths, weights, h, c, out, saved, use_skip_connections, wanted,
    )  # fmt: skip
    nothing = table.new_empty(0)
    return [
        nothing.clone() if gradient is None else gradient
        for gradient in (gradients.table, gradients.h, gradients.c, *gradients.weights)
    ]


@torch.library.register_fake("elmo_fast::bilstm_backward")
def _bilstm_backward_fake(
    dout: Tensor | None,
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
    cell_clip: float,
    proj_clip: float,
    use_skip_connections: bool,
    key: Tensor,
    wanted: Sequence[bool],
) -> list[Tensor]:
    n_layers, batch_size = out.shape[:2]
    projection_dim, cell_size = weights[3].shape
    states = [table.new_empty(n_layers, batch_size, 2 * size) for size in (projection_dim, cell_size)]
    likes = zip((table, *weights), (wanted[0], *wanted[2:]), strict=True)
    like = [torch.empty_like(x) if want else x.new_empty(0) for x, want in likes]
    return [like[0], *states, *like[1:]]


def _keep_bilstm_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    table, index, lengths, weights, h, c, cell_clip, proj_clip, use_skip_connections, _, key, _ = inputs
    out, _, _, saved = output
    ctx.mark_non_differentiable(saved)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(table, index, lengths, h, c, out, saved, *weights)
    ctx.options = cell_clip, proj_clip, use_skip_connections, key
    ctx.packed = PackedCache.peek_at(key)  # keeps the packed weights alive as long as the graph


def _bilstm_autograd(
    ctx: Any, dout: Tensor | None, dh: Tensor | None, dc: Tensor | None, dsaved: None
) -> tuple[Any, ...]:
    table, index, lengths, h, c, out, saved, *weights = ctx.saved_tensors
    needs = ctx.needs_input_grad
    wanted = [needs[0], needs[4] or needs[5], *needs[3]]
    if (dh is None) != (dc is None):
        dh = torch.zeros_like(out[:, :, 0]) if dh is None else dh
        dc = out.new_zeros(*out.shape[:2], 2 * weights[3].shape[1]) if dc is None else dc
    dtable, dh_first, dc_first, *dweights = torch.ops.elmo_fast.bilstm_backward(
        dout, dh, dc, table, index, lengths, weights, h, c, out, saved, *ctx.options, wanted
    )
    weight_gradients = [g if want else None for g, want in zip(dweights, wanted[2:], strict=True)]
    return (
        dtable if wanted[0] else None, None, None, weight_gradients,
        dh_first if needs[4] else None, dc_first if needs[5] else None, *[None] * 6,
    )  # fmt: skip


torch.library.register_autograd("elmo_fast::bilstm", _bilstm_autograd, setup_context=_keep_bilstm_context)
refuse_second_derivatives("bilstm_backward")
