"""The arithmetic of each precision in plain NumPy, on any CPU: what error to expect where a CPU has AMX.

Only rounding is simulated. Sums are float32 (int8: exact integers), in NumPy's order and not in the kernels'; the
character convolution, gates, cell state and layer outputs are float32 in every precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from elmo_fast import reference
from elmo_fast.characters import marker_char_ids, tokens_to_char_ids
from elmo_fast.weights import BiLmWeights, LstmWeights, Options

Product = Callable[[np.ndarray], np.ndarray]

WITHOUT_AMX = " without AMX"

ARITHMETICS = (
    "float64", "float32", "bf16x3", "bf16x2", "bfloat16", "bfloat16" + WITHOUT_AMX, "int8", "int8" + WITHOUT_AMX,
)  # fmt: skip
"""The precisions, and "float64" for checks. Without AMX products of bfloat16 weights take float32 inputs."""

_INT8_MAX = 127


def round_to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Rounds finite float32 to the nearest bfloat16, ties to even; returns float32."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)


def split(x: np.ndarray, num_terms: int) -> list[np.ndarray]:
    """Splits float32 into bfloat16 terms, largest first: each is the rounded remainder of the previous terms.

    Three terms hold all 24 bits of a float32, two hold 16.
    """
    terms = []
    for _ in range(num_terms):
        terms.append(round_to_bfloat16(x))
        x = x - terms[-1]
    return terms


def quantise_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8: each row's largest magnitude becomes 127.

    Returns:
        whole numbers in -127 to 127, shaped as `x`, and the scales (n, 1): `x` is about their product; both float32.
    """
    scale = np.abs(x).max(axis=1, keepdims=True, initial=0.0).astype(np.float32) / np.float32(_INT8_MAX)
    scale = np.where(scale > 0, scale, np.float32(1))
    return np.clip(np.rint(x / scale), -_INT8_MAX, _INT8_MAX), scale


def product(weight: np.ndarray, arithmetic: str, *, bounded_input: bool = False) -> Product:
    """Prepares a weight and returns the function x -> x @ weight.T, (n, k) -> (n, m).

    Args:
        weight: (m, k) float32.
        arithmetic: one of `ARITHMETICS`.
        bounded_input: |x| <= 1: int8 then scales x by 127 and not by its row's largest magnitude.
    Raises:
        ValueError: an unknown arithmetic.
    """
    if arithmetic in ("float64", "float32"):
        exact = weight.astype(arithmetic)
        return lambda x: _multiply(x, exact)
    if arithmetic in ("bf16x3", "bf16x2"):
        return _split_product(weight, int(arithmetic[-1]))
    if arithmetic in ("bfloat16", "bfloat16" + WITHOUT_AMX):
        rounded = round_to_bfloat16(weight)
        round_input = round_to_bfloat16 if arithmetic == "bfloat16" else np.asarray
        return lambda x: _multiply(round_input(x), rounded)
    if arithmetic in ("int8", "int8" + WITHOUT_AMX):
        return _int8_product(weight, bounded_input)
    raise ValueError(f"arithmetic: expected one of {', '.join(ARITHMETICS)}, got {arithmetic!r}")


def _split_product(weight: np.ndarray, num_terms: int) -> Product:
    weights = split(weight, num_terms)
    # Products below the last term's size are left out: 6 of 9 for three terms, 3 of 4 for two. Small ones first.
    pairs = [(i, total - i) for total in reversed(range(num_terms)) for i in range(total + 1)]

    def multiply(x: np.ndarray) -> np.ndarray:
        terms = split(x, num_terms)
        return sum((_multiply(terms[i], weights[j]) for i, j in pairs), np.float32(0))

    return multiply


def _int8_product(weight: np.ndarray, bounded_input: bool) -> Product:
    q_weight, weight_scale = quantise_rows(weight)
    q_weight = q_weight.astype(np.float64)  # float64 adds these whole numbers without error, as int32 does

    def multiply(x: np.ndarray) -> np.ndarray:
        if bounded_input:
            scale = np.float32(1 / _INT8_MAX)
            q = np.clip(np.rint(x * np.float32(_INT8_MAX)), -_INT8_MAX, _INT8_MAX)
        else:
            q, scale = quantise_rows(x)
        return _multiply(q.astype(np.float64), q_weight).astype(np.float32) * (scale * weight_scale.T)

    return multiply


class SimulatedBiLm:
    """A whole biLM in one arithmetic, starting from a zero state.

    Args:
        options, weights: as `elmo_fast.weights` reads them.
        arithmetic: one of `ARITHMETICS`.
    """

    def __init__(self, options: Options, weights: BiLmWeights, arithmetic: str) -> None:
        self._options = options
        self._weights = weights
        self._arithmetic = arithmetic
        self._dtype = np.float64 if arithmetic == "float64" else np.float32

    def encode(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Returns each sentence's layers, (num_layers, length, 2 * projection_dim), without markers.

        float32; float64 in the arithmetic of that name.
        """
        x, lengths = self._token_embeddings(sentences)
        layers = [np.concatenate([x, x], axis=1)]
        inputs = [x, x]
        for k, directions in enumerate(self._weights.layers):
            outputs = [self._direction(inputs[d], lengths, directions[d], reverse=d == 1) for d in range(2)]
            if k > 0 and self._options.use_skip_connections:
                outputs = [out + below for out, below in zip(outputs, inputs, strict=True)]
            inputs = outputs
            layers.append(np.concatenate(outputs, axis=1))
        ends = np.cumsum(lengths)
        stacked = np.stack(layers)
        return [stacked[:, end - n + 1 : end - 1] for n, end in zip(lengths, ends, strict=True)]

    def _token_embeddings(self, sentences: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the embeddings of all tokens, markers included, one sentence after the other; and the lengths."""
        max_characters = self._options.max_characters
        words = sorted({token for sentence in sentences for token in sentence})
        markers = np.stack(marker_char_ids(max_characters))
        ids = np.concatenate([markers, tokens_to_char_ids([words], max_characters)[0]])
        table = self._encode_words(ids)
        row_of = {word: row for row, word in enumerate(words, start=2)}
        rows = [row for sentence in sentences for row in (0, *map(row_of.__getitem__, sentence), 1)]
        return table[rows], np.array([len(sentence) + 2 for sentence in sentences])

    def _encode_words(self, char_ids: np.ndarray) -> np.ndarray:
        # The encoder has no int8: its highways multiply and gate what they pass on.
        arithmetic = self._arithmetic.replace("int8", "bfloat16")
        x = self._char_cnn(char_ids)
        for weight, bias in self._weights.highways:
            transform, carry = np.split(product(weight, arithmetic)(x) + bias, 2, axis=1)
            gate = _sigmoid(carry)
            x = gate * x + (1 - gate) * np.maximum(transform, 0)
        if self._weights.projection is None:
            return x
        weight, bias = self._weights.projection
        return product(weight, arithmetic)(x) + bias

    def _char_cnn(self, char_ids: np.ndarray) -> np.ndarray:
        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array.astype(self._dtype))

        embedding = tensor(self._weights.char_embedding)
        convolutions = [(tensor(weight), tensor(bias)) for weight, bias in self._weights.convolutions]
        return torch.cat(
            [
                reference.char_cnn(ids, embedding, convolutions, self._options.activation)
                for ids in torch.from_numpy(char_ids).split(1024)
            ]
        ).numpy()

    def _direction(self, x: np.ndarray, lengths: np.ndarray, weights: LstmWeights, *, reverse: bool) -> np.ndarray:
        """One direction of one layer over (all tokens, input_size); each step takes the rows still running."""
        from_input, from_state = (product(w, self._arithmetic) for w in (weights.input_weight, weights.state_weight))
        # |sigmoid(o) * tanh(c)| <= 1
        project = product(weights.projection, self._arithmetic, bounded_input=True)
        projection_dim, cell_size = weights.projection.shape
        h = np.zeros((len(lengths), projection_dim), self._dtype)
        c = np.zeros((len(lengths), cell_size), self._dtype)
        out = np.empty((len(x), projection_dim), self._dtype)
        starts = np.cumsum(lengths) - lengths
        for step in range(lengths.max(initial=0)):
            rows = np.flatnonzero(lengths > step)
            at = starts[rows] + (lengths[rows] - 1 - step if reverse else step)
            gates = from_input(x[at]) + from_state(h[rows]) + weights.bias
            i, f, g, o = np.split(gates, 4, axis=1)
            c[rows] = _clip(_sigmoid(i) * np.tanh(g) + _sigmoid(f) * c[rows], self._options.cell_clip)
            h[rows] = _clip(project(_sigmoid(o) * np.tanh(c[rows])), self._options.proj_clip)
            out[at] = h[rows]
        return out


def _multiply(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x @ weight.T in torch, whose number of threads can be set: on a busy machine NumPy's are 30 times slower."""
    return torch.mm(torch.from_numpy(x), torch.from_numpy(weight).T).numpy()


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # e^-x turns infinite where the result is 0
        return 1 / (1 + np.exp(-x))


def _clip(x: np.ndarray, bound: float) -> np.ndarray:
    return np.clip(x, -bound, bound) if bound else x
