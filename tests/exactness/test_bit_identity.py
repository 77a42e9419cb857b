"""The same bits for every batch composition, padding, thread count, instruction set and machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import elmo_fast
from elmo_fast.characters import tokens_to_char_ids
from elmo_fast.cpu.bilm import CpuBiLm

HERE = Path(__file__).resolve().parents[1]
SENTENCES = [
    line.split() for line in (HERE.parent / "examples" / "sentences.txt").read_text(encoding="utf-8").splitlines()
]
DIGEST_FILE = HERE / "data" / "tiny_digest.json"


@pytest.fixture(scope="module")
def engine(tiny_model: tuple[str, str]) -> CpuBiLm:
    return CpuBiLm.from_files(*tiny_model)


def embed(engine: CpuBiLm, sentences: list[list[str]], batch_size: int) -> list[np.ndarray]:
    """All layers of each sentence, markers included, from a zero state."""
    vectors = []
    for first in range(0, len(sentences), batch_size):
        batch = sentences[first : first + batch_size]
        activations, *_ = engine.forward(tokens_to_char_ids(batch))
        vectors += [activations[:, row, : len(sentence) + 2] for row, sentence in enumerate(batch)]
    return vectors


def same_bits(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(
        x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)
    )


def test_batch_threads_and_instruction_set_do_not_change_a_bit(
    engine: CpuBiLm, every_isa: list[str], num_threads: Callable[[int], None]
) -> None:
    sentences = [sentence[:6] for sentence in (SENTENCES * 4)[:64]]  # short: the generic kernels take their time
    num_threads(1)
    elmo_fast.set_isa("generic")
    want = embed(engine, sentences, batch_size=64)
    for isa in every_isa:
        elmo_fast.set_isa(isa)
        for threads in (1, 2):
            num_threads(threads)
            for batch_size in (1, 3, 64):
                got = embed(engine, sentences, batch_size)
                assert same_bits(got, want), f"{isa}, {threads} threads, batch_size {batch_size}"


@pytest.mark.parametrize("isa", ["avx2", "avx512", "neon"])
def test_every_instruction_set_was_compared(isa: str) -> None:
    if isa not in elmo_fast.build_info()["isas_available"]:
        pytest.skip(f"this processor has no {isa}: not part of the comparison with the generic kernels here")
    assert isa in elmo_fast.build_info()["isas_built"]


def test_padding_does_not_change_a_bit(engine: CpuBiLm) -> None:
    ids = tokens_to_char_ids(SENTENCES[:3])
    wider = np.pad(ids, ((0, 2), (0, 17), (0, 0)))
    narrow, *_ = engine.forward(ids)
    wide, *_ = engine.forward(wider)
    steps = narrow.shape[2]
    assert wide[:, :3, :steps].tobytes() == narrow.tobytes()
    assert not wide[:, :3, steps:].any()


def test_floating_point_settings_of_the_caller_do_not_change_a_bit(engine: CpuBiLm) -> None:
    import torch

    want = embed(engine, SENTENCES, 8)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        assert same_bits(embed(engine, SENTENCES, 8), want)
    finally:
        torch.set_flush_denormal(False)


def test_committed_digest_of_the_built_in_model(engine: CpuBiLm) -> None:
    """The digest was written on one machine; it must come out on every other one."""
    digest = hashlib.sha256(b"".join(part.tobytes() for part in embed(engine, SENTENCES, batch_size=8))).hexdigest()
    assert digest == json.loads(DIGEST_FILE.read_text())["sha256"]
