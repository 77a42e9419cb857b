"""The CUDA kernels and their Python schedule over the emulator of tests/gpu_emu/, on CPU tensors.

cmake -S csrc -B build -G Ninja -DELMO_FAST_GPU_EMULATION=ON -DELMO_FAST_PYTHON=ON ... && cmake --build build
ELMO_FAST_CUDA_EMU=build/modules python -m pytest tests/cuda/test_cuda_emulated.py
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from tolerances import CUDA, CUDA_STORAGE

import elmo_fast
from elmo_fast import Elmo, ElmoBiLm, batch_to_ids, dispatch
from elmo_fast.cuda import device as devices
from elmo_fast.cuda import lstm
from elmo_fast.cuda.backend import packed_bilm
from elmo_fast.cuda.graphs import MOST_GRAPHS, GraphedBiLm
from elmo_fast.cuda.mix import mix_layers

BATCH = [["Hello", "world", "."], [], ["one"], ["Hello", "again", ",", "world", "world", "!"]]
OTHERS = [[["a", "b"]], [["c"], ["d", "e", "f", "g"], ["c", "d"]], BATCH]
CPU = torch.device("cpu")

OPTIONS = [
    {"use_skip_connections": False, "activation": "tanh"},
    {"n_layers": 1, "cell_clip": None, "proj_clip": 0.0},
    {"n_layers": 3, "projection_dim": 15, "cell_size": 7, "scale": 3.0, "n_highway": 0},
    {"projection_dim": 33, "cell_size": 65, "filters": ((1, 3), (2, 30)), "char_embedding_dim": 17, "cell_clip": 0.1},
]


@pytest.fixture(scope="module")
def emulator() -> ModuleType:
    """The module `_cuda_emu`."""
    folder = os.environ.get("ELMO_FAST_CUDA_EMU")
    if not folder:
        pytest.skip("ELMO_FAST_CUDA_EMU is not set: the emulated CUDA kernels are built by .ci/run")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("_cuda_emu")
    finally:
        sys.path.remove(folder)


@pytest.fixture
def device(emulator: ModuleType, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A function that makes the CPU a CUDA device with these properties, until the test ends."""

    def make(multiprocessors: int = 3, shared_bytes: int = 65536, cooperative: bool = True) -> devices.CudaDevice:
        properties = emulator.DeviceProperties("emulated", 90, multiprocessors, shared_bytes, cooperative)
        emulator.set_device(properties)
        emulator.set_schedule("in_order")
        gpu = devices.CudaDevice(emulator, CPU)
        monkeypatch.setitem(devices._devices, CPU, gpu)
        return gpu

    yield make
    emulator.set_device(emulator.DeviceProperties("emulated", 90, 4, 65536, True))


def _native(files: tuple, **options: object) -> ElmoBiLm:  # type: ignore[type-arg]
    """A model whose calls do not see the emulated device."""
    bilm = ElmoBiLm(*files, **options)
    for part in (bilm, bilm._token_embedder, bilm._elmo_lstm):
        part.forward = _without_device(part.forward)  # type: ignore[method-assign]
    return bilm


def _without_device(forward: Callable) -> Callable:  # type: ignore[type-arg]
    def run(*arguments: object) -> object:
        with dispatch.only("cpu"):
            return forward(*arguments)

    return run


def _difference(actual: dict, expected: dict) -> float:  # type: ignore[type-arg]
    """The largest difference of all layers, as a part of the largest value, at least 1."""
    assert torch.equal(actual["mask"], expected["mask"])
    most = 0.0
    for layer, wanted in zip(actual["activations"], expected["activations"], strict=True):
        assert layer.shape == wanted.shape
        assert torch.equal(layer == 0, wanted == 0) or layer.dtype != torch.float32  # padding is zero
        most = max(most, ((layer - wanted).abs().max() / wanted.abs().max().clamp(min=1)).item())
    return most


@pytest.mark.parametrize("schedule", ["in_order", "reverse", "random"])
@pytest.mark.parametrize("rows_for_products", [1, 3, 100])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_the_float64_reference_and_the_cpu(
    device, emulator, random_model, options, rows_for_products, schedule, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    device()
    monkeypatch.setattr(lstm, "ROWS_FOR_PRODUCTS", {2: rows_for_products, 4: rows_for_products})
    emulator.set_schedule(schedule, 5)
    files = random_model(**options)
    reference, native, emulated = ElmoBiLm(*files).double(), _native(files), ElmoBiLm(*files)
    for batch in OTHERS if schedule == "in_order" else OTHERS[1:2]:  # the state is carried
        ids = batch_to_ids(batch)
        launches = emulator.counters()[0]
        actual = emulated(ids)
        assert emulator.counters()[0] > launches
        assert _difference(actual, native(ids)) <= CUDA
        assert _difference(actual, reference(ids)) <= CUDA
        for mine, theirs in zip(emulated._elmo_lstm._states, native._elmo_lstm._states, strict=True):
            assert mine.dtype == torch.float32
            assert (mine - theirs).abs().max().item() <= CUDA * max(1.0, theirs.abs().max().item())


@pytest.mark.parametrize("rows_for_products", [1, 3, 100])
@pytest.mark.parametrize("cooperative", [False, True], ids=["steps", "persistent"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_storage_of_16_bits(device, random_model, dtype, cooperative, rows_for_products, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    device(cooperative=cooperative)
    monkeypatch.setattr(lstm, "ROWS_FOR_PRODUCTS", {2: rows_for_products, 4: rows_for_products})
    monkeypatch.setattr(lstm, "ROWS_FOR_PRODUCTS_OVER_PERSISTENT", rows_for_products)
    files = random_model(projection_dim=16, cell_size=24)
    native, emulated = _native(files), ElmoBiLm(*files).to(dtype)
    for batch in OTHERS:
        actual = emulated(batch_to_ids(batch))
        assert actual["activations"][1].dtype == dtype
        difference = _difference(actual, native(batch_to_ids(batch)))
        assert 1e-5 < difference <= CUDA_STORAGE[dtype]
    assert emulated._elmo_lstm._states[1].dtype == torch.float32


def test_the_step_kernels_run_where_the_persistent_one_no_longer_fits(device, emulator, random_model) -> None:  # type: ignore[no-untyped-def]
    files = random_model(projection_dim=16, cell_size=24)
    device(cooperative=False)
    expected = ElmoBiLm(*files).bfloat16()(batch_to_ids(BATCH))
    device()
    bilm = ElmoBiLm(*files, state="reset").bfloat16()
    bilm(batch_to_ids(BATCH))  # the plan is made and found to fit
    emulator.set_device(emulator.DeviceProperties("emulated", 90, 1, 65536, True))
    assert _difference(bilm(batch_to_ids(BATCH)), expected) == 0


def test_precision_bfloat16_stores_float32_weights_as_bfloat16(device, random_model) -> None:  # type: ignore[no-untyped-def]
    device()
    files = random_model(projection_dim=16, cell_size=24)
    asked, converted = ElmoBiLm(*files, precision="bfloat16"), ElmoBiLm(*files).bfloat16()
    actual, expected = asked(batch_to_ids(BATCH)), converted(batch_to_ids(BATCH))
    for layer, wanted in zip(actual["activations"], expected["activations"], strict=True):
        assert layer.dtype == torch.float32
        assert (layer - wanted.float()).abs().max().item() <= CUDA_STORAGE[torch.bfloat16]


def test_the_parts_alone(device, random_model) -> None:  # type: ignore[no-untyped-def]
    device()
    native, emulated = _native(random_model()), ElmoBiLm(*random_model())
    ids = batch_to_ids(BATCH)
    tokens, expected = emulated._token_embedder(ids), native._token_embedder(ids)
    assert torch.equal(tokens["mask"], expected["mask"])
    assert (tokens["token_embedding"] - expected["token_embedding"]).abs().max().item() <= CUDA
    inputs, mask = torch.randn(3, 5, 6), torch.tensor([[1] * 5, [0] * 5, [1, 1, 0, 0, 0]]).bool()
    for _ in range(2):
        actual, wanted = emulated._elmo_lstm(inputs, mask), native._elmo_lstm(inputs, mask)
        assert (actual - wanted).abs().max().item() <= CUDA
    assert torch.count_nonzero(actual[:, 1]) == 0


def test_long_batches_run_in_chunks(device, random_model, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from elmo_fast.cuda import inputs, plan

    device()
    batch = [[f"word{i}" for i in range(13)], ["short"], [f"word{i}" for i in range(5, 12)]]
    expected = ElmoBiLm(*random_model())(batch_to_ids(batch))
    for module in (inputs, plan):
        monkeypatch.setattr(module, "CHUNK_TOKENS", 7)
    assert _difference(ElmoBiLm(*random_model())(batch_to_ids(batch)), expected) <= CUDA


def test_whole_elmo_with_its_mix_fused(device, emulator, random_model) -> None:  # type: ignore[no-untyped-def]
    files = random_model()
    expected_model = Elmo(*files, num_output_representations=2, dropout=0.0)
    with torch.no_grad():
        expected_model._scalar_mixes[1].gamma.fill_(1.5)
        expected_model._scalar_mixes[1].scalar_parameters[2].fill_(0.7)
        expected = expected_model(batch_to_ids(BATCH))
        device()
        elmo = Elmo(*files, num_output_representations=2, dropout=0.0)
        elmo.load_state_dict(expected_model.state_dict())
        actual = elmo(batch_to_ids(BATCH))
        launches = emulator.counters()[0]
        elmo.reset_states()
        elmo(batch_to_ids(BATCH))
        with_mixes = emulator.counters()[0] - launches
        elmo.reset_states()
        elmo._elmo_lstm(batch_to_ids(BATCH))
        assert with_mixes - (emulator.counters()[0] - launches - with_mixes) == 2
    assert torch.equal(actual["mask"], expected["mask"])
    for mine, theirs in zip(actual["elmo_representations"], expected["elmo_representations"], strict=True):
        assert (mine - theirs).abs().max().item() <= CUDA
    # Where gradients are wanted torch mixes.
    representation = elmo(batch_to_ids(BATCH))["elmo_representations"][0]
    representation.sum().backward()
    assert elmo._scalar_mixes[0].gamma.grad is not None


def test_gradients_run_on_the_reference(device, emulator, random_model) -> None:  # type: ignore[no-untyped-def]
    device()
    bilm = ElmoBiLm(*random_model(), requires_grad=True)
    launches = emulator.counters()[0]
    bilm(batch_to_ids(BATCH))["activations"][2].sum().backward()
    assert emulator.counters()[0] == launches


def test_a_pass_only_launches(device, emulator, random_model) -> None:  # type: ignore[no-untyped-def]
    device()
    bilm = ElmoBiLm(*random_model())
    bilm(batch_to_ids(BATCH))
    before = emulator.counters()
    bilm(batch_to_ids(BATCH))
    after = emulator.counters()
    assert after[0] > before[0]
    assert after[1:] == before[1:]


def test_padded_pass_and_graphs_give_the_same(device, random_model) -> None:  # type: ignore[no-untyped-def]
    device()
    eager, graphed = ElmoBiLm(*random_model()), ElmoBiLm(*random_model(), cuda_graphs=True)
    for batch in (*OTHERS, OTHERS[1]):
        assert _difference(graphed(batch_to_ids(batch)), eager(batch_to_ids(batch))) <= CUDA
        for mine, theirs in zip(graphed._elmo_lstm._states, eager._elmo_lstm._states, strict=True):
            assert (mine - theirs).abs().max().item() <= CUDA
    copy = pickle.loads(pickle.dumps(graphed))
    assert _difference(copy(batch_to_ids(BATCH)), graphed(batch_to_ids(BATCH))) <= CUDA
    with pytest.raises(TypeError, match="char_ids: expected integers"):
        graphed(batch_to_ids(BATCH).float())
    ids = batch_to_ids([["known"], ["unknown"]])
    ids[1, 0, 1] = 2**40
    graphed.state = "reset"
    top = graphed(ids)["activations"][2]
    assert torch.isnan(top[1, 1]).all() and not torch.isnan(top[0]).any()


def test_graphs_are_few(device, random_model) -> None:  # type: ignore[no-untyped-def]
    device()
    graphed = GraphedBiLm(packed_bilm(ElmoBiLm(*random_model())))
    graphed._graphs.update({(-i, 0): object() for i in range(MOST_GRAPHS)})
    graphed.forward(batch_to_ids([["a"]]), None, False)
    assert len(graphed._graphs) == MOST_GRAPHS and (1, 8) in graphed._graphs and (0, 0) not in graphed._graphs


def test_wrong_tensors_are_refused(device, random_model) -> None:  # type: ignore[no-untyped-def]
    gpu = device()
    layers, weights, mask = [torch.zeros(1, 4, 6)] * 2, torch.zeros(2), torch.ones(1, 2, dtype=torch.bool)
    assert mix_layers(gpu, layers, weights, mask).shape == (1, 2, 6)
    with pytest.raises(ValueError, match=r"layers\[1\]: expected a torch.float32 tensor of shape \(1, 4, 6\) on cpu"):
        mix_layers(gpu, [layers[0], layers[0][:, 1:]], weights, mask)
    with pytest.raises(ValueError, match="weights: expected a torch.float32 tensor.*got a torch.float64"):
        mix_layers(gpu, layers, weights.double(), mask)
    with pytest.raises(ValueError, match="got a torch.float32 tensor of shape.* on meta"):
        mix_layers(gpu, layers, weights.to("meta"), mask)
    with pytest.raises(ValueError, match="not contiguous"):
        mix_layers(gpu, [torch.zeros(1, 6, 4).transpose(1, 2)] * 2, weights, mask)
    ids = batch_to_ids([["a"]])
    ids[0, 0, 0] = 5000
    with pytest.raises(ValueError, match="char_ids: expected ids from 0 to"):
        ElmoBiLm(*random_model())(ids)


def test_the_binding_refuses_nonsense(emulator) -> None:  # type: ignore[no-untyped-def]
    layer = emulator.LstmLayerParams()
    with pytest.raises(ValueError, match="state_weights: expected an address, got 0"):
        layer.state_weights = (0, 16)
    with pytest.raises(ValueError, match="h: expected an address aligned to 16 bytes"):
        layer.h = 8
    with pytest.raises(ValueError, match="n_rows: expected at least 1, got 0"):
        layer.n_rows = 0
    with pytest.raises(ValueError, match="layer: an address has not been set"):
        emulator.lstm_steps(0, emulator.Storage.float32, layer, [0, 1], 0, 1, 0)
    with pytest.raises(ValueError, match="size: expected at least 1"):
        emulator.highway(0, emulator.Storage.float32, 16, 16, 16, 1, 0, 0)
    with pytest.raises(RuntimeError, match="choosing CUDA device 7: invalid device ordinal"):
        emulator.check_device(7)


def test_a_too_old_gpu_is_refused(emulator) -> None:  # type: ignore[no-untyped-def]
    emulator.set_device(emulator.DeviceProperties("old", 61, 10, 49152, True))
    try:
        with pytest.raises(RuntimeError, match=r"old\): expected compute capability 7.5 or newer, got 6.1"):
            devices.CudaDevice(emulator, CPU)
    finally:
        emulator.set_device(emulator.DeviceProperties("emulated", 90, 4, 65536, True))


def test_dtypes_without_kernels_run_on_the_reference(device, emulator, random_model) -> None:  # type: ignore[no-untyped-def]
    device()
    launches = emulator.counters()[0]
    ElmoBiLm(*random_model()).double()(batch_to_ids(BATCH))
    assert emulator.counters()[0] == launches


def test_golden(device, test_data) -> None:  # type: ignore[no-untyped-def]
    device(multiprocessors=2)
    folder = test_data / "golden" / "relu_2layer"
    files = (folder / "options.json", folder / "weights.hdf5")
    native, emulated = _native(files), ElmoBiLm(*files)
    assert _difference(emulated(batch_to_ids(OTHERS[1])), native(batch_to_ids(OTHERS[1]))) <= CUDA


def test_numpy_ids_reach_the_kernels_as_they_are(emulator) -> None:  # type: ignore[no-untyped-def]
    """The host's plan: equal words once, markers included."""
    ids = batch_to_ids([["same", "same"], ["other"]]).numpy()
    distinct, index, mask = elmo_fast.native._cpu.distinct_tokens(ids, 262)
    assert distinct.shape == (4, 50) and distinct.dtype == np.int32
    assert index[0, 1] == index[0, 2] and index[0, 0] == index[1, 0]
    assert mask.sum() == 7


def test_no_warning_on_the_cpu() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert devices.cuda_device(torch.device("meta")) is None


def test_autocast_changes_nothing(device, random_model) -> None:  # type: ignore[no-untyped-def]
    """Torch's products stay in the storage dtype, and so do the weights packed meanwhile."""
    device()
    expected = ElmoBiLm(*random_model())(batch_to_ids(BATCH))
    bilm = ElmoBiLm(*random_model())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = bilm(batch_to_ids(BATCH))
        alone = bilm._elmo_lstm(torch.randn(1, 2, 6), torch.ones(1, 2).bool())
    assert alone.dtype == torch.float32
    for layer, wanted in zip(actual["activations"], expected["activations"], strict=True):
        assert torch.equal(layer, wanted)


def test_graphs_made_in_inference_mode_serve_outside(device, random_model) -> None:  # type: ignore[no-untyped-def]
    device()
    bilm = ElmoBiLm(*random_model(), cuda_graphs=True)
    with torch.inference_mode():
        bilm(batch_to_ids(BATCH))
    with torch.no_grad():
        bilm(batch_to_ids(BATCH))
    assert bilm._graphs._graphed is not None
    bilm.double()
    assert bilm._graphs._graphed is None


def test_empty_batches(device, random_model) -> None:  # type: ignore[no-untyped-def]
    device()
    native, emulated = _native(random_model()), ElmoBiLm(*random_model())
    for ids in (torch.zeros(0, 3, 50, dtype=torch.long), torch.zeros(2, 0, 50, dtype=torch.long)):
        assert _difference(emulated(ids), native(ids)) <= CUDA if ids.numel() else True
        assert emulated(ids)["activations"][1].shape == native(ids)["activations"][1].shape
