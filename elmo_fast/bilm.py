"""The bidirectional language model, token encoder plus LSTM, as a torch module with AllenNLP's names."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from elmo_fast import dispatch, models, native, reference
from elmo_fast.characters import ELMoCharacterMapper, tokens_to_char_ids
from elmo_fast.cuda.graphs import GraphCache
from elmo_fast.encoder import ElmoCharacterEncoder
from elmo_fast.lstm import ElmoLstm
from elmo_fast.parameters import is_plain
from elmo_fast.precision import NativePrecision, check_precision
from elmo_fast.reference_backend import collect
from elmo_fast.state import StateSlot, check_mode
from elmo_fast.weights import read_options, read_weights
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE, WordCached, check_word_cache_size

logger = logging.getLogger(__name__)

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_CACHE_CHUNK = 4096  # words encoded at once for `vocab_to_cache`; bounds memory at no cost in speed


class ElmoBiLm(NativePrecision, WordCached, nn.Module):
    """A pre-trained biLM that turns character ids into the activations of every layer.

    On the CPU, the native kernels run float32 models, with or without gradients of the weights. On CUDA, they run
    float32, float16 and bfloat16 models without gradients. Everything else (other dtypes, and fine-tuning on CUDA) runs
    on the PyTorch reference.

    Args:
        options_file, weight_file: paths or URLs.
        requires_grad: whether the weights get gradients.
        vocab_to_cache: words whose token embeddings are computed once, in advance. Index i in `word_inputs` means
            `vocab_to_cache[i]`. Entry 0 is padding: its embedding is zero, and it is masked.
        state: "carry" (AllenNLP's behaviour: each row of a batch starts from the state in which the same row of the
            previous batch ended), "reset" (every call starts from zero) or "frozen" (every row starts from the state
            that `warm_up` computed). See `elmo_fast.state.StatefulModule`.
        precision: arithmetic of the native kernels; see `elmo_fast.precision`.
        word_cache_size: maximum number of words remembered between calls, 0 for none; see `elmo_fast.word_cache`.
        cuda_graphs: on CUDA, replay each forward pass as a single CUDA graph, which reduces the latency of small
            batches; see `elmo_fast.cuda.graphs`.
        checkpointing: when the weights need gradients, use more time and less memory; see `ElmoLstm`.
    Raises:
        ValueError: the state or precision is unknown, the cache size is invalid, or a URL is of an unsupported kind.
        FileNotFoundError: a file is missing.
        DownloadError: a URL could not be downloaded completely.
        WeightsError: a file is invalid or damaged.
    Source: Peters et al. 2018, arXiv:1802.05365.
    """

    def __init__(
        self,
        options_file: str | os.PathLike[str],
        weight_file: str | os.PathLike[str],
        requires_grad: bool = False,
        vocab_to_cache: list[str] | None = None,
        *,
        state: str = "carry",
        precision: str = "float32",
        word_cache_size: int = DEFAULT_WORD_CACHE_SIZE,
        cuda_graphs: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self._cuda_graphs = cuda_graphs
        self._graphs = GraphCache()
        check_mode(state)  # checked before a large file is read
        check_word_cache_size(word_cache_size)
        self._precision = check_precision(precision)
        options = read_options(models.local_path(options_file))
        weights = read_weights(models.local_path(weight_file), options)
        self._token_embedder = ElmoCharacterEncoder(
            options_file,
            weight_file,
            requires_grad,
            weights=(options, weights),
            precision=precision,
            word_cache_size=word_cache_size,
            checkpointing=checkpointing,
        )
        self._requires_grad = requires_grad
        self._word_embedding: nn.Embedding | None = None
        self._bos_embedding: Tensor | None = None
        self._eos_embedding: Tensor | None = None
        if vocab_to_cache:
            if requires_grad:
                logger.warning(
                    "vocab_to_cache with requires_grad=True: cached words do not follow the token encoder's training"
                )
            self.create_cached_cnn_embeddings(vocab_to_cache)
        self._elmo_lstm = ElmoLstm(
            input_size=options.projection_dim,
            hidden_size=options.projection_dim,
            cell_size=options.cell_size,
            num_layers=options.n_layers,
            requires_grad=requires_grad,
            memory_cell_clip_value=options.cell_clip,
            state_projection_clip_value=options.proj_clip,
            state=state,
            use_skip_connections=options.use_skip_connections,
            weights=weights.layers,
            precision=precision,
            checkpointing=checkpointing,
        )
        self.num_layers = options.n_layers + 1

    def get_output_dim(self) -> int:
        """Returns the output size of a layer, 2 * projection_dim."""
        return 2 * self._token_embedder.get_output_dim()

    def _word_cache(self) -> ElmoCharacterEncoder:
        return self._token_embedder

    @property
    def state(self) -> str:
        """The state mode: "carry", "reset" or "frozen". Assign to it to switch modes."""
        return self._elmo_lstm.state

    @state.setter
    def state(self, mode: str) -> None:
        self._elmo_lstm.state = mode

    def reset_states(self, mask: Tensor | None = None) -> None:
        """Resets the carried or frozen state to zero; see `elmo_fast.state.StatefulModule.reset_states`."""
        self._elmo_lstm.reset_states(mask)

    def warm_up(self, sentences: Iterable[Sequence[str] | Tensor]) -> None:
        """Computes the initial state that mode "frozen" uses for every row of every call.

        The sentences are run one at a time. The first starts from zero, and each of the others from the final state of
        the previous one. The final state of the last sentence is stored. Calling `warm_up` again starts over from zero.
        Before the first call, the frozen state is zero.

        Args:
            sentences: each is a list of words, or their character ids of shape (num_timesteps, max_characters).
        Raises:
            ValueError: the state mode is not "frozen", or there are no sentences.
        """
        self._elmo_lstm._check_frozen()
        state = None
        device = self._token_embedder._char_embedding_weights.device
        with torch.no_grad():
            for sentence in sentences:
                if not isinstance(sentence, Tensor):
                    char_ids = tokens_to_char_ids([sentence], self._token_embedder._max_characters)
                    sentence = torch.from_numpy(char_ids)[0]
                slot = StateSlot(state, keep=True)
                self._run(sentence.unsqueeze(0).to(device), None, slot)
                state = slot.final
        if state is None:
            raise ValueError("sentences: expected at least one, got none")
        self._elmo_lstm._freeze_state(state)

    def repack(self) -> None:
        """Discards the native copies of the weights. Call this after changing individual elements through `.data`."""
        self._token_embedder.repack()
        self._elmo_lstm.repack()

    def forward(self, inputs: Tensor, word_inputs: Tensor | None = None) -> dict[str, Tensor | list[Tensor]]:
        """Runs the biLM.

        Args:
            inputs: (batch_size, num_timesteps, max_characters) integer character ids, 0 where there is no token.
            word_inputs: (batch_size, num_timesteps) integer indices into `vocab_to_cache`, used instead of `inputs`. If
                any index is out of range, `inputs` is used for the whole batch.
        Returns:
            A dictionary with "activations", a list of `num_layers` tensors of shape (batch_size, num_timesteps + 2,
            2 * projection_dim), zero on padding, starting with the token embedding; and "mask", (batch_size,
            num_timesteps + 2) bool. Both include the two sentence markers.
        Raises:
            TypeError, ValueError: `inputs` does not hold character ids in this shape.
            ValueError: `word_inputs` does not hold integers in this shape.
        """
        if not self._knows(word_inputs):
            word_inputs = None
        if not is_plain(self._elmo_lstm, ElmoLstm):
            tokens, mask = self._embed(inputs, word_inputs)
            return {"activations": collect(tokens, mask, self._elmo_lstm(tokens, mask)), "mask": mask}
        batch_size = (inputs if word_inputs is None else word_inputs).shape[0]
        return self._elmo_lstm._with_state(batch_size, lambda slot: self._run(inputs, word_inputs, slot))

    def packed(self) -> native._cpu.BiLm:
        """Returns the native copy of the current parameters."""
        return native._cpu.BiLm(self._token_embedder.packed(), self._elmo_lstm.packed())

    def _run(self, inputs: Tensor, word_inputs: Tensor | None, slot: StateSlot) -> dict[str, Tensor | list[Tensor]]:
        backend = dispatch.backend_for(**self._call(word_inputs is not None))
        activations, mask = backend.bilm(self, inputs, word_inputs, slot)
        return {"activations": activations, "mask": mask}

    def _call(self, from_words: bool = False) -> dict[str, Any]:
        """Returns the arguments that `dispatch.choose` needs for a call."""
        encoder, lstm = self._token_embedder, self._elmo_lstm
        tokens_plain = (
            is_plain(self._word_embedding, nn.Embedding) if from_words else is_plain(encoder, ElmoCharacterEncoder)
        )
        if not (tokens_plain and is_plain(lstm, ElmoLstm)):
            return {"parameters": (), "plain": False}
        tensors = [self._word_embedding.weight] if from_words else encoder._tensors()
        return {"parameters": tensors + lstm._tensors(), "recurrent_dropout": lstm._has_dropout()}

    def _embed(self, inputs: Tensor, word_inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the token embeddings, sentence markers included, and their mask."""
        if word_inputs is None:
            encoded = self._token_embedder(inputs)
            return encoded["token_embedding"], encoded["mask"]
        embedded = self._word_embedding(word_inputs.long())
        markers = (marker.to(embedded) for marker in (self._bos_embedding, self._eos_embedding))
        return reference.add_markers(embedded, word_inputs > 0, *markers)

    def _knows(self, word_inputs: Tensor | None) -> bool:
        """Returns whether every index refers to a cached word."""
        if word_inputs is None or self._word_embedding is None:
            return False
        if word_inputs.dim() != 2 or word_inputs.dtype not in _INTEGERS:
            raise ValueError(
                "word_inputs: expected integers of shape (batch_size, num_timesteps), got "
                f"{word_inputs.dtype} of shape {tuple(word_inputs.shape)}"
            )
        if word_inputs.numel() == 0:
            return True
        low, high = word_inputs.aminmax()
        return bool(low >= 0) and bool(high < self._word_embedding.num_embeddings)

    def create_cached_cnn_embeddings(self, tokens: list[str]) -> None:
        """Computes and stores the token embeddings of words, for use with `word_inputs`. Sets three attributes:

        - `_word_embedding`: an `Embedding` of shape (len(tokens), projection_dim). Row 0 is padding, and zero.
        - `_bos_embedding`, `_eos_embedding`: (projection_dim,), the embeddings of the sentence markers.

        Args:
            tokens: the words, in the order of their indices in `word_inputs`.
        """
        words = [ELMoCharacterMapper.bos_token, ELMoCharacterMapper.eos_token, *tokens]
        encoder = self._token_embedder
        char_ids = torch.from_numpy(tokens_to_char_ids([words], encoder._max_characters))[0]
        device = encoder._char_embedding_weights.device
        with torch.no_grad():
            chunks = [encoder.encode_rows(chunk.to(device)) for chunk in char_ids.split(_CACHE_CHUNK)]
            embeddings = torch.cat(chunks)
            embeddings[2] = 0.0
        self._bos_embedding, self._eos_embedding = embeddings[0].clone(), embeddings[1].clone()
        self._word_embedding = nn.Embedding.from_pretrained(
            embeddings[2:].clone(), freeze=not self._requires_grad, padding_idx=0
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: object, **kwargs: object) -> ElmoBiLm:
        super()._apply(fn, *args, **kwargs)
        self._graphs = GraphCache()  # the parameters may have moved; free the captured graphs
        if self._bos_embedding is not None:
            self._bos_embedding, self._eos_embedding = fn(self._bos_embedding), fn(self._eos_embedding)
        return self
