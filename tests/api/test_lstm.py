"""The LSTM module on its own."""

from __future__ import annotations

import pytest
import torch
from tolerances import FLOAT32, NATIVE

from elmo_fast import ElmoLstm, dispatch
from elmo_fast.lstm_cell import LstmCellWithProjection

SIZES = {"input_size": 5, "hidden_size": 4, "cell_size": 9, "num_layers": 2}


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def mask_of(*lengths: int, num_timesteps: int) -> torch.Tensor:
    return torch.arange(num_timesteps) < torch.tensor(lengths)[:, None]


def make(**options: object) -> ElmoLstm:
    torch.manual_seed(0)
    return ElmoLstm(**{**SIZES, **options}).requires_grad_(False)


@pytest.mark.parametrize("clips", [(None, None), (0.0, 0.0), (0.3, 0.1)])
@pytest.mark.parametrize("use_skip_connections", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_native_equals_the_float64_reference(clips, use_skip_connections: bool, num_layers: int) -> None:  # type: ignore[no-untyped-def]
    cell_clip, proj_clip = clips
    options = {
        "memory_cell_clip_value": cell_clip,
        "state_projection_clip_value": proj_clip,
        "use_skip_connections": use_skip_connections,
        "num_layers": num_layers,
    }
    native, reference = make(**options), make(**options).double()
    for lengths in ((4, 0, 6, 1), (1, 6), (2, 3, 0, 4, 5)):  # the state carries on
        mask = mask_of(*lengths, num_timesteps=6)
        x = 2 * normal(len(lengths), 6, 5)
        assert dispatch.choose(native._tensors(), (x,)).name == "cpu"
        actual, expected = native(x, mask), reference(x.double(), mask)
        assert actual.shape == (num_layers, len(lengths), 6, 8)
        assert (actual - expected).abs().max().item() <= NATIVE
        assert not actual[:, ~mask].any()
        for a, b in zip(native._states, reference._states, strict=True):
            assert (a - b).abs().max().item() <= NATIVE


@pytest.mark.parametrize("double", [False, True], ids=["native", "reference"])
def test_empty_rows_keep_their_state(double: bool) -> None:
    lstm = make().double() if double else make()
    x = normal(3, 4, 5).to(next(lstm.parameters()))
    lstm(x, mask_of(2, 3, 4, num_timesteps=4))
    before = lstm._states
    lstm(x, mask_of(0, 3, 0, num_timesteps=4))
    for part, old in zip(lstm._states, before, strict=True):
        assert torch.equal(part[:, 0], old[:, 0])
        assert torch.equal(part[:, 2], old[:, 2])
        assert not torch.equal(part[:, 1], old[:, 1])
    before = lstm._states
    assert not lstm(x, mask_of(0, 0, 0, num_timesteps=4)).any()  # AllenNLP raises
    assert all(torch.equal(part, old) for part, old in zip(lstm._states, before, strict=True))


@pytest.mark.parametrize("double", [False, True], ids=["native", "reference"])
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_nothing_in_nothing_out(double: bool, shape: tuple[int, int]) -> None:
    lstm = make().double() if double else make()
    x = normal(*shape, 5).to(next(lstm.parameters()))
    assert lstm(x, torch.zeros(shape, dtype=torch.bool)).shape == (2, *shape, 8)


def test_inputs_may_be_strided_and_masks_integers() -> None:
    x, mask = normal(3, 4, 5), mask_of(2, 0, 4, num_timesteps=4)
    expected = make()(x, mask)
    assert torch.equal(make()(x.transpose(0, 1).contiguous().transpose(0, 1), mask), expected)
    assert torch.equal(make()(x, mask.long()), expected)


def test_parameters_are_trainable_until_weights_are_loaded(random_model) -> None:  # type: ignore[no-untyped-def]
    lstm = ElmoLstm(6, 6, 12, 2)
    assert all(p.requires_grad for p in lstm.parameters())
    lstm.load_weights(random_model()[1])
    assert not any(p.requires_grad for p in lstm.parameters())
    lstm = ElmoLstm(6, 6, 12, 2, requires_grad=True)
    lstm.load_weights(random_model()[1])
    assert all(p.requires_grad for p in lstm.parameters())


def test_gradient_with_respect_to_the_inputs() -> None:
    lstm, x = make(), normal(2, 3, 5).requires_grad_()
    lstm(x, mask_of(3, 1, num_timesteps=3)).sum().backward()
    assert x.grad[0].abs().sum() > 0
    assert not x.grad[1, 1:].any()


def test_initialisation() -> None:
    cell = LstmCellWithProjection(5, 4, 9)
    for linear in (cell.input_linearity, cell.state_linearity):
        for gate in linear.weight.detach().chunk(4):
            assert (gate.T @ gate - torch.eye(gate.shape[1])).abs().max().item() <= FLOAT32
    assert cell.state_linearity.bias.tolist() == [0.0] * 9 + [1.0] * 9 + [0.0] * 18
    assert cell.state_projection.weight.detach().abs().sum() > 0
    assert cell.input_linearity.bias is None
    assert cell.state_projection.bias is None


def test_cell_alone_is_one_direction_of_the_stack() -> None:
    lstm = make(num_layers=1, state="reset")
    x, lengths = normal(3, 4, 5), [2, 4, 1]
    output = lstm(x, mask_of(*lengths, num_timesteps=4))
    for cell, half in ((lstm.forward_layer_0, output[0, ..., :4]), (lstm.backward_layer_0, output[0, ..., 4:])):
        alone, (h, c) = cell(x, lengths)
        assert (alone - half).abs().max().item() <= FLOAT32
        assert h.shape == (1, 3, 4)
        assert c.shape == (1, 3, 9)
        again, _ = cell(x, lengths, (h, c))
        assert not torch.equal(again, alone)


def test_recurrent_dropout_acts_in_training_only() -> None:
    lstm = make(recurrent_dropout_probability=0.5, num_layers=1, state="reset", hidden_size=64)
    plain = make(num_layers=1, state="reset", hidden_size=64)
    plain.load_state_dict(lstm.state_dict())
    x, mask = normal(2, 5, 5), mask_of(5, 3, num_timesteps=5)
    assert torch.equal(lstm.eval()(x, mask), plain(x, mask))
    dropped = lstm.train()(x, mask)
    assert lstm._has_dropout() and not plain._has_dropout()
    zero = (dropped[0, 0] == 0).float()
    assert torch.equal(zero.min(dim=0).values, zero.max(dim=0).values)  # one mask for all time steps
    assert 0.3 < zero.mean().item() < 0.7
    first_step = plain(x, mask)[0, 0, 0, :64]
    kept = dropped[0, 0, 0, :64] != 0
    assert (dropped[0, 0, 0, :64][kept] - 2 * first_step[kept]).abs().max().item() <= FLOAT32


@pytest.mark.parametrize(
    ("x", "mask", "message"),
    [
        ((2, 3, 4), (2, 3), r"inputs: expected shape \(batch_size, num_timesteps, 5\), got \(2, 3, 4\)"),
        ((2, 5), (2, 5), r"inputs: expected shape .* got \(2, 5\)"),
        ((2, 3, 5), (2, 4), r"mask: expected shape \(2, 3\), got \(2, 4\)"),
    ],
)
def test_wrong_shapes_are_named(x: tuple[int, ...], mask: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()(torch.zeros(x), torch.ones(mask, dtype=torch.bool))


def test_attributes_that_scripts_reach_into() -> None:
    lstm = make(requires_grad=True)
    assert lstm.forward_layers == [lstm.forward_layer_0, lstm.forward_layer_1]
    assert lstm.backward_layers == [lstm.backward_layer_0, lstm.backward_layer_1]
    assert lstm.backward_layer_1.go_forward is False
    assert lstm.forward_layer_1.input_size == 4
    assert (lstm.input_size, lstm.hidden_size, lstm.cell_size, lstm.num_layers) == (5, 4, 9, 2)
    assert lstm.requires_grad is True
    assert list(lstm.state_dict())[:4] == [
        "forward_layer_0.input_linearity.weight",
        "forward_layer_0.state_linearity.weight",
        "forward_layer_0.state_linearity.bias",
        "forward_layer_0.state_projection.weight",
    ]
