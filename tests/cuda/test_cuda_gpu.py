"""The native CUDA kernels on a real GPU: `python -m pytest tests/cuda/test_cuda_gpu.py`. Skipped without one."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from tolerances import CUDA, CUDA_STORAGE

import elmo_fast
from elmo_fast import Elmo, ElmoBiLm, ElmoEmbedder, batch_to_ids
from elmo_fast.cuda import device as devices
from elmo_fast.cuda import lstm
from elmo_fast.cuda.backend import packed_bilm

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(not devices.is_built(), reason="the module _cuda was not built: no nvcc, or ELMO_FAST_CUDA=off"),
]

BATCHES = [
    [["a", "b"]],
    [["c"], [], ["d", "e", "f", "g"], ["c", "d"]],
    [["Hello", "world", "."]] * 9,
    [[f"word{i}" for i in range(n)] for n in (40, 1, 17, 17, 3, 2, 2, 1, 1, 1)],
]
OPTIONS = [
    {},
    {"use_skip_connections": False, "activation": "tanh"},
    {"n_layers": 3, "projection_dim": 15, "cell_size": 7, "n_highway": 0, "cell_clip": None, "proj_clip": 0.0},
    {"projection_dim": 33, "cell_size": 65, "filters": ((1, 3), (2, 30)), "char_embedding_dim": 17, "cell_clip": 0.1},
    {"projection_dim": 128, "cell_size": 1024},
    {"projection_dim": 512, "cell_size": 4096, "n_layers": 1},
]


@pytest.fixture(autouse=True)
def float32_products():  # type: ignore[no-untyped-def]
    """Matrix products in float32, not TF32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(params=["steps", "persistent", "products"])
def kernel(request, monkeypatch):  # type: ignore[no-untyped-def]
    """Each way through the steps on its own; the persistent kernel where the device has room for it."""
    if request.param == "steps":
        monkeypatch.setattr(devices.CudaDevice, "persistent_plan", lambda *arguments: None)
    rows = 1 if request.param == "products" else 10**9
    monkeypatch.setattr(lstm, "ROWS_FOR_PRODUCTS", {2: rows, 4: rows})
    monkeypatch.setattr(lstm, "ROWS_FOR_PRODUCTS_OVER_PERSISTENT", rows)
    return request.param


def _close(actual: dict, expected: dict, bound: float) -> None:  # type: ignore[type-arg]
    assert torch.equal(actual["mask"].cpu(), expected["mask"].cpu())
    for layer, wanted in zip(actual["activations"], expected["activations"], strict=True):
        scale = max(1.0, wanted.abs().max().item())
        assert (layer.cpu().double() - wanted.cpu().double()).abs().max().item() <= bound * scale


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_the_cpu(kernel, random_model, options) -> None:  # type: ignore[no-untyped-def]
    files = random_model(**options)
    cpu, cuda = ElmoBiLm(*files), ElmoBiLm(*files).cuda()
    for batch in BATCHES:  # the state is carried
        _close(cuda(batch_to_ids(batch).cuda()), cpu(batch_to_ids(batch)), CUDA)
    for mine, theirs in zip(cuda._elmo_lstm._states, cpu._elmo_lstm._states, strict=True):
        assert (mine.cpu() - theirs).abs().max().item() <= CUDA * max(1.0, theirs.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_storage_of_16_bits(kernel, random_model, dtype, options) -> None:  # type: ignore[no-untyped-def]
    files = random_model(**options)
    cpu, cuda = ElmoBiLm(*files), ElmoBiLm(*files).cuda().to(dtype)
    for batch in BATCHES:
        _close(cuda(batch_to_ids(batch).cuda()), cpu(batch_to_ids(batch)), CUDA_STORAGE[dtype])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])  # the latter in the persistent kernel
def test_other_streams_and_threads(random_model, precision) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(projection_dim=128, cell_size=1024), state="reset", precision=precision).cuda()
    ids = [batch_to_ids(batch).cuda() for batch in BATCHES]
    expected = [bilm(batch) for batch in ids]
    torch.cuda.synchronize()  # the threads' streams do not wait for this one
    problems: list[str] = []

    def work(number: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(20):
                for batch, wanted in zip(ids, expected, strict=True):
                    actual = bilm(batch)
                    torch.cuda.current_stream().synchronize()
                    if any(
                        not torch.equal(a, b) for a, b in zip(actual["activations"], wanted["activations"], strict=True)
                    ):
                        problems.append(f"thread {number}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("graphs", [False, True], ids=["eager", "graphs"])
def test_a_carried_state_crosses_streams(random_model, graphs, precision) -> None:  # type: ignore[no-untyped-def]
    files = random_model(projection_dim=128, cell_size=1024)
    one, several = (ElmoBiLm(*files, cuda_graphs=graphs, precision=precision).cuda() for _ in range(2))
    batches = [
        batch_to_ids([[f"word{i}{j}" for j in range(20)] for i in range(n)]).cuda() for n in (32, 8, 40)
    ]  # the state is cut, replaced in part, and padded
    streams = [torch.cuda.Stream() for _ in range(4)]
    torch.cuda.synchronize()
    for number in range(39):
        ids = batches[number % len(batches)]
        expected = one(ids)["activations"][2]
        with torch.cuda.stream(streams[number % len(streams)]):
            actual = several(ids)["activations"][2]
            actual.record_stream(torch.cuda.current_stream())
    torch.cuda.synchronize()
    assert torch.equal(actual, expected)


def test_graphs(kernel, random_model) -> None:  # type: ignore[no-untyped-def]
    eager, graphed = ElmoBiLm(*random_model()).cuda(), ElmoBiLm(*random_model(), cuda_graphs=True).cuda()
    for batch in (*BATCHES, *BATCHES):  # captured, then replayed
        ids = batch_to_ids(batch).cuda()
        _close(graphed(ids), eager(ids), CUDA)
    for other in (pickle.loads(pickle.dumps(graphed)), copy.deepcopy(graphed)):
        ids = batch_to_ids(BATCHES[1]).cuda()
        _close(other(ids), copy.deepcopy(eager)(ids), CUDA)


def test_a_pass_can_be_captured_by_its_user(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state="reset", cuda_graphs=True).cuda()
    parts = packed_bilm(bilm)
    ids, markers = batch_to_ids(BATCHES[1]).cuda().int(), parts.markers()
    expected = parts.forward_padded(ids, markers, None)[0].clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, _ = parts.forward_padded(ids, markers, None)
    graph.replay()
    assert torch.equal(out, expected)


def test_two_devices(random_model) -> None:  # type: ignore[no-untyped-def]
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    bilm = ElmoBiLm(*random_model(), state="reset")
    ids = batch_to_ids(BATCHES[1])
    results = [copy.deepcopy(bilm).to(f"cuda:{i}")(ids.to(f"cuda:{i}")) for i in (1, 0, 1)]
    for result in results:
        _close(result, bilm(ids), CUDA)


def test_out_of_memory_halves_the_batch(random_model, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    files = random_model(projection_dim=128, cell_size=1024)
    embedder = ElmoEmbedder(*files, cuda_device=0, state="reset")
    sentences = [[f"word{i}", "and", "more"] * 40 for i in range(64)]
    expected = list(embedder.embed_sentences(sentences))
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 48 * 2**20) / total)
    try:
        actual = list(embedder.embed_sentences(sentences))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for mine, theirs in zip(actual, expected, strict=True):
        assert np.abs(mine - theirs).max() <= CUDA


def test_whole_elmo(random_model) -> None:  # type: ignore[no-untyped-def]
    cpu, cuda = (Elmo(*random_model(), num_output_representations=2, dropout=0.0) for _ in range(2))
    cuda = cuda.cuda()
    with torch.no_grad():
        for batch in BATCHES:
            actual, expected = cuda(batch_to_ids(batch).cuda()), cpu(batch_to_ids(batch))
            for mine, theirs in zip(actual["elmo_representations"], expected["elmo_representations"], strict=True):
                assert (mine.cpu() - theirs).abs().max().item() <= CUDA
    cuda(batch_to_ids(BATCHES[0]).cuda())["elmo_representations"][0].sum().backward()
    assert cuda._scalar_mixes[0].gamma.grad is not None


def test_load_on_a_gpu() -> None:
    texts = ["A text.", "Another, longer text."]
    expected = elmo_fast.load("tiny").encode(texts)
    for options in ({}, {"cuda_graphs": True}):
        for mine, theirs in zip(elmo_fast.load("tiny", device="cuda", **options).encode(texts), expected, strict=True):
            assert np.abs(mine - theirs).max() <= 10 * CUDA
