"""ELMo's biLM in plain PyTorch: the definition that every kernel is tested against (in float64).

It is differentiable and works in any floating dtype on any device. It also runs in production where the native kernels
do not: in dtypes that they lack, and on a CUDA device without native kernels or for gradients of the biLM's weights.

Source: Peters et al. 2018, arXiv:1802.05365; character CNN and highway: Kim et al. 2016, arXiv:1508.06615; LSTM with
projection: Sak et al. 2014, arXiv:1402.1128; clipping, markers and skip connection as in bilm-tf.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

WeightAndBias = tuple[Tensor, Tensor]
LstmTensors = tuple[Tensor, Tensor, Tensor, Tensor]
State = tuple[Tensor, Tensor]


def add_markers(x: Tensor, mask: Tensor, bos: Tensor, eos: Tensor) -> tuple[Tensor, Tensor]:
    """Puts `<S>` before and `</S>` after every row.

    Args:
        x: (batch_size, num_timesteps, dim), character ids or token embeddings, zero where `mask` is false.
        mask: (batch_size, num_timesteps) bool, where there is a token.
        bos, eos: (dim,).
    Returns:
        (batch_size, num_timesteps + 2, dim) and its mask. `</S>` follows after as many positions as the row has tokens;
        if the mask has holes, it replaces a later token.
    """
    rows = torch.arange(x.shape[0], device=x.device)
    end = mask.sum(dim=1) + 1
    x = F.pad(x, (0, 0, 1, 1))
    x[:, 0], x[rows, end] = bos, eos
    mask = F.pad(mask, (1, 1))
    mask[:, 0] = True
    mask.scatter_(1, end[:, None], True)  # assigning by index would copy True from the CPU, which a CUDA graph cannot
    return x, mask


def char_cnn(
    char_ids: Tensor, char_embedding: Tensor, convolutions: Sequence[WeightAndBias], activation: str
) -> Tensor:
    """Convolutions of several widths over a token's characters, each filter's maximum, then the activation.

    Args:
        char_ids: (n, max_characters) integers. Padding characters are treated like all others.
        char_embedding: (n_ids, dim).
        convolutions: for each width, weight (n_filters, dim, width) and bias (n_filters,).
        activation: "relu" or "tanh".
    Returns:
        (n, total number of filters).
    """
    activate = {"relu": torch.relu, "tanh": torch.tanh}[activation]
    x = F.embedding(char_ids, char_embedding).transpose(1, 2)
    # max, not amax, so that only one of several equal positions gets the gradient, as in AllenNLP.
    return torch.cat([activate(F.conv1d(x, weight, bias).max(dim=-1).values) for weight, bias in convolutions], dim=-1)


def highway(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`g * x + (1 - g) * relu(A x + a)` with `g = sigmoid(B x + b)`; rows of `weight` are [A; B].

    Source: Srivastava et al. 2015, arXiv:1505.00387.
    """
    transform, carry = F.linear(x, weight, bias).chunk(2, dim=-1)
    gate = torch.sigmoid(carry)
    return gate * x + (1 - gate) * torch.relu(transform)


def encode_tokens(
    char_ids: Tensor,
    char_embedding: Tensor,
    convolutions: Sequence[WeightAndBias],
    activation: str,
    highways: Sequence[WeightAndBias],
    projection: WeightAndBias | None,
) -> Tensor:
    """The context-insensitive token encoder: (n, max_characters) ids -> (n, projection_dim)."""
    x = char_cnn(char_ids, char_embedding, convolutions, activation)
    for weight, bias in highways:
        x = highway(x, weight, bias)
    return x if projection is None else F.linear(x, *projection)


def lstm(
    x: Tensor,
    lengths: Tensor,
    weights: LstmTensors,
    *,
    reverse: bool = False,
    state: State | None = None,
    cell_clip: float = 0.0,
    proj_clip: float = 0.0,
    dropout_mask: Tensor | None = None,
) -> tuple[Tensor, State]:
    """One direction of one LSTM layer with projection, over ragged rows.

    Args:
        x: (batch_size, num_timesteps, input_size).
        lengths: (batch_size,) integers, 0 to num_timesteps; positions beyond are never read.
        weights: input (4 * cell_size, input_size), state (4 * cell_size, projection_dim), bias (4 * cell_size,),
            projection (projection_dim, cell_size); gates in the order i, f, g, o.
        reverse: run from each row's last position to its first.
        state: h (batch_size, projection_dim) and c (batch_size, cell_size) to start from; None is zero.
        cell_clip, proj_clip: bounds on the absolute cell state and projected output; 0 is none.
        dropout_mask: (batch_size, projection_dim) that multiplies every step's output, or None.
    Returns:
        (batch_size, num_timesteps, projection_dim), zero beyond the lengths, and the final (h, c), unchanged in rows
        of length 0.
    """
    input_weight, state_weight, bias, projection = weights
    batch_size, num_timesteps, _ = x.shape
    if state is None:
        state = x.new_zeros(batch_size, len(projection)), x.new_zeros(batch_size, projection.shape[1])
    # Longest rows first, so that the rows still running at a step are always the first ones.
    order = lengths.argsort(descending=True)
    x, h, c = x[order], state[0][order], state[1][order]
    running = (lengths.cpu()[:, None] > torch.arange(num_timesteps)).sum(dim=0).tolist()
    outputs = []
    for t in reversed(range(num_timesteps)) if reverse else range(num_timesteps):
        n = running[t]
        gates = F.linear(x[:n, t], input_weight) + F.linear(h[:n], state_weight, bias)
        i, f, g, o = gates.chunk(4, dim=-1)
        cell = _clip(torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(f) * c[:n], cell_clip)
        hidden = _clip(F.linear(torch.sigmoid(o) * torch.tanh(cell), projection), proj_clip)
        if dropout_mask is not None:
            hidden = hidden * dropout_mask[order[:n]]
        h, c = torch.cat([hidden, h[n:]]), torch.cat([cell, c[n:]])
        outputs.append(F.pad(hidden, (0, 0, 0, batch_size - n)))
    if reverse:
        outputs.reverse()
    output = torch.stack(outputs, dim=1) if outputs else x.new_zeros(batch_size, 0, len(projection))
    back = order.argsort()
    return output[back], (h[back], c[back])


def _clip(x: Tensor, bound: float) -> Tensor:
    return x.clamp(-bound, bound) if bound else x


def bilstm(
    x: Tensor,
    lengths: Tensor,
    layers: Sequence[tuple[LstmTensors, LstmTensors]],
    *,
    state: State | None = None,
    cell_clip: float = 0.0,
    proj_clip: float = 0.0,
    use_skip_connections: bool = True,
    dropout_masks: Sequence[tuple[Tensor, Tensor]] | None = None,
) -> tuple[Tensor, State]:
    """Stacked, independent forward and backward LSTMs; from the second layer on, output = LSTM output + input.

    Args:
        x: (batch_size, num_timesteps, input_size), read by both directions.
        layers: for each layer, the forward and the backward direction's tensors, see `lstm`.
        state: h (n_layers, batch_size, 2 * projection_dim) and c (n_layers, batch_size, 2 * cell_size), forward half
            first: the LSTM's own output, before the skip connection is added. None is zero.
        dropout_masks: for each layer, the two directions' `dropout_mask`.
    Returns:
        (n_layers, batch_size, num_timesteps, 2 * projection_dim) and the final state, shaped like `state`.
    """
    inputs = [x, x]
    outputs, hidden, cells = [], [], []
    for k, directions in enumerate(layers):
        results = []
        for d, weights in enumerate(directions):
            start = None if state is None else tuple(part[k].chunk(2, dim=-1)[d] for part in state)
            mask = None if dropout_masks is None else dropout_masks[k][d]
            results.append(
                lstm(
                    inputs[d], lengths, weights, reverse=d == 1, state=start,
                    cell_clip=cell_clip, proj_clip=proj_clip, dropout_mask=mask,
                )
            )  # fmt: skip
        skip = k > 0 and use_skip_connections
        inputs = [out + inp if skip else out for (out, _), inp in zip(results, inputs, strict=True)]
        outputs.append(torch.cat(inputs, dim=-1))
        hidden.append(torch.cat([h for _, (h, _) in results], dim=-1))
        cells.append(torch.cat([c for _, (_, c) in results], dim=-1))
    return torch.stack(outputs), (torch.stack(hidden), torch.stack(cells))


def duplicate_tokens(tokens: Tensor, mask: Tensor) -> Tensor:
    """Returns layer 0: the token embedding once per direction, zero where the mask is false."""
    return torch.cat([tokens, tokens], dim=-1).masked_fill(~mask.unsqueeze(-1), 0.0)
