"""Which backend runs a call: the whole truth table, and that the parts of a model ask once and obey."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import pytest
import torch

from elmo_fast import Elmo, ElmoBiLm, batch_to_ids, dispatch
from elmo_fast.cuda import device as devices

META = torch.device("meta")  # stands for a device with CUDA kernels

TENSORS = {
    "float32": lambda: torch.zeros(2),
    "float64": lambda: torch.zeros(2, dtype=torch.float64),
    "bfloat16": lambda: torch.zeros(2, dtype=torch.bfloat16),
    "gpu float32": lambda: torch.zeros(2, device=META),
    "gpu float16": lambda: torch.zeros(2, device=META, dtype=torch.float16),
    "gpu float64": lambda: torch.zeros(2, device=META, dtype=torch.float64),
}
CONDITIONS = ("hooks", "transform", "dropout", "compiling", "gradient", "autocast")

ANY = object()
# The first row that matches decides: tensors, conditions that hold (others may hold too), backend, reason.
TABLE: list[tuple[object, set[str], str, str]] = [
    (ANY, {"hooks"}, "reference", "a part has hooks"),
    (ANY, {"transform"}, "reference", "torch.func and forward-mode AD"),
    (ANY, {"dropout"}, "reference", "recurrent dropout"),
    ("float32", {"gradient"}, "operator", ""),
    ("float32", {"compiling"}, "operator", ""),
    ("float32", set(), "cpu", ""),
    ("float64", set(), "reference", "read float32 on the CPU, not torch.float64"),
    ("bfloat16", set(), "reference", "read float32 on the CPU, not torch.bfloat16"),
    ("gpu float32", {"gradient"}, "reference", "no native kernels"),
    ("gpu float32", {"compiling"}, "reference", "no native kernels"),
    ("gpu float32", set(), "cuda", ""),
    ("gpu float16", {"gradient"}, "reference", "no native kernels"),
    ("gpu float16", {"compiling"}, "reference", "no native kernels"),
    ("gpu float16", set(), "cuda", ""),
    ("gpu float64", set(), "reference", "no native kernels"),
]
ROWS = [
    (tensors, {name for name, holds in zip(CONDITIONS, values, strict=True) if holds})
    for tensors, values in itertools.product(TENSORS, itertools.product((False, True), repeat=len(CONDITIONS)))
]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(devices._devices, META, object())


@pytest.mark.parametrize(
    ("tensors", "conditions"), ROWS, ids=lambda x: x if isinstance(x, str) else "+".join(sorted(x))
)
def test_truth_table(gpu: None, monkeypatch: pytest.MonkeyPatch, tensors: str, conditions: set[str]) -> None:
    expected = next(row for row in TABLE if row[0] in (ANY, tensors) and row[1] <= conditions)
    parameter = TENSORS[tensors]().requires_grad_("gradient" in conditions)
    options = {"plain": "hooks" not in conditions, "recurrent_dropout": "dropout" in conditions}
    if "compiling" in conditions:
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    if "transform" in conditions:
        monkeypatch.setattr(dispatch, "is_transformed", lambda: True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled="autocast" in conditions):
        choice = dispatch.choose([parameter], **options)
        assert (choice.name, expected[3] in choice.reason) == (expected[2], True)
        assert (choice.name == "reference") == bool(choice.reason)
        with torch.no_grad():  # then a parameter that requires a gradient is treated like any other
            without = dispatch.choose([TENSORS[tensors]()], **options)
            assert dispatch.choose([parameter], **options) == without


@pytest.mark.parametrize(
    ("input_kind", "name"), [("float32", "cpu"), ("float64", "reference"), ("gpu float32", "reference")]
)
def test_inputs_decide_too(input_kind: str, name: str) -> None:
    assert dispatch.choose([torch.zeros(2)], [TENSORS[input_kind]()]).name == name
    wants_gradient = torch.zeros(2, requires_grad=True)
    assert dispatch.choose([torch.zeros(2)], [wants_gradient]).name == "operator"


def test_transforms_are_seen() -> None:
    seen = []
    torch.func.vmap(lambda x: seen.append(dispatch.choose([torch.zeros(2)]).name) or x)(torch.zeros(2))
    with torch.autograd.forward_ad.dual_level():
        seen.append(dispatch.choose([torch.zeros(2)]).name)
    assert [*seen, dispatch.choose([torch.zeros(2)]).name] == ["reference", "reference", "cpu"]


def test_other_dtypes_are_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_warned_dtypes", set())
    with pytest.warns(UserWarning, match="model or input of torch.float64 runs on the slower PyTorch reference"):
        assert dispatch.backend_for([torch.zeros(2).double()]) is dispatch.BACKENDS["reference"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dispatch.backend_for([torch.zeros(2).double()])
        dispatch.backend_for([torch.zeros(2)], plain=False)


@pytest.mark.parametrize("name", list(dispatch.BACKENDS))
def test_every_backend_has_the_same_methods(name: str) -> None:
    methods = {method for method in vars(dispatch.Backend) if not method.startswith("_")}
    assert methods == {"encode", "lstm", "bilm", "mix"}
    assert all(callable(getattr(dispatch.BACKENDS[name], method)) for method in methods)


def test_a_forward_pass_asks_once_for_the_bilm_and_once_per_mix(
    random_model: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    choose = dispatch.choose
    monkeypatch.setattr(dispatch, "choose", lambda *a, **o: asked.append(choose(*a, **o)) or asked[-1])
    with torch.no_grad():
        Elmo(*random_model(), 2, dropout=0.0)(batch_to_ids([["Some", "words"]]))
    assert [choice.name for choice in asked] == ["cpu"] * 3


def test_the_backends_agree(random_model: Callable) -> None:
    ids, outputs = batch_to_ids([["Some", "words"], ["more"]]), {}
    for name in ("cpu", "operator", "reference"):
        with dispatch.only(name), torch.no_grad():
            outputs[name] = torch.stack(ElmoBiLm(*random_model())(ids)["activations"])
    assert torch.equal(outputs["cpu"], outputs["operator"])
    assert 0 < (outputs["cpu"] - outputs["reference"]).abs().max() <= 2e-6
