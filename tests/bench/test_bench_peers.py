"""What `elmo_fast.bench` measures: this package, its peers, and the models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.sample_sentences import ORDINARY
from tolerances import DIFFERENT, PEER

import elmo_fast
from elmo_fast import native
from elmo_fast.bench import implementations, peers, sizes
from elmo_fast.cpu.backend import CpuBackend
from elmo_fast.precision import PRECISIONS


def test_what_cannot_run_is_left_out_visibly(
    tiny_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("allennlp.")]:  # earlier tests may have imported it
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "allennlp", None)
    monkeypatch.setattr(native, "precision_in_use", lambda precision: "float32")
    found, left_out = implementations.load_all(tiny_model, ["float32", "bf16x3"], ["reference", "allennlp-bf16"])
    assert [one.name for one in found] == ["elmo_fast float32", "reference"]
    assert left_out["elmo_fast bf16x3"] == "runs as float32 on this processor, which is measured"
    assert left_out["allennlp-bf16"].startswith("cannot be imported: ")
    assert capsys.readouterr().err.count("left out: ") == 2
    with pytest.raises(ValueError, match="nothing of what was asked for"):
        implementations.load_all(tiny_model, [], ["allennlp"])
    with pytest.raises(ValueError, match="precision: expected some of float32, .*, got 'float8'"):
        implementations.load_all(tiny_model, ["float8"], [])


def test_the_word_cache_is_emptied_unless_kept(tiny_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    cleared: list[int] = []
    monkeypatch.setattr(elmo_fast.Elmo, "clear_cache", lambda self: cleared.append(1))
    for keep, times in ((False, 1), (True, 0)):
        ((one,), _) = implementations.load_all(tiny_model, ["float32"], [], keep)
        cleared.clear()
        one.prepare(elmo_fast.batch_to_ids([["a"]]))
        assert len(cleared) == times


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sentences this short gain nothing from more, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", [name for name, precision in peers.PRECISIONS.items() if precision in PRECISIONS])
def test_a_peer_computes_the_same(name: str, tiny_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        forward = peers.load(name, *tiny_model)
    except ImportError as error:
        pytest.skip(f"{name} cannot be imported: {error}")
    ids = elmo_fast.batch_to_ids(ORDINARY[:4])
    own = elmo_fast.Elmo(*tiny_model, 1, dropout=0.0).eval()
    precision = peers.PRECISIONS[name]
    for _ in range(2):  # the second time from the carried state
        with torch.inference_mode():
            expected = own(ids)["elmo_representations"][0]
        with monkeypatch.context() as patch:
            patch.setattr(CpuBackend, "bilm", None)  # a peer that ran on the kernels would fail
            actual = forward(ids).float()
        np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=0, atol=PEER[precision])
        assert (actual - expected).abs().max() > DIFFERENT or precision == "float32"


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: tuple[str, str]) -> None:
    monkeypatch.setenv("ELMO_FAST_BENCHMARK_CACHE", str(tmp_path))
    monkeypatch.setitem(sizes.SIZES, "small", (8, 4, 1))
    monkeypatch.setattr(sizes, "FILTERS", ((1, 4), (2, 4)))
    files = sizes.model_files("small")
    assert [Path(file).parent for file in files] == [tmp_path / "small"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["small"], "a temporary folder is left"
    written = Path(files[1]).stat().st_mtime_ns
    sizes._write(tmp_path, "small")  # as a process that began before the model was there
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    assert sizes.model_files("small") == files and Path(files[1]).stat().st_mtime_ns == written
    assert sizes.model_files(str(tmp_path / "small")) == files
    assert sizes.model_files("tiny") == tiny_model
