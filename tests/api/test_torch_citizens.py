"""What torch users do with modules: autocast, AMP, hooks, functional_call, DataParallel, DistributedDataParallel."""

from __future__ import annotations

import copy
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.parts import encoder_of, lstm_of
from tolerances import DIFFERENT, FLOAT32, GRADIENT
from torch import Tensor, nn
from torch.autograd import forward_ad

from elmo_fast import Elmo, ElmoLstm, batch_to_ids, dispatch

BATCH = [["Hello", "world", "."], [], ["one", "two"]]

Model = Callable[..., tuple[Path, Path]]


def only(elmo: nn.Module, batch: list[list[str]] = BATCH) -> Tensor:
    return elmo(batch_to_ids(batch))["elmo_representations"][0]


def gradients(elmo: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in elmo.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("requires_grad", [False, True])
def test_autocast_selects_nothing(random_model: Model, requires_grad: bool) -> None:
    inside, outside = (Elmo(*random_model(), 1, requires_grad, dropout=0.0, state="reset") for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        actual = only(inside)
        actual.square().sum().backward()
    expected = only(outside)
    expected.square().sum().backward()
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)
    assert all(map(torch.equal, gradients(inside), gradients(outside)))


def test_training_with_a_grad_scaler(random_model: Model) -> None:
    elmo = Elmo(*random_model(), 1, True, dropout=0.0, state="reset")
    plain = copy.deepcopy(elmo)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    optimizers = [torch.optim.SGD(module.parameters(), lr=1e-3) for module in (elmo, plain)]
    for _ in range(3):
        for module, optimizer in zip((elmo, plain), optimizers, strict=True):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = only(module).square().mean()
            if module is elmo:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            else:
                loss.backward()
                optimizer.step()
    for one, other in zip(elmo.parameters(), plain.parameters(), strict=True):
        assert (one - other).abs().max().item() <= FLOAT32


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_train_on_the_reference_with_one_warning(
    random_model: Model, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_warned_dtypes", set())
    elmo = Elmo(*random_model(), 1, True, dropout=0.0, state="reset").to(dtype)
    with pytest.warns(UserWarning, match="precision="):
        output = only(elmo)
    assert output.dtype == dtype
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        only(elmo).square().sum().backward()
    assert all(gradient.dtype == dtype and gradient.isfinite().all() for gradient in gradients(elmo))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_functional_call(random_model: Model, requires_grad: bool) -> None:
    elmo = Elmo(*random_model(), 1, requires_grad, dropout=0.0, state="reset")
    other = Elmo(*random_model(seed=1), 1, requires_grad, dropout=0.0, state="reset")
    before = only(elmo).detach()
    weights = dict(other.named_parameters())
    actual = torch.func.functional_call(elmo, weights, (batch_to_ids(BATCH),))["elmo_representations"][0]
    assert torch.equal(actual, only(other))
    if requires_grad:
        actual.square().sum().backward()
        assert not gradients(elmo)
        assert len(gradients(other)) == len(weights)
    assert torch.equal(only(elmo).detach(), before)


def test_functions_of_torch_func_and_forward_mode_run_on_the_definition() -> None:
    torch.manual_seed(0)
    lstm = ElmoLstm(6, 6, 11, 2, state="reset")
    x, v = torch.randn(2, 2, 3, 6)
    mask = torch.ones(2, 3, dtype=torch.bool)

    def run(x: Tensor) -> Tensor:
        return lstm(x, mask)

    expected = (run(x + 1e-3 * v) - run(x - 1e-3 * v)) / 2e-3
    for trained in (True, False):
        lstm.requires_grad_(trained)
        _, tangent = torch.func.jvp(run, (x,), (v,))
        assert (tangent - expected).abs().max().item() <= DIFFERENT
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(run(forward_ad.make_dual(x, v)))
        assert (dual.tangent - expected).abs().max().item() <= DIFFERENT
        gradient = torch.func.grad(lambda x: run(x).square().sum())(x)
        leaf = x.clone().requires_grad_()
        assert (gradient - torch.autograd.grad(run(leaf).square().sum(), leaf)[0]).abs().max().item() <= FLOAT32


def test_hooks_on_submodules(random_model: Model) -> None:
    """A forward hook fires on the token encoder and on the LSTM, and what it changes counts."""
    elmo = Elmo(*random_model(), 1, True, dropout=0.0, state="reset")
    expected = only(elmo).detach()
    seen: list[str] = []
    handles = [
        encoder_of(elmo).register_forward_hook(lambda *_: seen.append("encoder")),
        lstm_of(elmo).register_forward_hook(lambda _module, _inputs, output: seen.append("lstm") or 2 * output),
        elmo.scalar_mix_0.register_forward_hook(lambda *_: seen.append("mix")),
    ]
    hooked = only(elmo)
    hooked.sum().backward()
    assert seen == ["encoder", "lstm", "mix"]
    assert not torch.equal(hooked, expected)
    for handle in handles:
        handle.remove()
    assert torch.equal(only(elmo), expected)
    backwards: list[str] = []
    parts = {"mix": elmo.scalar_mix_0, "lstm": lstm_of(elmo)}  # torch has none for outputs in dictionaries
    handles = [
        part.register_full_backward_hook(lambda *_, name=name: backwards.append(name)) for name, part in parts.items()
    ]
    only(elmo).sum().backward()
    assert sorted(backwards) == sorted(parts)
    for handle in handles:
        handle.remove()
    fired: list[Tensor] = []
    weight = lstm_of(elmo).forward_layer_0.state_linearity.weight
    weight.register_hook(fired.append)
    only(elmo).sum().backward()
    assert len(fired) == 1


def test_recurrent_dropout_in_training_only() -> None:
    torch.manual_seed(0)
    lstm = ElmoLstm(6, 6, 11, 2, recurrent_dropout_probability=0.5, state="reset")
    plain = ElmoLstm(6, 6, 11, 2, state="reset")
    plain.load_state_dict(lstm.state_dict())
    x, mask = torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool)
    assert not torch.equal(lstm(x, mask), lstm(x, mask))
    lstm(x, mask).sum().backward()
    lstm.eval()
    assert torch.equal(lstm(x, mask), plain(x, mask))


def test_data_parallel_replicas_discard_their_state(random_model: Model) -> None:
    """Without GPUs `DataParallel` calls the module; a replica is a shallow copy, which must not share the state."""
    elmo = Elmo(*random_model(), 1, dropout=0.0)
    assert torch.equal(only(nn.DataParallel(elmo)), only(Elmo(*random_model(), 1, dropout=0.0)))
    lstm = lstm_of(elmo)
    before = lstm._states
    replica = lstm._replicate_for_data_parallel()
    replica(torch.randn(2, 3, lstm.input_size), torch.ones(2, 3, dtype=torch.bool))
    assert lstm._states is before


_WORKER = """
    import sys, torch, torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from elmo_fast import Elmo, batch_to_ids

    rank, port, options, weights, out, trains = sys.argv[1:]
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", int(port), 2, rank == "0")
    dist.init_process_group("gloo", store=store, rank=int(rank), world_size=2)
    elmo = Elmo(options, weights, 1, trains == "True", dropout=0.0, state="reset")
    model = DistributedDataParallel(elmo)
    optimizer = torch.optim.SGD(elmo.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        batch = [["Hello", "world", "."], ["one"]] if rank == "0" else [["other", "words", "here"], ["a", "few"]]
        model(batch_to_ids(batch))["elmo_representations"][0].square().sum().backward()
        optimizer.step()
    torch.save(elmo.state_dict(), f"{out}/{rank}.pt")
    dist.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
@pytest.mark.parametrize("requires_grad", [False, True])
def test_distributed_data_parallel(random_model: Model, tmp_path: Path, requires_grad: bool) -> None:
    """Two processes end with the same weights: those of one process that sees both halves."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [str(path) for path in random_model()]
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent(_WORKER),
                str(rank),
                str(port),
                *files,
                tmp_path,
                str(requires_grad),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == 0, errors
    states = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    elmo = Elmo(*files, 1, requires_grad, dropout=0.0, state="reset")
    optimizer = torch.optim.SGD(elmo.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        for batch in ([["Hello", "world", "."], ["one"]], [["other", "words", "here"], ["a", "few"]]):
            (only(elmo, batch).square().sum() / 2).backward()
        optimizer.step()
    for name, expected in elmo.state_dict().items():
        assert torch.equal(states[0][name], states[1][name]), name
        scale = max(1.0, expected.abs().max().item())
        assert (states[0][name] - expected).abs().max().item() <= GRADIENT * scale, name
