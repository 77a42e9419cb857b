"""Cases in which the PyTorch reference runs instead of the native kernels; and the kernels follow changed weights."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from tolerances import CUDA, DIFFERENT, HALF, NATIVE

from elmo_fast import Elmo, ElmoBiLm, batch_to_ids, dispatch

BATCH = [["Hello", "world", "."], [], ["one"]]


def run(bilm: ElmoBiLm) -> torch.Tensor:
    return torch.stack(bilm(batch_to_ids(BATCH))["activations"])


def largest(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


def test_frozen_bilm_runs_natively_and_its_mixes_train(random_model) -> None:  # type: ignore[no-untyped-def]
    elmo = Elmo(*random_model(), 2, dropout=0.3)
    assert dispatch.choose(**elmo._elmo_lstm._call()).name == "cpu"
    sum(r.square().sum() for r in elmo(batch_to_ids(BATCH))["elmo_representations"]).backward()
    for name, parameter in elmo.named_parameters():
        assert parameter.requires_grad == name.startswith("scalar_mix"), name
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) == parameter.requires_grad, name


@pytest.mark.parametrize("part", ["_token_embedder", "_elmo_lstm"])
def test_one_trainable_part_gets_its_gradients(random_model, part: str) -> None:  # type: ignore[no-untyped-def]
    whole = ElmoBiLm(*random_model(), requires_grad=True)
    bilm = ElmoBiLm(*random_model())
    getattr(bilm, part).requires_grad_(True)
    for model in (whole, bilm):
        run(model).square().sum().backward()
    expected = dict(whole.named_parameters())
    for name, parameter in bilm.named_parameters():
        if name.startswith(part):
            scale = max(1.0, largest(expected[name].grad))
            assert largest(parameter.grad - expected[name].grad) <= NATIVE * scale, name
        else:
            assert parameter.grad is None, name


def step(bilm: ElmoBiLm) -> None:
    optimizer = torch.optim.SGD(bilm.parameters(), lr=0.1)
    run(bilm).square().mean().backward()
    optimizer.step()


def write_through_data(bilm: ElmoBiLm) -> None:
    for parameter in bilm.parameters():
        parameter.data.mul_(0.9)


def replace_data(bilm: ElmoBiLm) -> None:
    for parameter in bilm.parameters():
        parameter.data = parameter.data * 0.9


def replace_parameters(bilm: ElmoBiLm) -> None:
    for cell in bilm._elmo_lstm.backward_layers:
        cell.state_linearity.weight = torch.nn.Parameter(cell.state_linearity.weight.detach() * 0.9)


def round_trip_in_half(bilm: ElmoBiLm) -> None:
    bilm.half().float()


def load_other_weights(bilm: ElmoBiLm) -> None:
    bilm.load_state_dict({name: tensor * 0.9 for name, tensor in bilm.state_dict().items()})


def change_one_bias(bilm: ElmoBiLm) -> None:
    with torch.no_grad():
        bilm._elmo_lstm.forward_layer_1.state_linearity.bias[4] += 1.0  # not one of those that `packed.py` samples


def replace_a_submodule(bilm: ElmoBiLm) -> None:
    torch.manual_seed(1)
    bilm._token_embedder._projection = torch.nn.Linear(15, 6).requires_grad_(False)


class Double(torch.nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def parametrize_a_weight(bilm: ElmoBiLm) -> None:
    linear = bilm._elmo_lstm.backward_layer_0.state_linearity
    torch.nn.utils.parametrize.register_parametrization(linear, "weight", Double())


CHANGES = [
    step,
    write_through_data,
    replace_data,
    replace_parameters,
    round_trip_in_half,
    load_other_weights,
    change_one_bias,
    replace_a_submodule,
    parametrize_a_weight,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_native_kernels_follow_changed_weights(random_model, change) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), requires_grad=change is step, state="reset")
    with torch.no_grad():
        before = run(bilm)
    change(bilm)
    reference = copy.deepcopy(bilm).double()
    with torch.no_grad():
        assert dispatch.choose(**bilm._call()).name == "cpu"
        after = run(bilm)
        assert largest(after - run(reference)) <= NATIVE
    assert largest(after - before) > DIFFERENT


def test_a_plain_tensor_in_a_parameters_place(random_model) -> None:  # type: ignore[no-untyped-def]
    """As old weight normalisation leaves it."""
    bilm, other = (ElmoBiLm(*random_model(), state="reset") for _ in range(2))
    run(bilm)
    convolution = bilm._token_embedder.char_conv_1
    weight = 2 * convolution.weight
    del convolution.weight
    convolution.weight = weight
    with torch.no_grad():
        other._token_embedder.char_conv_1.weight *= 2
    assert torch.equal(run(bilm), run(other))


def test_gradients_that_are_asked_for_later(random_model) -> None:  # type: ignore[no-untyped-def]
    """The packed copy is there already; it must not hide that a gradient is needed now."""
    bilm = ElmoBiLm(*random_model(), state="reset")
    assert not run(bilm).requires_grad
    for part in (bilm._elmo_lstm, bilm._token_embedder):
        part.requires_grad_(True)
        assert run(bilm).requires_grad
        with torch.no_grad():
            assert dispatch.choose(**bilm._call()).name == "cpu"
        part.requires_grad_(False)
        assert dispatch.choose(**bilm._call()).name == "cpu"


def test_unchanged_weights_are_packed_once(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model())
    run(bilm)
    lstm, encoder = bilm._elmo_lstm.packed(), bilm._token_embedder.packed()
    bilm.eval().to("cpu").train()
    run(bilm)
    assert bilm._elmo_lstm.packed() is lstm
    assert bilm._token_embedder.packed() is encoder
    bilm.double()
    assert not bilm._elmo_lstm._packed._entries  # its memory is freed


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes_warn_once(random_model, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(dispatch, "_warned_dtypes", set())
    bilm = ElmoBiLm(*random_model(), state="reset")
    expected = run(bilm)
    bilm.to(dtype)
    with pytest.warns(UserWarning, match=f"the native kernels are float32; this model or input of {dtype}"):
        output = run(bilm)
    assert output.dtype == dtype
    assert largest(output.float() - expected) <= HALF
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(bilm)


def test_parameters_made_in_inference_mode(random_model) -> None:  # type: ignore[no-untyped-def]
    expected = run(ElmoBiLm(*random_model()))
    with torch.inference_mode():
        bilm = ElmoBiLm(*random_model(), state="reset")
        assert torch.equal(run(bilm), expected)
    assert torch.equal(run(bilm), expected)


def test_meta_device_runs_no_kernel(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model()).to("meta")
    assert dispatch.choose(**bilm._call()).name == "reference"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_runs_the_reference(random_model, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    # torch's default lets cuDNN's convolutions round to TF32.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    bilm, expected = ElmoBiLm(*random_model()).cuda(), ElmoBiLm(*random_model())
    for _ in range(2):
        output = torch.stack(bilm(batch_to_ids(BATCH).cuda())["activations"])
        assert output.is_cuda
        assert largest(output.cpu() - run(expected)) <= CUDA
    assert bilm._elmo_lstm._states[0].is_cuda
