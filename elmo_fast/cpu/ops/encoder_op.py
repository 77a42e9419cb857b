"""The operator `elmo_fast::encode_tokens`.

It takes character ids, and returns a table with the embeddings of the distinct words, and the table row of each token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elmo_fast import native
from elmo_fast.cpu import pack as packing
from elmo_fast.cpu.encoder_training import encoder_backward, encoder_forward
from elmo_fast.cpu.ops.registration import cpu_kernel, define, refuse_second_derivatives
from elmo_fast.cpu.saved_activations import encoder_saved_size
from elmo_fast.packed_cache import PackedCache
from elmo_fast.parameters import encoder_parts

_OPTIONS = "int n_convolutions, int n_highways, str activation"

define(
    f"encode_tokens(Tensor char_ids, Tensor[] weights, {_OPTIONS}, str precision, int word_cache_size, Tensor key, "
    "bool keep) -> (Tensor, Tensor, Tensor)"
)
define(
    f"encode_tokens_backward(Tensor dtable, Tensor char_ids, Tensor index, Tensor[] weights, Tensor saved, {_OPTIONS}, "
    "int word_cache_size, Tensor key) -> Tensor[]"
)


def _packed_encoder(
    weights: Sequence[Tensor],
    n_convolutions: int,
    n_highways: int,
    activation: str,
    max_characters: int,
    precision: str,
    word_cache_size: int,
    key: Tensor,
) -> native._cpu.CachedTokenEncoder:
    def pack(arrays: list[Any]) -> native._cpu.CachedTokenEncoder:
        embedding, convolutions, highways, projection = encoder_parts(arrays, n_convolutions, n_highways)
        return packing.pack_encoder(
            embedding, convolutions, activation, highways, projection, max_characters, precision, word_cache_size
        )

    return PackedCache.of(key).get(weights, pack, native.precision_in_use(precision))


def _n_filters(weights: Sequence[Tensor], n_convolutions: int) -> int:
    return sum(weight.shape[0] for weight in weights[1 : 1 + 2 * n_convolutions : 2])


@cpu_kernel("encode_tokens")
def _encode_tokens(
    char_ids: Tensor,
    weights: Sequence[Tensor],
    n_convolutions: int,
    n_highways: int,
    activation: str,
    precision: str,
    word_cache_size: int,
    key: Tensor,
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
    key: Tensor,
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


@cpu_kernel("encode_tokens_backward")
def _encode_tokens_backward(
    dtable: Tensor,
    char_ids: Tensor,
    index: Tensor,
    weights: Sequence[Tensor],
    saved: Tensor,
    n_convolutions: int,
    n_highways: int,
    activation: str,
    word_cache_size: int,
    key: Tensor,
) -> list[Tensor]:
    packed = _packed_encoder(
        weights, n_convolutions, n_highways, activation, char_ids.shape[1], "float32", word_cache_size, key
    )
    return encoder_backward(packed, dtable, char_ids, index, weights, saved, n_convolutions, n_highways, activation)


@torch.library.register_fake("elmo_fast::encode_tokens_backward")
def _encode_tokens_backward_fake(
    dtable: Tensor, char_ids: Tensor, index: Tensor, weights: Sequence[Tensor], *others: Any
) -> list[Tensor]:
    return [weight.new_empty(weight.shape) for weight in weights]


def _keep_encoder_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    char_ids, weights, n_convolutions, n_highways, activation, _, word_cache_size, key, _ = inputs
    _, index, saved = output
    ctx.mark_non_differentiable(index, saved)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(char_ids, index, saved, *weights)
    ctx.options = n_convolutions, n_highways, activation, word_cache_size, key
    ctx.packed = PackedCache.peek_at(key)  # keeps the packed weights alive as long as the graph


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
refuse_second_derivatives("encode_tokens_backward")
