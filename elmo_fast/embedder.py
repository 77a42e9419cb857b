"""The short way from texts to vectors: `elmo_fast.load("tiny").encode(["A text.", "Another one."])`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, overload

import numpy as np
import torch

from elmo_fast import models, tokenize
from elmo_fast.argument_types import FloatArray, LayerChoice, Pooling, Precision, StateMode
from elmo_fast.batching import DEFAULT_BATCH_SIZE, check_batch_size
from elmo_fast.bilm import ElmoBiLm
from elmo_fast.characters import check_sentences, sentences_to_char_ids
from elmo_fast.cpu.bilm import CpuBiLm
from elmo_fast.cpu.stateful_bilm import StatefulCpuBiLm
from elmo_fast.layer_combination import LayerCombination
from elmo_fast.precision import NativePrecision, check_device, check_precision
from elmo_fast.progress import progress_bar
from elmo_fast.runner import Layers, Runner, as_arrays
from elmo_fast.state import StatefulModule, check_mode
from elmo_fast.summary import summary_of, summary_of_bilm
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE, WordCached, check_word_cache_size

POOLINGS = ("tokens", "mean", "max")

Tokenizer = Callable[[str], Iterable[Any]]


def load(
    name_or_paths: models.PathOrUrl | tuple[models.PathOrUrl, models.PathOrUrl] = "tiny",
    *,
    state: StateMode | str = "reset",
    device: str | torch.device = "cpu",
    tokenizer: Tokenizer | None = None,
    precision: Precision | str = "float32",
    word_cache_size: int = DEFAULT_WORD_CACHE_SIZE,
    cuda_graphs: bool = False,
) -> Embedder:
    """Loads a model for embedding texts.

    Args:
        name_or_paths: "tiny" (packaged), "small", "medium", "original" or "original_5.5B" (AllenNLP's published
            models, downloaded on first use); or (options file, weights file), paths or URLs; or a folder that holds
            `options.json` and `weights.hdf5`.
        state: "reset" (a sentence always gets the same vectors), "carry" (AllenNLP's behaviour: each call continues
            from the one before) or "frozen" (all start from the state that `Embedder.warm_up` fixed).
        device: "cpu" and "cuda" run on the native kernels, other torch devices on PyTorch.
        tokenizer: splits a text into tokens: any callable that takes a string and returns strings, or objects with
            their string in `.text`, such as NLTK's `word_tokenize` or a spaCy pipeline. `elmo_fast.tokenize.tokenize`
            if None.
        precision: "float32", "bf16x3", "bf16x2", "bfloat16" or "int8", the arithmetic of the native kernels, see
            `elmo_fast.precision`; with "cuda" "float32" or "bfloat16", elsewhere "float32" alone.
        word_cache_size: most words remembered from call to call on the CPU, see `elmo_fast.word_cache`; 0 remembers
            none.
        cuda_graphs: with "cuda", replay each pass as one graph, see `elmo_fast.bilm.ElmoBiLm`.
    Returns:
        the embedder, ready for any number of `encode` calls.
    Raises:
        ValueError, TypeError: an unknown model, state, device or precision, or a wrong cache size.
        WeightsError: a file is wrong or damaged; a ValueError.
        FileNotFoundError: a given path does not exist.
        DownloadError: a URL could not be fetched whole; an OSError.
    """
    check_mode(state)
    if tokenizer is not None and not callable(tokenizer):
        raise TypeError(f"tokenizer: expected a callable, got {type(tokenizer).__name__}")
    check_precision(precision)
    check_word_cache_size(word_cache_size)
    device = _check_device(device, precision)
    options_file, weight_file = models.resolve(name_or_paths)
    model = models.describe(name_or_paths)
    if device.type == "cpu":
        engine = CpuBiLm.from_files(options_file, weight_file, precision=precision, word_cache_size=word_cache_size)
        return Embedder(StatefulCpuBiLm(engine, state), tokenizer, model)
    bilm = ElmoBiLm(options_file, weight_file, state=state, precision=precision, cuda_graphs=cuda_graphs)
    return Embedder(bilm.to(device), tokenizer, model)


class Embedder(NativePrecision, WordCached):
    """Embeds texts or token lists. `elmo_fast.load` creates it; its constructor is not part of the public interface.

    Threads may share it: in the states "reset" and "frozen" their calls run side by side, in "carry" one after the
    other. It can be pickled and deep-copied, with its weights and its state.

    Attributes:
        num_layers: layers of the model, the context-free token embedding included (3 for every published model).
        output_dim: size of a vector.
        tokenizer: splits a text into tokens.
    """

    def __init__(
        self, bilm: StatefulCpuBiLm | ElmoBiLm, tokenizer: Tokenizer | None = None, model: str | None = None
    ) -> None:
        self.tokenizer: Tokenizer = tokenize.tokenize if tokenizer is None else tokenizer
        self.num_layers: int
        self.output_dim: int
        self._bilm = bilm
        self._model = model
        self._states: StatefulModule
        if isinstance(bilm, StatefulCpuBiLm):
            self._states = bilm
            self.num_layers, self.output_dim = bilm.weights.num_layers, bilm.weights.output_dim
            self._max_characters = bilm.weights.max_characters
        else:
            self._states = bilm._elmo_lstm
            self.num_layers, self.output_dim = bilm.num_layers, bilm.get_output_dim()
            self._max_characters = bilm._token_embedder._max_characters

    def __repr__(self) -> str:
        if not isinstance(self._bilm, StatefulCpuBiLm):
            text = summary_of_bilm(self._bilm, self._model)
        else:
            cpu = torch.device("cpu")
            text = summary_of(self._model, self.num_layers, self.output_dim, self.state, self, cpu)
        return f"Embedder({text})"

    @property
    def precision(self) -> str:
        """The precision asked for."""
        return self._bilm.precision

    def _word_cache(self) -> StatefulCpuBiLm | ElmoBiLm:
        return self._bilm

    @property
    def state(self) -> str:
        """The state mode, "carry", "reset" or "frozen"; assigning to it switches.

        Switching to or from "frozen" forgets the carried or frozen state.
        """
        return self._states.state

    @state.setter
    def state(self, mode: str) -> None:
        self._states.state = mode

    @overload
    def encode(
        self,
        texts: Iterable[str] | Iterable[Sequence[str]],
        pooling: Literal["tokens"] = "tokens",
        layers: LayerChoice | str | Iterable[float] = "average",
        batch_size: int = DEFAULT_BATCH_SIZE,
        show_progress: bool = False,
    ) -> list[FloatArray]: ...

    @overload
    def encode(
        self,
        texts: Iterable[str] | Iterable[Sequence[str]],
        pooling: Literal["mean", "max"],
        layers: LayerChoice | str | Iterable[float] = "average",
        batch_size: int = DEFAULT_BATCH_SIZE,
        show_progress: bool = False,
    ) -> FloatArray: ...

    @overload
    def encode(
        self,
        texts: Iterable[str] | Iterable[Sequence[str]],
        pooling: str,
        layers: LayerChoice | str | Iterable[float] = "average",
        batch_size: int = DEFAULT_BATCH_SIZE,
        show_progress: bool = False,
    ) -> list[FloatArray] | FloatArray: ...

    def encode(
        self,
        texts: Iterable[str] | Iterable[Sequence[str]],
        pooling: Pooling | str = "tokens",
        layers: LayerChoice | str | Iterable[float] = "average",
        batch_size: int = DEFAULT_BATCH_SIZE,
        show_progress: bool = False,
    ) -> list[FloatArray] | FloatArray:
        """Embeds texts or token lists.

        A list of strings is a list of *texts*, each of which is tokenised; a list of lists of strings is a list of
        token lists, taken as they are. One text or one token list must be wrapped: `encode([text])`.

        Args:
            texts: n texts, or n token lists.
            pooling: "tokens" (one vector per token), "mean" or "max" (one vector per text, over its tokens; sentence
                markers and padding take no part).
            layers: "average" (mean of the layers), "all" (each layer), "top" (the last), or one weight per layer, used
                as given (they need not add up to 1).
            batch_size: most texts per call of the model; fewer where they are long (`elmo_fast.batching`). In state
                "carry" it also determines which texts share a row's state.
            show_progress: show a progress bar on standard error.
        Returns:
            All float32. For "tokens" a list of n arrays (length, output_dim); for "mean" and "max" one array
            (n, output_dim). With layers="all" (num_layers, length, output_dim) and (num_layers, n, output_dim). A text
            without tokens gives length 0, or zeros when pooled.
        Raises:
            TypeError: a single string, texts mixed with token lists, a token that is not a string, or layers that are
                neither a name nor weights.
            ValueError: an unknown pooling or layers, weights that are not finite or not one per layer, a batch size
                below 1.
        """
        if pooling not in POOLINGS:
            raise ValueError(f"pooling: expected one of {', '.join(map(repr, POOLINGS))}, got {pooling!r}")
        combination = LayerCombination(layers, self.num_layers)
        batch_size = check_batch_size(batch_size)
        sentences = self._token_lists(texts)
        leading = (self.num_layers,) if isinstance(layers, str) and layers == "all" else ()
        empty = np.zeros((*leading, 0 if pooling == "tokens" else 1, self.output_dim), np.float32)
        results = [empty.copy() for _ in sentences]
        runner = self._runner()
        with runner.exclusive(), progress_bar(len(sentences), "text", show_progress) as advance:
            for numbers, batch_layers in runner.batches(sentences, batch_size):
                batch_layers, combine = combination.of_batch(batch_layers)
                arrays = as_arrays(batch_layers)
                for row, number in enumerate(numbers):
                    if length := len(sentences[number]):
                        tokens = combine([array[row, 1 : length + 1] for array in arrays])
                        results[number] = _pool(tokens, pooling)
                advance(len(numbers))
        if pooling == "tokens":
            return results
        return np.concatenate(results, axis=-2) if results else empty[..., :0, :]

    def embed_sentences(
        self, sentences: Iterable[Sequence[str]], batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Iterator[FloatArray]:
        """Embeds token lists lazily, in their order, with all layers: for input that need not fit in memory.

        In state "carry" it reads and runs `batch_size` sentences at a time, row r continuing the state of row r of the
        previous batch. In the other states it reads a window of up to 16 batches and runs it by length.

        Args:
            sentences: token lists; texts are for `encode`, which tokenises them.
            batch_size: most sentences per batch.
        Yields:
            (num_layers, length, output_dim) float32.
        Raises:
            TypeError, ValueError: a wrong batch size (at once), a wrong sentence (when it is reached).
        """
        return self._runner().embed_lazily(sentences, check_batch_size(batch_size))

    def warm_up(self, texts: Iterable[str] | Iterable[Sequence[str]]) -> None:
        """Fixes the "frozen" state: texts or token lists run one at a time, carried, and the last state is kept.

        Raises:
            ValueError: the state is not "frozen", or there is no text.
            TypeError: as in `encode`.
        """
        self._bilm.warm_up(self._token_lists(texts))

    def reset_states(self) -> None:
        """Forgets the state, a "frozen" one included: the next call starts from zero."""
        self._states.reset_states()

    def _runner(self) -> Runner:
        return Runner(self._forward, self._states, self.num_layers, self.output_dim)

    def _forward(self, sentences: Sequence[Sequence[str]]) -> Layers:
        char_ids = sentences_to_char_ids(sentences, self._max_characters)
        layers: Layers
        if isinstance(self._bilm, StatefulCpuBiLm):
            layers = self._bilm(char_ids)
        else:
            with torch.no_grad():
                device = next(self._bilm.parameters()).device
                layers = self._bilm(torch.from_numpy(char_ids).to(device))["activations"]
        return layers

    def _token_lists(self, texts: Iterable[str] | Iterable[Sequence[str]]) -> list[list[str]]:
        if isinstance(texts, (str, bytes)):
            raise TypeError("texts: expected a list of texts or of token lists, got one string; use encode([text])")
        items: list[Any] = list(texts)
        kinds = {isinstance(item, str) for item in items}
        if kinds == {True, False}:
            number = next(i for i, item in enumerate(items) if isinstance(item, str) != isinstance(items[0], str))
            raise TypeError(
                f"texts: expected texts (str) or token lists, not both; item 0 is of type {type(items[0]).__name__}, "
                f"item {number} of type {type(items[number]).__name__}"
            )
        if kinds == {True}:
            return check_sentences([self._tokenize(number, text) for number, text in enumerate(items)])
        return check_sentences(items)

    def _tokenize(self, number: int, text: str) -> list[str]:
        tokens = self.tokenizer(text)
        if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Iterable):
            raise TypeError(f"tokenizer: expected a list of tokens, got {type(tokens).__name__} for text {number}")
        words: list[Any] = [getattr(token, "text", token) for token in tokens]
        return words


def _check_device(device: str | torch.device, precision: str) -> torch.device:
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device: expected a torch device such as 'cpu' or 'cuda', got {device!r}") from error
    if device.type != "cpu":
        check_device(precision, device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: {str(device)!r} was asked for, but torch finds no CUDA device")
    return device


def _pool(tokens: FloatArray, pooling: str) -> FloatArray:
    """(..., length, dim) -> (..., 1, dim), or itself for "tokens"."""
    if pooling == "tokens":
        return tokens
    if pooling == "max":
        return np.asarray(tokens.max(axis=-2, keepdims=True))
    # Summed in float64: a float32 sum over 100,000 tokens loses three digits.
    return np.asarray(tokens.mean(axis=-2, keepdims=True, dtype=np.float64), np.float32)
