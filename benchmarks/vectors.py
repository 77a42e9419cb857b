"""The same sentences through the float64 reference, the native kernels and the simulation, to measure accuracy.

Each returns one array per sentence, (num_layers, length, output_dim), without markers, from a zero state.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from simulate import SimulatedBiLm

import elmo_fast
from elmo_fast.bench.texts import Sentence
from elmo_fast.weights import read_options, read_weights

Files = tuple[str, str]
Vectors = list[np.ndarray]


def reference_vectors(files: Files, sentences: Sequence[Sentence]) -> Vectors:
    """`elmo_fast.reference` in float64, which is what a float64 module runs on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="elmo_fast: the native kernels are float32")
        bilm = elmo_fast.ElmoBiLm(*files, state="reset").double()
        results: Vectors = [np.empty(0)] * len(sentences)
        for group in _groups_by_length(sentences, 16):
            with torch.inference_mode():
                layers = bilm(elmo_fast.batch_to_ids([sentences[i] for i in group]))["activations"]
            for b, i in enumerate(group):
                results[i] = np.stack([layer[b, 1 : len(sentences[i]) + 1] for layer in layers])
    return results


def native_vectors(files: Files, precision: str) -> tuple[str, Callable[[list[Sentence]], Vectors]]:
    """The precision that `elmo_fast.load(files, precision=precision)` runs in, and its vectors of sentences."""
    embedder = elmo_fast.load(files, precision=precision)
    return embedder.precision_in_use, lambda sentences: embedder.encode(sentences, layers="all")


def simulated_vectors(files: Files, arithmetic: str, sentences: Sequence[Sentence]) -> Vectors:
    """`simulate.SimulatedBiLm`."""
    options = read_options(files[0])
    bilm = SimulatedBiLm(options, read_weights(files[1], options), arithmetic)
    results: Vectors = [np.empty(0)] * len(sentences)
    for group in _groups_by_length(sentences, 256):
        for i, array in zip(group, bilm.encode([sentences[i] for i in group]), strict=True):
            results[i] = array.copy()
    return results


def layers_of(vectors: Vectors) -> np.ndarray:
    """All tokens of all sentences, (num_layers, tokens, output_dim)."""
    return np.concatenate(vectors, axis=1)


def _groups_by_length(sentences: Sequence[Sentence], size: int) -> list[list[int]]:
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    return [order[i : i + size] for i in range(0, len(order), size)]
