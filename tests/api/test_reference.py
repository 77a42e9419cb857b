"""The reference against independent computations: torch's own LSTM, loops over the paper's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerances import FLOAT64

from elmo_fast import reference


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


def lstm_weights(input_size: int, projection_dim: int, cell_size: int, seed: int = 0) -> reference.LstmTensors:
    return (
        normal(4 * cell_size, input_size, seed=seed),
        normal(4 * cell_size, projection_dim, seed=seed),
        normal(4 * cell_size, seed=seed),
        normal(projection_dim, cell_size, seed=seed),
    )


def largest(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


def test_lstm_without_clipping_is_torchs_own_lstm() -> None:
    input_size, projection_dim, cell_size = 5, 3, 7
    input_sizes = (input_size, projection_dim)
    layers = [
        tuple(lstm_weights(input_sizes[k], projection_dim, cell_size, 10 * k + d) for d in (0, 1)) for k in (0, 1)
    ]
    x, lengths = normal(4, 6, input_size), torch.tensor([6, 2, 1, 4])
    start = normal(2, 4, 2 * projection_dim), normal(2, 4, 2 * cell_size)
    for d in (0, 1):
        own = torch.nn.LSTM(input_size, cell_size, 2, batch_first=True, proj_size=projection_dim, dtype=torch.float64)
        with torch.no_grad():
            for k in (0, 1):
                names = ("weight_ih", "weight_hh", "bias_ih", "weight_hr")
                for name, tensor in zip(names, layers[k][d], strict=True):
                    getattr(own, f"{name}_l{k}").copy_(tensor)
                getattr(own, f"bias_hh_l{k}").zero_()
        output, (h, c) = reference.bilstm(x, lengths, layers, state=start, use_skip_connections=False)
        for row, n in enumerate(lengths.tolist()):
            inputs = x[row, :n] if d == 0 else x[row, :n].flip(0)
            state = tuple(part[:, row].chunk(2, dim=-1)[d].contiguous() for part in start)
            expected, (expected_h, expected_c) = own(inputs, state)
            expected = expected if d == 0 else expected.flip(0)
            assert largest(output[1, row, :n].chunk(2, dim=-1)[d] - expected) <= FLOAT64
            assert largest(h[:, row].chunk(2, dim=-1)[d] - expected_h) <= FLOAT64
            assert largest(c[:, row].chunk(2, dim=-1)[d] - expected_c) <= FLOAT64


def test_one_clipped_step_by_hand() -> None:
    weights = tuple(3 * weight for weight in lstm_weights(2, 2, 3))
    x, h, c = normal(1, 1, 2), normal(1, 2), 2 * normal(1, 3)
    output, (new_h, new_c) = reference.lstm(x, torch.tensor([1]), weights, state=(h, c), cell_clip=0.7, proj_clip=0.2)
    w, u, b, p = (weight.numpy() for weight in weights)
    i, f, g, o = np.split(w @ x[0, 0].numpy() + u @ h[0].numpy() + b, 4)

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    cell = np.clip(sigmoid(i) * np.tanh(g) + sigmoid(f) * c[0].numpy(), -0.7, 0.7)
    hidden = np.clip(p @ (sigmoid(o) * np.tanh(cell)), -0.2, 0.2)
    assert np.abs(new_c[0].numpy() - cell).max() <= FLOAT64
    assert np.abs(new_h[0].numpy() - hidden).max() <= FLOAT64
    assert torch.equal(output[0, 0], new_h[0])
    assert (np.abs(cell) == 0.7).any()
    assert (np.abs(hidden) == 0.2).any()


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_are_independent_and_padding_is_never_read(reverse: bool) -> None:
    weights, lengths = lstm_weights(4, 3, 5), torch.tensor([0, 3, 5, 1])
    x, state = normal(4, 5, 4), (normal(4, 3), normal(4, 5))
    x[torch.arange(5) >= lengths[:, None]] = float("nan")
    output, (h, c) = reference.lstm(x, lengths, weights, reverse=reverse, state=state)
    for row, n in enumerate(lengths.tolist()):
        start = tuple(part[row : row + 1] for part in state)
        alone, (h1, c1) = reference.lstm(x[row : row + 1, :n], torch.tensor([n]), weights, reverse=reverse, state=start)
        assert not output[row, n:].any()
        assert n == 0 or largest(output[row, :n] - alone[0]) <= FLOAT64
        assert largest(h[row] - h1[0]) <= FLOAT64
        assert largest(c[row] - c1[0]) <= FLOAT64
    assert torch.equal(h[0], state[0][0])
    assert torch.equal(c[0], state[1][0])


def test_skip_connection_is_not_in_the_state() -> None:
    layers = [tuple(lstm_weights(3, 3, 4, 10 * k + d) for d in (0, 1)) for k in (0, 1)]
    x, lengths = normal(1, 1, 3), torch.tensor([1])
    with_skip, (h, _) = reference.bilstm(x, lengths, layers)
    without, (h_without, _) = reference.bilstm(x, lengths, layers, use_skip_connections=False)
    assert torch.equal(with_skip[0], without[0])
    assert largest(with_skip[1] - without[1] - without[0]) <= FLOAT64
    assert torch.equal(h, h_without)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_char_cnn_by_loops(activation: str) -> None:
    embedding = normal(9, 2)
    convolutions = [(normal(3, 2, width), normal(3, seed=width)) for width in (1, 3)]
    char_ids = torch.tensor([[1, 2, 3, 0, 8], [8, 8, 8, 8, 8]])
    actual = reference.char_cnn(char_ids, embedding, convolutions, activation)
    activate = {"relu": lambda z: max(z, 0.0), "tanh": np.tanh}[activation]
    for token, ids in enumerate(char_ids.tolist()):
        column = 0
        for weight, bias in convolutions:
            for n in range(len(bias)):
                sums = [
                    bias[n].item()
                    + sum((weight[n, :, k] @ embedding[ids[t + k]]).item() for k in range(weight.shape[2]))
                    for t in range(len(ids) - weight.shape[2] + 1)
                ]
                assert abs(actual[token, column].item() - activate(max(sums))) <= FLOAT64
                column += 1


def test_highway_carries_when_the_gate_is_open() -> None:
    x, weight = normal(5, 4), torch.zeros(8, 4, dtype=torch.float64)
    transform = normal(4)
    for gate, expected in ((40.0, x), (-40.0, torch.relu(transform).expand(5, 4))):
        bias = torch.cat([transform, torch.full((4,), gate, dtype=torch.float64)])
        assert largest(reference.highway(x, weight, bias) - expected) <= FLOAT64
    weight, bias = normal(8, 4), normal(8)
    gate = torch.sigmoid(x @ weight[4:].T + bias[4:])
    expected = gate * x + (1 - gate) * torch.relu(x @ weight[:4].T + bias[:4])
    assert largest(reference.highway(x, weight, bias) - expected) <= FLOAT64


def test_markers_and_holes() -> None:
    mask = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]], dtype=torch.bool)
    x = torch.arange(1, 13).view(4, 3, 1) * mask.unsqueeze(-1)
    marked, marked_mask = reference.add_markers(x, mask, torch.tensor([-1]), torch.tensor([-2]))
    # In rows with holes </S> replaces the token that lies where it goes.
    assert marked.squeeze(-1).tolist() == [[-1, 1, 2, -2, 0], [-1, -2, 0, 0, 0], [-1, 7, 0, -2, 0], [-1, 0, 11, -2, 0]]
    assert marked_mask.int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 0, 1, 0], [1, 0, 1, 1, 0]]


@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_gradients_are_those_of_finite_differences(clip: float) -> None:
    torch.manual_seed(0)
    shapes = [(8, 3), (8, 3), (8,), (3, 2)]
    tensors = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(4) for shape in shapes]
    x = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    state = tuple(torch.randn(2, 3, 2 * size, dtype=torch.float64, requires_grad=True) for size in (3, 2))

    def bilstm(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cells = [weights[i : i + 4] for i in range(0, 16, 4)]
        layers = [(cells[0], cells[1]), (cells[2], cells[3])]
        out, last = reference.bilstm(x, torch.tensor([4, 0, 2]), layers, state=(h, c), cell_clip=clip, proj_clip=clip)
        return out, *last

    assert torch.autograd.gradcheck(bilstm, (x, *state, *tensors))
    char_ids = torch.randint(0, 9, (3, 6))
    embedding = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    pairs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 2, 2), (3,), (6, 3), (6,))]

    def encode(embedding: torch.Tensor, *pairs: torch.Tensor) -> torch.Tensor:
        return reference.encode_tokens(char_ids, embedding, [pairs[:2]], "tanh", [pairs[2:]], None)

    assert torch.autograd.gradcheck(encode, (embedding, *pairs))
