"""`ElmoEmbedder` as in AllenNLP 0.9, which most ELMo scripts call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from elmo_fast import models
from elmo_fast.argument_types import FloatArray, OutputFormat, Precision, StateMode
from elmo_fast.batching import DEFAULT_BATCH_SIZE, check_batch_size
from elmo_fast.bilm import ElmoBiLm
from elmo_fast.characters import check_sentences, sentences_to_char_ids
from elmo_fast.outputs import hdf5 as hdf5_output
from elmo_fast.precision import NativePrecision, check_device, check_precision
from elmo_fast.runner import Runner
from elmo_fast.summary import summary_of_bilm
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE, WordCached


class ElmoEmbedder(NativePrecision, WordCached):
    """Embeds tokenised sentences with all layers of a biLM; names, arguments and numbers of AllenNLP 0.9.

    Like AllenNLP's it is stateful by default: with state="carry" a sentence's vectors depend on the sentences embedded
    before it (see `elmo_fast.state.StatefulModule`). With "reset" they do not, and batches are formed by length, which
    is faster.

    Long input is split into batches so that memory stays bounded (`elmo_fast.batching`); this does not change results.
    Differences from AllenNLP 0.9: sentences without tokens give float32 arrays of the model's own width, and batches
    of such sentences work.

    Args:
        options_file, weight_file: paths or URLs; AllenNLP's original English model by default, downloaded once.
        cuda_device: -1 is the CPU, else the number of a CUDA device.
        state: "carry" (AllenNLP's behaviour), "reset" or "frozen" (see `warm_up`).
        precision: arithmetic of the native kernels, see `elmo_fast.precision`; on a CUDA device "float32" or
            "bfloat16".
        word_cache_size: most words remembered from call to call, see `elmo_fast.word_cache`; 0 remembers none.
        cuda_graphs: on a CUDA device, replay each pass as one graph, see `elmo_fast.bilm.ElmoBiLm`.
    Attributes:
        elmo_bilm: the `ElmoBiLm` module; it may be moved to another device or dtype.
        cuda_device: as given.
    Raises:
        ValueError: no such CUDA device, an unknown state or precision, or a wrong cache size.
        WeightsError: a file is wrong or damaged; a ValueError.
        FileNotFoundError: a given path does not exist.
        DownloadError: a URL could not be fetched whole; an OSError.
    """

    def __init__(
        self,
        options_file: models.PathOrUrl = models.ORIGINAL_OPTIONS_URL,
        weight_file: models.PathOrUrl = models.ORIGINAL_WEIGHTS_URL,
        cuda_device: int = -1,
        *,
        state: StateMode | str = "carry",
        precision: Precision | str = "float32",
        word_cache_size: int = DEFAULT_WORD_CACHE_SIZE,
        cuda_graphs: bool = False,
    ) -> None:
        check_precision(precision)
        if cuda_device >= 0:
            check_device(precision, torch.device("cuda", cuda_device))
        if cuda_device >= 0 and cuda_device >= torch.cuda.device_count():
            raise ValueError(f"cuda_device: expected -1 or below {torch.cuda.device_count()}, got {cuda_device}")
        self.elmo_bilm: ElmoBiLm = ElmoBiLm(
            options_file,
            weight_file,
            state=state,
            precision=precision,
            word_cache_size=word_cache_size,
            cuda_graphs=cuda_graphs,
        )
        self.cuda_device = cuda_device
        if cuda_device >= 0:
            self.elmo_bilm = self.elmo_bilm.to(torch.device("cuda", cuda_device))

    def __repr__(self) -> str:
        return f"ElmoEmbedder({summary_of_bilm(self.elmo_bilm)})"

    @property
    def state(self) -> str:
        """The biLM's state mode, "carry", "reset" or "frozen"; assigning to it switches.

        Switching to or from "frozen" forgets the carried or frozen state.
        """
        return self.elmo_bilm.state

    @state.setter
    def state(self, mode: str) -> None:
        self.elmo_bilm.state = mode

    @property
    def precision(self) -> str:
        """The biLM's precision as asked for."""
        return self.elmo_bilm.precision

    def _word_cache(self) -> ElmoBiLm:
        return self.elmo_bilm

    def batch_to_embeddings(self, batch: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Embeds a batch, padded.

        Args:
            batch: token lists.
        Returns:
            (batch_size, num_layers, longest, output_dim) on the model's device, without sentence markers and zero on
            padding; and the mask (batch_size, longest) bool.
        Raises:
            TypeError: a sentence is a plain string, or a token is not a string.
        """
        batch = check_sentences(batch)
        runner = self._runner()
        lengths = [len(sentence) for sentence in batch]
        longest = max(lengths, default=0)
        parameter = next(self.elmo_bilm.parameters())
        shape = (len(batch), runner.num_layers, longest, runner.output_dim)
        embeddings = torch.zeros(shape, dtype=parameter.dtype, device=parameter.device)
        with runner.exclusive():
            for numbers, layers in runner.batches(batch, max(1, len(batch))):
                for row, number in enumerate(numbers):
                    for k, layer in enumerate(layers):
                        embeddings[number, k, : lengths[number]] = torch.as_tensor(layer)[row, 1 : lengths[number] + 1]
        steps = torch.arange(longest, device=parameter.device)
        return embeddings, steps < torch.tensor(lengths, device=parameter.device, dtype=torch.int64)[:, None]

    def embed_sentence(self, sentence: Sequence[str]) -> FloatArray:
        """Returns the layers of one token list, (num_layers, length, output_dim) float32."""
        return self.embed_batch([sentence])[0]

    def embed_batch(self, batch: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Embeds a batch of token lists.

        In state "carry" sentence r continues the state of row r. A batch without any token leaves the state as it is.

        Returns:
            for each sentence (num_layers, length, output_dim) float32; length 0 for one without tokens.
        Raises:
            TypeError: a sentence is a plain string, or a token is not a string.
        """
        batch = list(batch)
        return self._runner().embed(batch, max(1, len(batch)))

    def embed_sentences(
        self, sentences: Iterable[Sequence[str]], batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Iterator[FloatArray]:
        """Embeds sentences lazily, in their order.

        In state "carry" it reads and runs `batch_size` sentences at a time, row r continuing the state of row r of the
        previous batch; a batch beyond the token budget runs, and updates the state, in groups of rows as they are
        consumed. In the other states it reads a window of up to 16 batches and runs it by length.

        Args:
            sentences: token lists.
            batch_size: most sentences per batch.
        Yields:
            (num_layers, length, output_dim) float32.
        Raises:
            TypeError, ValueError: a wrong batch size (at once), a wrong sentence (when it is reached).
        """
        return self._runner().embed_lazily(sentences, check_batch_size(batch_size))

    def embed_file(
        self,
        input_file: Iterable[str],
        output_file_path: str | os.PathLike[str],
        output_format: OutputFormat | str = "all",
        batch_size: int = DEFAULT_BATCH_SIZE,
        forget_sentences: bool = False,
        use_sentence_keys: bool = False,
    ) -> None:
        """Embeds a file, one sentence per line, tokens separated by white space, into HDF5 (`elmo_fast.outputs.hdf5`).

        An existing output is replaced, once the new one is complete. A blank line is a sentence without tokens.

        Args:
            input_file: an open text file; it stays open.
            output_file_path: the HDF5 file to write.
            output_format: "all" (num_layers, length, dim), "top" or "average" (length, dim).
            batch_size: most sentences per batch.
            forget_sentences: leave out the dataset `sentence_to_index`.
            use_sentence_keys: name each dataset by its line, not by the line's number; a line may then not occur twice.
        Raises:
            ValueError: an unknown output format, a wrong batch size, or a line that cannot be a key.
            OSError: the file could not be written.
        """
        batch_size = check_batch_size(batch_size)
        hdf5_output.embed_lines(
            input_file,
            lambda sentences: self.embed_sentences(sentences, batch_size),
            output_file_path,
            output_format,
            forget_sentences=forget_sentences,
            use_sentence_keys=use_sentence_keys,
            overwrite=True,
        )

    def warm_up(self, sentences: Iterable[Sequence[str]]) -> None:
        """Fixes the "frozen" state: the token lists run one at a time, carried, and the last state is kept.

        Raises:
            ValueError: the state is not "frozen", or there is no sentence.
        """
        self.elmo_bilm.warm_up(check_sentences(sentences))

    def reset_states(self) -> None:
        """Forgets the state, a "frozen" one included: the next call starts from zero."""
        self.elmo_bilm._elmo_lstm.reset_states()

    def _runner(self) -> Runner:
        bilm = self.elmo_bilm
        return Runner(self._forward, bilm._elmo_lstm, bilm.num_layers, bilm.get_output_dim())

    def _forward(self, sentences: Sequence[Sequence[str]]) -> Sequence[Tensor]:
        max_characters = self.elmo_bilm._token_embedder._max_characters
        char_ids = torch.from_numpy(sentences_to_char_ids(sentences, max_characters))
        layers: Sequence[Tensor] = self.elmo_bilm(char_ids.to(next(self.elmo_bilm.parameters()).device))["activations"]
        return layers
