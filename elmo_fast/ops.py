"""The native passes as torch operators, for autograd, `torch.compile` and `torch.export`.

- `elmo_fast::encode_tokens`: character ids -> the distinct words' embeddings, and which word each token is.
- `elmo_fast::bilstm`: those -> every layer's outputs and the final state.

Both are functional: a carried state goes in and comes out as a tensor, and nothing they return depends on anything but
their arguments. `key` only finds the packed copy of the weights that an earlier call made (`elmo_fast.packed`).
Gradients of character ids, indices and lengths do not exist; those of everything else do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from elmo_fast import native
from elmo_fast.bilstm_training import LstmOptions, bilstm_backward, bilstm_forward
from elmo_fast.encoder_training import encoder_backward, encoder_forward
from elmo_fast.packed import PackedCache
from elmo_fast.saved import encoder_saved_size, saved_size

_LSTM = "float cell_clip, float proj_clip, bool use_skip_connections"
_ENCODER = "int n_convolutions, int n_highways, str activation"
_DEFINITIONS = (
    f"encode_tokens(Tensor char_ids, Tensor[] weights, {_ENCODER}, str precision, int word_cache_size, int key, "
    "bool keep) -> (Tensor, Tensor, Tensor)",
    f"encode_tokens_backward(Tensor dtable, Tensor char_ids, Tensor index, Tensor[] weights, Tensor saved, {_ENCODER}, "
    "int key) -> Tensor[]",
    f"bilstm(Tensor table, Tensor index, Tensor lengths, Tensor[] weights, Tensor? h, Tensor? c, {_LSTM}, "
    "str precision, int key, bool keep) -> (Tensor, Tensor, Tensor, Tensor)",
    "bilstm_backward(Tensor? dout, Tensor? dh, Tensor? dc, Tensor table, Tensor index, Tensor lengths, "
    f"Tensor[] weights, Tensor? h, Tensor? c, Tensor out, Tensor saved, {_LSTM}, int key, bool[] wanted) -> Tensor[]",
)
for _definition in _DEFINITIONS:
    torch.library.define(f"elmo_fast::{_definition.partition('(')[0]}", "(" + _definition.partition("(")[2])

encode_tokens = torch.ops.elmo_fast.encode_tokens
bilstm = torch.ops.elmo_fast.bilstm


def _cpu_kernel(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function as an operator's implementation on the CPU."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(run)
        def in_float32(*arguments: Any) -> Any:
            # Autocast would round the products inside: reduced precision is for `precision=` to ask for.
            with torch.autocast("cpu", enabled=False):
                return run(*arguments)

        torch.library.impl(f"elmo_fast::{name}", "CPU")(in_float32)
        return run

    return register


def _packed_encoder(
    weights: Sequence[Tensor],
    n_convolutions: int,
    n_highways: int,
    activation: str,
    max_characters: int,
    precision: str,
    word_cache_size: int,
    key: int,
) -> native._cpu.TokenEncoder:
    def pack(arrays: list[Any]) -> native._cpu.TokenEncoder:
        pairs = list(zip(arrays[1::2], arrays[2::2], strict=True))
        n = n_convolutions + n_highways
        convolutions, highways, projection = pairs[:n_convolutions], pairs[n_convolutions:n], pairs[n:]
        return native.pack_encoder(
            arrays[0], convolutions, activation, highways, projection[0] if projection else None, max_characters,
            precision, word_cache_size,
        )  # fmt: skip

    return PackedCache.of(key).get(weights, pack, native.precision_in_use(precision))


def _n_filters(weights: Sequence[Tensor], n_convolutions: int) -> int:
    return sum(weight.shape[0] for weight in weights[1 : 1 + 2 * n_convolutions : 2])


@_cpu_kernel("encode_tokens")
def _encode_tokens(
    char_ids: Tensor,
    weights: Sequence[Tensor],
    n_convolutions: int,
    n_highways: int,
    activation: str,
    precision: str,
    word_cache_size: int,
    key: int,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    packed = _packed_encoder(
        weights, n_convolutions, n_highways, activation, char_ids.shape[1], precision, word_cache_size, key
    )
    return encoder_forward(packed, char_ids, _n_filters(weights, n_convolutions), n_highways, keep)


@torch.library.register_fake("elmo_fast::encode_tokens")
def _encode_tokens_fake(
    char_ids: Tensor,
    weights: Sequence[Tensor],
    n_convolutions: int,
    n_highways: int,
    activation: str,
    precision: str,
    word_cache_size: int,
    key: int,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    n, n_filters = char_ids.shape[0], _n_filters(weights, n_convolutions)
    projected = len(weights) > 1 + 2 * (n_convolutions + n_highways)
    saved = n * encoder_saved_size(n_filters, n_highways) if keep else 0
    return (
        weights[0].new_empty(n, weights[-1].shape[0] if projected else n_filters),
        char_ids.new_empty(n, dtype=torch.int32),
        weights[0].new_empty(saved),
    )


@_cpu_kernel("encode_tokens_backward")
def _encode_tokens_backward(
    dtable: Tensor,
    char_ids: Tensor,
    index: Tensor,
    weights: Sequence[Tensor],
    saved: Tensor,
    n_convolutions: int,
    n_highways: int,
    activation: str,
    key: int,
) -> list[Tensor]:
    packed = _packed_encoder(weights, n_convolutions, n_highways, activation, char_ids.shape[1], "float32", 0, key)
    return encoder_backward(packed, dtable, char_ids, index, weights, saved, n_convolutions, n_highways, activation)


@torch.library.register_fake("elmo_fast::encode_tokens_backward")
def _encode_tokens_backward_fake(
    dtable: Tensor, char_ids: Tensor, index: Tensor, weights: Sequence[Tensor], *others: Any
) -> list[Tensor]:
    return [torch.empty_like(weight) for weight in weights]


def _keep_encoder_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    char_ids, weights, n_convolutions, n_highways, activation, _, _, key, _ = inputs
    _, index, saved = output
    ctx.mark_non_differentiable(index, saved)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(char_ids, index, saved, *weights)
    ctx.options = n_convolutions, n_highways, activation, key


def _encode_tokens_autograd(ctx: Any, dtable: Tensor | None, dindex: None, dsaved: None) -> tuple[Any, ...]:
    char_ids, index, saved, *weights = ctx.saved_tensors
    nothing: list[Tensor | None] = [None] * len(weights)
    if dtable is None:
        return None, nothing, *[None] * 7
    gradients = torch.ops.elmo_fast.encode_tokens_backward(dtable, char_ids, index, weights, saved, *ctx.options)
    wanted = ctx.needs_input_grad[1]
    return None, [g if want else None for g, want in zip(gradients, wanted, strict=True)], *[None] * 7


torch.library.register_autograd(
    "elmo_fast::encode_tokens", _encode_tokens_autograd, setup_context=_keep_encoder_context
)


def _packed_bilstm(weights: Sequence[Tensor], options: LstmOptions, precision: str, key: int) -> native._cpu.BiLstm:
    def pack(arrays: list[Any]) -> native._cpu.BiLstm:
        cells = [tuple(arrays[i : i + 4]) for i in range(0, len(arrays), 4)]
        return native.pack_lstm(list(zip(cells[0::2], cells[1::2], strict=True)), *options, precision)

    return PackedCache.of(key).get(weights, pack, native.precision_in_use(precision))


def _packed_backward(weights: Sequence[Tensor], options: LstmOptions, key: int) -> Sequence[native._cpu.LstmBackward]:
    def pack(arrays: list[Any]) -> list[native._cpu.LstmBackward]:
        return native.pack_backward(arrays[1::4], arrays[3::4], options.cell_clip, options.proj_clip)

    return PackedCache.of(key).get(weights, pack, "backward")


@_cpu_kernel("bilstm")
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
    key: int,
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
    key: int,
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


@_cpu_kernel("bilstm_backward")
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
    key: int,
    wanted: Sequence[bool],
) -> list[Tensor]:
    options = LstmOptions(cell_clip, proj_clip, use_skip_connections)
    forward = _packed_bilstm(weights, options, "float32", key)
    gradients = bilstm_backward(
        _packed_backward(weights, options, key), forward, torch.zeros_like(out) if dout is None else dout, dh, dc,
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
    key: int,
    wanted: Sequence[bool],
) -> list[Tensor]:
    n_layers, batch_size = out.shape[:2]
    projection_dim, cell_size = weights[3].shape
    states = [table.new_empty(n_layers, batch_size, 2 * size) for size in (projection_dim, cell_size)]
    like = [torch.empty_like(x) if want else x.new_empty(0) for x, want in zip((table, *weights), wanted, strict=True)]
    return [like[0], *states, *like[1:]]


def _keep_bilstm_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    table, index, lengths, weights, h, c, cell_clip, proj_clip, use_skip_connections, _, key, _ = inputs
    out, _, _, saved = output
    ctx.mark_non_differentiable(saved)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(table, index, lengths, h, c, out, saved, *weights)
    ctx.options = cell_clip, proj_clip, use_skip_connections, key


def _bilstm_autograd(
    ctx: Any, dout: Tensor | None, dh: Tensor | None, dc: Tensor | None, dsaved: None
) -> tuple[Any, ...]:
    table, index, lengths, h, c, out, saved, *weights = ctx.saved_tensors
    needs = ctx.needs_input_grad
    wanted = [needs[0], *needs[3]]
    if (dh is None) != (dc is None):
        dh = torch.zeros_like(out[:, :, 0]) if dh is None else dh
        dc = out.new_zeros(*out.shape[:2], 2 * weights[3].shape[1]) if dc is None else dc
    dtable, dh_first, dc_first, *dweights = torch.ops.elmo_fast.bilstm_backward(
        dout, dh, dc, table, index, lengths, weights, h, c, out, saved, *ctx.options, wanted
    )
    weight_gradients = [g if want else None for g, want in zip(dweights, wanted[1:], strict=True)]
    return (
        dtable if wanted[0] else None, None, None, weight_gradients,
        dh_first if needs[4] else None, dc_first if needs[5] else None, *[None] * 6,
    )  # fmt: skip


torch.library.register_autograd("elmo_fast::bilstm", _bilstm_autograd, setup_context=_keep_bilstm_context)
