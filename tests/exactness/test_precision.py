"""`precision=` on every public class: what it accepts, what it reports, and what does not depend on it.

How exact each precision is: test_precision_error.py.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.sample_sentences import ORDINARY

import elmo_fast
from elmo_fast import ElmoEmbedder, ElmoLstm, _cpu, batch_to_ids, native
from elmo_fast.cpu.bilm import CpuBiLm
from elmo_fast.cpu.stateful_bilm import StatefulCpuBiLm
from elmo_fast.precision import PRECISIONS

Model = Callable[..., tuple[Path, Path]]
CHAR_IDS = batch_to_ids(ORDINARY)

# Every public class, made of a model's two files.
CLASSES: dict[str, Callable[..., object]] = {
    "Elmo": lambda files, **options: elmo_fast.Elmo(*files, 1, dropout=0.0, state="reset", **options),
    "ElmoBiLm": lambda files, **options: elmo_fast.ElmoBiLm(*files, **options),
    "ElmoTokenEmbedder": lambda files, **options: elmo_fast.ElmoTokenEmbedder(*files, **options),
    "ElmoCharacterEncoder": lambda files, **options: elmo_fast.ElmoCharacterEncoder(*files, **options),
    "ElmoEmbedder": lambda files, **options: ElmoEmbedder(*files, **options),
    "ElmoLstm": lambda files, **options: ElmoLstm(6, 6, 12, 2, **options),
    "load": lambda files, **options: elmo_fast.load(files, **options),
    "CpuBiLm": lambda files, **options: CpuBiLm.from_files(*files, **options),
    "StatefulCpuBiLm": lambda files, **options: StatefulCpuBiLm(CpuBiLm.from_files(*files, **options), "reset"),
}
every_class = pytest.mark.parametrize("make", CLASSES.values(), ids=CLASSES.keys())
every_precision = pytest.mark.parametrize("precision", PRECISIONS)


@every_class
def test_float32_unless_asked_otherwise(make: Callable[..., object], random_model: Model) -> None:
    module = make(random_model())
    assert (module.precision, module.precision_in_use) == ("float32", "float32")


@every_precision
@every_class
def test_what_was_asked_for_and_what_it_runs_as(
    make: Callable[..., object], precision: str, random_model: Model
) -> None:
    module = make(random_model(), precision=precision)
    assert module.precision == precision
    assert module.precision_in_use == _cpu.precision_in_use(precision)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert (other.precision, other.precision_in_use) == (module.precision, module.precision_in_use)


@pytest.mark.parametrize("wrong", ["float16", "", None, torch.bfloat16, ["int8"]])
@every_class
def test_unknown_precision(make: Callable[..., object], wrong: object, random_model: Model) -> None:
    with pytest.raises(ValueError, match="precision: expected one of 'float32', .*'int8', got") as error:
        make(random_model(), precision=wrong)
    assert repr(wrong) in str(error.value)


def test_the_native_module_knows_the_same_names() -> None:
    assert elmo_fast.build_info()["precisions"] == {name: _cpu.precision_in_use(name) for name in PRECISIONS}
    assert {_cpu.precision_in_use(name) for name in PRECISIONS} <= set(PRECISIONS)
    assert _cpu.precision_in_use("float32") == "float32"
    with pytest.raises(ValueError, match="precision: expected one of " + ", ".join(map(repr, PRECISIONS))):
        _cpu.precision_in_use("half")


@every_precision
def test_the_native_copies_have_the_precision(precision: str, random_model: Model) -> None:
    bilm = elmo_fast.ElmoBiLm(*random_model(), precision=precision)
    engine = CpuBiLm.from_files(*random_model(), precision=precision)
    for encoder, lstm in (
        (bilm._token_embedder.packed(), bilm._elmo_lstm.packed()),
        (engine._encoder, engine._lstm),
    ):
        assert encoder.precision == lstm.precision == precision
        assert encoder.precision_in_use == lstm.precision_in_use == bilm.precision_in_use


@every_precision
def test_all_classes_give_the_same_bits(precision: str, random_model: Model) -> None:
    files = random_model()
    expected = elmo_fast.load(files, precision=precision).encode(ORDINARY, layers="all")
    embedder = ElmoEmbedder(*files, state="reset", precision=precision)
    elmo = elmo_fast.Elmo(*files, 1, dropout=0.0, state="reset", precision=precision)
    layers = elmo._elmo_lstm(CHAR_IDS)["activations"]
    copied = pickle.loads(pickle.dumps(elmo_fast.load(files, precision=precision))).encode(ORDINARY, layers="all")
    for number, (want, array, other) in enumerate(zip(expected, embedder.embed_batch(ORDINARY), copied, strict=True)):
        np.testing.assert_array_equal(array, want)
        np.testing.assert_array_equal(other, want)
        for k, layer in enumerate(layers):
            np.testing.assert_array_equal(layer[number, 1 : want.shape[1] + 1].numpy(), want[k])


@pytest.mark.filterwarnings("ignore:elmo_fast")
@pytest.mark.parametrize("precision", ["bf16x2", "int8"])
def test_the_plain_definition_does_not_depend_on_it(precision: str, random_model: Model) -> None:
    """With gradients and in other dtypes the tensors' own dtype computes."""
    for options, dtype in (({"requires_grad": True}, torch.float32), ({}, torch.float64)):
        outputs = []
        for name in ("float32", precision):
            elmo = elmo_fast.Elmo(*random_model(), 1, dropout=0.0, state="reset", precision=name, **options).to(dtype)
            assert elmo.precision_in_use == _cpu.precision_in_use(name)  # what the native kernels would run
            outputs.append(elmo(CHAR_IDS)["elmo_representations"][0])
        assert outputs[1].dtype == dtype
        assert torch.equal(*outputs)


@every_precision
def test_torchs_matmul_precision_is_not_consulted(precision: str, random_model: Model) -> None:
    embedder = elmo_fast.load(random_model(), precision=precision)
    expected = embedder.encode(ORDINARY, pooling="mean")
    before = torch.get_float32_matmul_precision()
    try:
        for setting in ("highest", "high", "medium"):
            torch.set_float32_matmul_precision(setting)
            for each in (embedder, elmo_fast.load(random_model(), precision=precision)):
                assert each.precision_in_use == _cpu.precision_in_use(precision)
                np.testing.assert_array_equal(each.encode(ORDINARY, pooling="mean"), expected)
    finally:
        torch.set_float32_matmul_precision(before)


def test_packed_anew_when_it_runs_as_something_else(random_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    bilm = elmo_fast.ElmoBiLm(*random_model(), state="reset", precision="bf16x3")
    embedder = elmo_fast.load(random_model(), precision="bf16x3")
    parts = (bilm._token_embedder.packed, bilm._elmo_lstm.packed)
    engine = embedder._bilm.weights

    def copies() -> list[object]:
        return [*(part() for part in parts), engine._encoder, engine._lstm]

    embedder.encode(ORDINARY)
    first = copies()
    embedder.encode(ORDINARY)
    assert all(a is b for a, b in zip(copies(), first, strict=True))
    other = "bf16x3" if bilm.precision_in_use == "float32" else "float32"
    monkeypatch.setattr(native, "precision_in_use", lambda precision: other)
    embedder.encode(ORDINARY)
    second = copies()
    assert not any(a is b for a, b in zip(second, first, strict=True))
    embedder.encode(ORDINARY)
    assert all(a is b for a, b in zip(copies(), second, strict=True))
    assert {copy.precision for copy in second} == {"bf16x3"}


@every_precision
def test_every_instruction_set(precision: str, random_model: Model, every_isa: list[str]) -> None:
    """A model goes on after `set_isa`, with what a new one gives."""
    embedder = elmo_fast.load(random_model(), precision=precision)
    bilm = elmo_fast.ElmoBiLm(*random_model(), state="reset", precision=precision)
    for isa in [*every_isa, *reversed(every_isa)]:
        elmo_fast.set_isa(isa)
        if precision == "bf16x2" and embedder.precision_in_use != "bf16x2":
            continue  # packed from rounded weights: not a new model's
        expected = elmo_fast.load(random_model(), precision=precision).encode(ORDINARY, layers="top")
        actual = embedder.encode(ORDINARY, layers="top")
        assert bilm.precision_in_use == embedder.precision_in_use == elmo_fast.build_info()["precisions"][precision]
        layer = bilm(CHAR_IDS)["activations"][-1]
        for row, want in enumerate(expected):
            np.testing.assert_array_equal(actual[row], want)
            np.testing.assert_array_equal(layer[row, 1 : len(want) + 1].numpy(), want)


def test_not_beside_another_bilm(random_model: Model) -> None:
    bilm = elmo_fast.ElmoBiLm(*random_model(), precision="int8")
    with pytest.raises(ValueError, match="precision: applies to the biLM read from files"):
        elmo_fast.Elmo(None, None, 1, module=bilm, precision="bfloat16")
    assert elmo_fast.Elmo(None, None, 1, module=bilm).precision == "int8"

    class Other(torch.nn.Module):
        num_layers = 3

    assert elmo_fast.Elmo(None, None, 1, module=Other()).precision_in_use == "float32"


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cuda", "'float32' or 'bfloat16'"), ("cuda:1", "'float32' or 'bfloat16'"), ("meta", "'float32'")],
)
def test_what_a_device_does_not_have(device: str, expected: str, random_model: Model) -> None:
    with pytest.raises(ValueError, match=f"precision: expected {expected} with device '{device}', got 'int8'"):
        elmo_fast.load(random_model(), device=device, precision="int8")
    with pytest.raises(ValueError, match="precision: expected 'float32' or 'bfloat16' with device 'cuda:0', got"):
        ElmoEmbedder(*random_model(), cuda_device=0, precision="bf16x3")
