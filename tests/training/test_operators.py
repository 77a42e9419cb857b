"""The torch operators: opcheck, torch.compile, torch.export."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.parts import encoder_of, lstm_of
from tolerances import FLOAT32
from torch import Tensor, nn

from elmo_fast import Elmo, ElmoBiLm, ElmoLstm, batch_to_ids
from elmo_fast.cpu import ops

BATCH = [["Hello", "world", "."], [], ["one", "two"]]
OTHER = [["another", "shape", "of", "batch"], ["with", "other", "words"]]

Model = Callable[..., tuple[Path, Path]]


@pytest.fixture(autouse=True)
def new_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(module: nn.Module) -> nn.Module:
    """The module's Python traced whole, or an error; the code that runs is the same, without a C++ compiler."""
    return torch.compile(module, fullgraph=True, backend="aot_eager")


def only(output: dict[str, list[Tensor]]) -> Tensor:
    return output["elmo_representations"][0]


def encoder_arguments(bilm: ElmoBiLm, keep: bool) -> tuple[object, ...]:
    encoder = bilm._token_embedder
    char_ids = encoder.add_markers(batch_to_ids(BATCH))[0].flatten(0, 1)
    options = len(encoder._convolutions), 1, "relu", "float32", encoder._word_cache_size, encoder._packed.key, keep
    return char_ids, encoder._tensors(), *options


def lstm_arguments(bilm: ElmoBiLm, keep: bool, with_state: bool) -> tuple[object, ...]:
    torch.manual_seed(0)
    lstm = bilm._elmo_lstm
    table = torch.randn(5, lstm.input_size, requires_grad=keep)
    index = torch.randint(0, 5, (3, 4), dtype=torch.int32)
    state = [torch.randn(2, 3, 2 * size, requires_grad=keep) for size in (lstm.hidden_size, lstm.cell_size)]
    h, c = state if with_state else (None, None)
    options = lstm._cell_clip, lstm._proj_clip, lstm.use_skip_connections
    return table, index, torch.tensor([3, 0, 4]), lstm._tensors(), h, c, *options, "float32", lstm._packed.key, keep


@pytest.mark.parametrize("keep", [False, True], ids=["inference", "training"])
def test_opcheck_of_the_encoder(random_model: Model, keep: bool) -> None:
    bilm = ElmoBiLm(*random_model(), requires_grad=keep)
    torch.library.opcheck(ops.encode_tokens, encoder_arguments(bilm, keep))


@pytest.mark.parametrize("with_state", [False, True], ids=["zero", "state"])
@pytest.mark.parametrize("keep", [False, True], ids=["inference", "training"])
def test_opcheck_of_the_bilstm(random_model: Model, keep: bool, with_state: bool) -> None:
    bilm = ElmoBiLm(*random_model(), requires_grad=keep)
    torch.library.opcheck(ops.bilstm, lstm_arguments(bilm, keep, with_state))


def test_opcheck_of_the_backward_passes(random_model: Model) -> None:
    bilm = ElmoBiLm(*random_model())
    char_ids, weights, *options, _, word_cache_size, key, _ = encoder_arguments(bilm, True)
    table, index, saved = ops.encode_tokens(*encoder_arguments(bilm, True))
    arguments = torch.randn_like(table), char_ids, index, weights, saved, *options, word_cache_size, key
    torch.library.opcheck(torch.ops.elmo_fast.encode_tokens_backward, arguments)
    table, index, lengths, weights, h, c, *options, _, key, _ = lstm_arguments(bilm, True, True)
    out, _, _, saved = (tensor.detach() for tensor in ops.bilstm(*lstm_arguments(bilm, True, True)))
    wanted = [True] * (2 + len(weights))
    for dh, dc in ((None, None), (torch.randn_like(h), torch.randn_like(c))):
        arguments = (
            torch.randn_like(out), dh, dc, table.detach(), index, lengths, weights, h.detach(), c.detach(), out, saved,
            *options, key, wanted,
        )  # fmt: skip
        torch.library.opcheck(torch.ops.elmo_fast.bilstm_backward, arguments)


def test_gradients_of_a_state_go_through(random_model: Model) -> None:
    """The modules detach their states; the operator does not, and its gradients are the reference's."""
    from elmo_fast import reference

    bilm = ElmoBiLm(*random_model(cell_clip=0.5))
    table, index, lengths, weights, h, c, *options, _, key, _ = lstm_arguments(bilm, True, True)
    seeds: list[Tensor] = []

    def gradients(out: Tensor, last: tuple[Tensor, Tensor], *inputs: Tensor) -> list[Tensor]:
        if not seeds:
            seeds.extend(torch.randn_like(x) for x in (out, *last))
        total = sum((x * seed.to(x)).sum() for x, seed in zip((out, *last), seeds, strict=True))
        return list(torch.autograd.grad(total, inputs))

    out, h_last, c_last, _ = ops.bilstm(table, index, lengths, weights, h, c, *options, "float32", key, True)
    actual = gradients(out, (h_last, c_last), table, h, c)
    doubles = [x.detach().double().requires_grad_() for x in (table, h, c)]
    cells = [tuple(weight.double() for weight in weights[i : i + 4]) for i in range(0, len(weights), 4)]
    expected_out, last = reference.bilstm(
        nn.functional.embedding(index, doubles[0]), lengths, list(zip(cells[0::2], cells[1::2], strict=True)),
        state=(doubles[1], doubles[2]), cell_clip=options[0], proj_clip=options[1],
    )  # fmt: skip
    expected = gradients(expected_out, last, *doubles)
    for one, other in zip(actual, expected, strict=True):
        assert (one.double() - other).abs().max().item() <= 10 * FLOAT32
    # Of the state alone: nothing below the top layer has a gradient of its own.
    out, h_last, c_last, _ = ops.bilstm(table.detach(), index, lengths, weights, h, c, *options, "float32", key, True)
    for one, other in zip(gradients(out, (h_last, c_last), h, c), expected[1:], strict=True):
        assert (one.double() - other).abs().max().item() <= 10 * FLOAT32


def test_second_derivatives_are_refused(random_model: Model) -> None:
    bilm = ElmoBiLm(*random_model(), requires_grad=True, state="reset")
    for part in (bilm._elmo_lstm, bilm._token_embedder):
        weight = next(part.parameters())
        total = torch.stack(bilm(batch_to_ids(BATCH))["activations"]).square().sum()
        (gradient,) = torch.autograd.grad(total, weight, create_graph=True)
        with pytest.raises(NotImplementedError, match="second derivatives"):
            gradient.sum().backward()


@pytest.mark.parametrize("requires_grad", [False, True], ids=["frozen weights", "trained weights"])
@pytest.mark.parametrize("state", ["carry", "reset", "frozen"])
def test_compiled_without_a_graph_break(random_model: Model, state: str, requires_grad: bool) -> None:
    ours, expected = (Elmo(*random_model(), 1, requires_grad, dropout=0.0, state=state) for _ in range(2))
    if state == "frozen":
        for elmo in (ours, expected):
            elmo.warm_up([["some", "words"]])
    program = compiled(ours)
    for batch in (BATCH, BATCH, OTHER, BATCH):
        ids = batch_to_ids(batch)
        actual, wanted = only(program(ids)), only(expected(ids))
        assert (actual - wanted).abs().max().item() <= FLOAT32
    if requires_grad:
        for output in (actual, wanted):
            output.square().sum().backward()
        for one, other in zip(ours.parameters(), expected.parameters(), strict=True):
            assert (one.grad - other.grad).abs().max() <= FLOAT32 * max(1.0, other.grad.abs().max().item())


def test_compiled_by_the_default_backend(random_model: Model) -> None:
    """One case through TorchInductor, which brings its own C++."""
    elmo = Elmo(*random_model(), 1, dropout=0.0, state="reset")
    ids = batch_to_ids(BATCH)
    program = torch.compile(elmo, fullgraph=True)
    assert (only(program(ids)) - only(elmo(ids))).abs().max().item() <= FLOAT32


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_compiled_programs_share_the_packed_weights(random_model: Model, precision: str) -> None:
    elmo = Elmo(*random_model(), 1, dropout=0.0, state="reset", precision=precision)
    ids = batch_to_ids(BATCH)
    expected = only(elmo(ids))
    packed = lstm_of(elmo).packed(), encoder_of(elmo).packed()
    program = compiled(elmo)
    for _ in range(2):
        assert (only(program(ids)) - expected).abs().max().item() <= FLOAT32
    assert (lstm_of(elmo).packed(), encoder_of(elmo).packed()) == packed


def test_one_program_serves_many_models(random_model: Model) -> None:
    graphs = []

    def count(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    for _ in range(3):
        elmo = Elmo(*random_model(), 1, dropout=0.0, state="reset")
        program = torch.compile(elmo, fullgraph=True, backend=count)
        assert (only(program(batch_to_ids(BATCH))) - only(elmo(batch_to_ids(BATCH)))).abs().max() <= FLOAT32
    assert len(graphs) == 1


def test_compiled_with_weights_that_are_not_contiguous(random_model: Model) -> None:
    elmo = Elmo(*random_model(), 1, True, dropout=0.0, state="reset")
    for weight in (
        encoder_of(elmo)._highways._layers[0].weight,
        encoder_of(elmo).char_conv_1.weight,
    ):
        weight.data = weight.data.transpose(0, 1).contiguous().transpose(0, 1)
    program = torch.compile(elmo, fullgraph=True, backend="inductor")
    program_gradients, expected = (
        torch.autograd.grad(only(run(batch_to_ids(BATCH))).square().sum(), list(elmo.parameters()))
        for run in (program, elmo)
    )
    for one, other in zip(program_gradients, expected, strict=True):
        assert (one - other).abs().max() <= FLOAT32 * max(1.0, other.abs().max().item())


def test_compiled_lstm_alone() -> None:
    lstm = ElmoLstm(6, 6, 11, 2, state="reset")
    x, mask = torch.randn(3, 4, 6, requires_grad=True), torch.ones(3, 4, dtype=torch.bool)
    program = compiled(lstm)
    gradients = [torch.autograd.grad(run(x, mask).square().sum(), x)[0] for run in (program, lstm)]
    assert (gradients[0] - gradients[1]).abs().max().item() <= FLOAT32


def test_a_compiled_program_still_checks_its_input(random_model: Model) -> None:
    program = compiled(Elmo(*random_model(), 1, state="reset"))
    ids = batch_to_ids(BATCH)
    ids[0, 0, 0] = 9999
    with pytest.raises(ValueError, match="9999"):
        program(ids)


class Classifier(nn.Module):
    """A model around `Elmo`."""

    def __init__(self, elmo: Elmo) -> None:
        super().__init__()
        self.elmo = elmo
        self.linear = nn.Linear(elmo.get_output_dim(), 3)

    def forward(self, ids: Tensor) -> Tensor:
        output = self.elmo(ids)
        mask = output["mask"].unsqueeze(-1)
        return self.linear((only(output) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("state", ["reset", "frozen"])
def test_exported(random_model: Model, state: str, strict: bool) -> None:
    elmo = Elmo(*random_model(), 1, dropout=0.0, state=state)
    if state == "frozen":
        elmo.warm_up([["some", "words"]])
    model = Classifier(elmo).eval()
    shapes = {"ids": {0: torch.export.Dim("batch_size", max=64), 1: torch.export.Dim("num_timesteps", max=512)}}
    program = torch.export.export(model, (batch_to_ids(BATCH),), dynamic_shapes=shapes, strict=strict)
    for batch in (BATCH, OTHER):
        ids = batch_to_ids(batch)
        assert (program.module()(ids) - model(ids)).abs().max().item() <= FLOAT32


def test_an_exported_program_runs_in_another_process(random_model: Model, tmp_path: Path) -> None:
    model = Classifier(Elmo(*random_model(), 1, dropout=0.0, state="reset")).eval()
    ids = batch_to_ids(BATCH)
    torch.export.save(torch.export.export(model, (ids,)), tmp_path / "program.pt2")
    torch.save((ids, model(ids)), tmp_path / "expected.pt")
    script = (
        "import sys, torch, elmo_fast\n"
        "program = torch.export.load(sys.argv[1]).module()\n"
        "ids, expected = torch.load(sys.argv[2])\n"
        "for _ in range(2):\n"
        "    print((program(ids) - expected).abs().max().item())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "program.pt2"), str(tmp_path / "expected.pt")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert all(float(line) <= FLOAT32 for line in result.stdout.split())
