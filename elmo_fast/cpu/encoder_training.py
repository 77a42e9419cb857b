"""Training of the token encoder: a forward pass that saves activations, and the backward pass.

Matrix products run in torch. The maxima of the convolutions, and the gradients through them, are computed natively.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from elmo_fast.cpu.saved_activations import array_of, encoder_saved_size, lazy_zeros, zeros
from elmo_fast.native import _cpu, get_num_threads
from elmo_fast.parameters import encoder_parts

# If nothing was saved, the backward pass recomputes the activations for this many distinct words at a time.
_WORDS_AGAIN = 1024


def encoder_forward(
    native: _cpu.CachedTokenEncoder, char_ids: Tensor, n_filters: int, n_highways: int, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Encodes words, each distinct word only once.

    Args:
        native: the encoder; it must be packed in float32 if `keep` is true.
        char_ids: (n, max_characters) int64.
        n_filters: total number of convolution filters.
        n_highways: number of highway layers.
        keep: whether to save activations for a backward pass.
    Returns:
        A table, (n, output_dim) float32, with the embeddings of the distinct words in its first rows, and zero in its
        other rows; index, (n,) int32, the row of the table for each word; and the activations saved for the backward
        pass, (n * encoder_saved_size,) float32, of which only the first part is used. They are empty unless `keep`.
    """
    n = len(char_ids)
    ids = array_of(char_ids, np.int64)
    table = zeros(n, native.output_dim)
    saved = lazy_zeros(n * encoder_saved_size(n_filters, n_highways) if keep else 0)
    if n == 0:
        return table, torch.zeros(0, dtype=torch.int32), saved
    if keep:
        _, index = native.encode_for_training(ids, table.numpy(), saved.numpy(), get_num_threads())
    else:
        distinct, index = native.encode(ids, get_num_threads())
        table[: len(distinct)] = torch.from_numpy(distinct)
    return table, torch.from_numpy(index), saved


def encoder_backward(
    native: _cpu.CachedTokenEncoder,
    dtable: Tensor,
    char_ids: Tensor,
    index: Tensor,
    weights: Sequence[Tensor],
    saved: Tensor,
    n_convolutions: int,
    n_highways: int,
    activation: str,
) -> list[Tensor]:
    """Computes the gradients of `encoder_forward` with respect to the weights.

    Args:
        native: the encoder, packed in float32.
        dtable: (n, output_dim), the gradient of the table.
        char_ids: the ids passed to `encoder_forward`.
        index: the index returned by `encoder_forward`.
        weights: the character embedding, then the weight and bias of each convolution, of each highway layer, and of
            the projection if there is one.
        saved: the activations saved by `encoder_forward`. If empty, they are recomputed for `_WORDS_AGAIN` words at a
            time.
        n_convolutions, n_highways: number of convolutions and of highway layers.
        activation: "relu" or "tanh".
    Returns:
        The gradients, in the order and shapes of `weights`.
    """
    if not len(index):
        return [torch.zeros_like(weight) for weight in weights]
    words = torch.from_numpy(np.unique(index.numpy(), return_index=True)[1])  # first occurrence of each distinct word
    ids = char_ids[words]
    if len(saved):
        return _gradients(native, dtable[: len(ids)], ids, weights, saved, n_convolutions, n_highways, activation)
    total: list[Tensor] = []
    n_filters = sum(len(bias) for _, bias in encoder_parts(weights, n_convolutions, n_highways)[1])
    for some, d in zip(ids.split(_WORDS_AGAIN), dtable[: len(ids)].split(_WORDS_AGAIN), strict=True):
        saved = encoder_forward(native, some, n_filters, n_highways, True)[2]
        gradients = _gradients(native, d, some, weights, saved, n_convolutions, n_highways, activation)
        total = [a.add_(b) for a, b in zip(total, gradients, strict=True)] if total else gradients
    return total


def _gradients(
    native: _cpu.CachedTokenEncoder,
    d: Tensor,
    char_ids: Tensor,
    weights: Sequence[Tensor],
    saved: Tensor,
    n_convolutions: int,
    n_highways: int,
    activation: str,
) -> list[Tensor]:
    """Same as `encoder_backward`, but for n distinct words; `d` (n, output_dim) is the gradient of their embeddings."""
    embedding, convolutions, highways, projection = encoder_parts(
        [weight.detach() for weight in weights], n_convolutions, n_highways
    )
    n, n_filters = len(char_ids), sum(len(bias) for _, bias in convolutions)
    planes = saved[: n * encoder_saved_size(n_filters, n_highways)].view(1 + 3 * n_highways, n, -1)[:, :, :n_filters]
    gradients: list[Tensor] = []  # in reverse order: last layer first, bias before weight
    if projection is not None:
        gradients += d.sum(dim=0), d.t() @ planes[-1]
        d = d @ projection[0]
    for k in reversed(range(n_highways)):
        x, transform, gate = planes[3 * k], planes[3 * k + 1], planes[3 * k + 2]
        closed = d * (1 - gate)
        sums = torch.cat([closed * (transform > 0), closed * gate * (x - transform)], dim=1)
        gradients += sums.sum(dim=0), sums.t() @ x
        d = torch.addmm(d * gate, sums, highways[k][0])
    d = d * (1 - planes[0].square()) if activation == "tanh" else d * (planes[0] > 0)
    tables = native.table_gradients(array_of(char_ids, np.int64), array_of(d), get_num_threads())
    dembedding = torch.zeros_like(embedding)
    for (weight, _), dconvolution, dbias in zip(
        reversed(convolutions),
        reversed(tables),
        reversed(d.sum(dim=0).split([len(bias) for _, bias in convolutions])),
        strict=True,
    ):
        of_table = torch.from_numpy(dconvolution)  # (filter_width, n_ids, n_filters)
        gradients += dbias.clone(), torch.matmul(of_table.transpose(1, 2), embedding).permute(1, 2, 0).contiguous()
        for k in range(len(of_table)):
            dembedding.addmm_(of_table[k], weight[:, :, k])
    return [dembedding, *reversed(gradients)]
