"""The bidirectional language model as a torch module: token encoder and LSTM together, under AllenNLP's names."""

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
_CACHE_CHUNK = 4096  # words encoded at a time for `vocab_to_cache`: bounds memory, costs no speed


class ElmoBiLm(NativePrecision, WordCached, nn.Module):
    """A pre-trained biLM that turns character ids into the activations of every layer.

    The native kernels run it on the CPU in float32, with and without gradients of its weights, and on CUDA without
    gradients in float32, float16 and bfloat16. The PyTorch reference runs everything else: other dtypes, and
    fine-tuning on CUDA.

    Args:
        options_file, weight_file: paths or URLs.
        requires_grad: whether the weights get gradients.
        vocab_to_cache: words whose token embeddings are computed once; index i of `word_inputs` is
            `vocab_to_cache[i]`. Entry 0 is padding: it is zero and masked.
        state: "carry" (AllenNLP's behaviour: a row of a batch starts where the same row of the last batch ended),
            "reset" (every call starts from zero), "frozen" (every row starts from what `warm_up` left). See
            `elmo_fast.state.StatefulModule`.
        precision: arithmetic of the native kernels, see `elmo_fast.precision`.
        word_cache_size: at most this many words are remembered between calls, see `elmo_fast.word_cache`; 0 for none.
        cuda_graphs: on CUDA, replay each pass as one graph (`elmo_fast.cuda.graphs`): for the latency of small batches.
        checkpointing: with gradients of the weights, trade time for memory; see `ElmoLstm`.
    Raises:
        ValueError: an unknown state or precision, or a wrong cache size.
        FileNotFoundError: a file is missing.
        WeightsError: a file is wrong or damaged.
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
        check_mode(state)  # before a large file is read
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
        """Returns the size of one layer's output, 2 * projection_dim."""
        return 2 * self._token_embedder.get_output_dim()

    def _word_cache(self) -> ElmoCharacterEncoder:
        return self._token_embedder

    @property
    def state(self) -> str:
        """The state mode; assign to it to switch."""
        return self._elmo_lstm.state

    @state.setter
    def state(self, mode: str) -> None:
        self._elmo_lstm.state = mode

    def reset_states(self, mask: Tensor | None = None) -> None:
        """Forgets the carried or frozen state; see `elmo_fast.state.StatefulModule.reset_states`."""
        self._elmo_lstm.reset_states(mask)

    def warm_up(self, sentences: Iterable[Sequence[str] | Tensor]) -> None:
        """Sets the state from which every row of every call starts in state "frozen".

        The sentences are run one at a time, the first from zero and each other from where the previous one ended; the
        last state is kept. Another call starts over. Before the first call the frozen state is zero.

        Args:
            sentences: each a list of words, or their character ids (num_timesteps, max_characters).
        Raises:
            ValueError: the state mode is not "frozen", or there is no sentence.
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
        """Forgets the native copies of the weights. Call it after changing single elements through `.data`."""
        self._token_embedder.repack()
        self._elmo_lstm.repack()

    def forward(self, inputs: Tensor, word_inputs: Tensor | None = None) -> dict[str, Tensor | list[Tensor]]:
        """Runs the biLM.

        Args:
            inputs: (batch_size, num_timesteps, max_characters) integers, 0 where there is no token.
            word_inputs: (batch_size, num_timesteps) indices into `vocab_to_cache`, used instead of `inputs`. If any
                index is out of range, the whole batch uses `inputs`.
        Returns:
            "activations", a list of `num_layers` tensors (batch_size, num_timesteps + 2, 2 * projection_dim), zero on
            padding, the token embedding first; and "mask" (batch_size, num_timesteps + 2) bool. Both sentence markers
            are included.
        Raises:
            TypeError, ValueError: `inputs` are not character ids of this shape.
        """
        if not self._knows(word_inputs):
            word_inputs = None
        if not is_plain(self._elmo_lstm, ElmoLstm):
            tokens, mask = self._embed(inputs, word_inputs)
            return {"activations": collect(tokens, mask, self._elmo_lstm(tokens, mask)), "mask": mask}
        batch_size = (inputs if word_inputs is None else word_inputs).shape[0]
        return self._elmo_lstm._with_state(batch_size, lambda slot: self._run(inputs, word_inputs, slot))

    def packed(self) -> native._cpu.BiLm:
        """Returns the native copy of the parameters as they are now."""
        return native._cpu.BiLm(self._token_embedder.packed(), self._elmo_lstm.packed())

    def _run(self, inputs: Tensor, word_inputs: Tensor | None, slot: StateSlot) -> dict[str, Tensor | list[Tensor]]:
        backend = dispatch.backend_for(**self._call(word_inputs is not None))
        activations, mask = backend.bilm(self, inputs, word_inputs, slot)
        return {"activations": activations, "mask": mask}

    def _call(self, from_words: bool = False) -> dict[str, Any]:
        """Returns the arguments of `dispatch.choose` for a call."""
        encoder, lstm = self._token_embedder, self._elmo_lstm
        plain = is_plain(lstm, ElmoLstm) and (from_words or is_plain(encoder, ElmoCharacterEncoder))
        if not plain:
            return {"parameters": (), "plain": False}
        tensors = [self._word_embedding.weight] if from_words else encoder._tensors()
        return {"parameters": tensors + lstm._tensors(), "recurrent_dropout": lstm._has_dropout()}

    def _embed(self, inputs: Tensor, word_inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns token embeddings with markers, and their mask."""
        if word_inputs is None:
            encoded = self._token_embedder(inputs)
            return encoded["token_embedding"], encoded["mask"]
        embedded = self._word_embedding(word_inputs.long())
        markers = (marker.to(embedded) for marker in (self._bos_embedding, self._eos_embedding))
        return reference.add_markers(embedded, word_inputs > 0, *markers)

    def _knows(self, word_inputs: Tensor | None) -> bool:
        """Returns whether all these indices are those of cached words."""
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
        """Computes the token embeddings of words for `word_inputs`; sets three attributes.

        - `_word_embedding`: an `Embedding` of (len(tokens), projection_dim); row 0, the padding, is zero.
        - `_bos_embedding`, `_eos_embedding`: (projection_dim,), the sentence markers.

        Args:
            tokens: the words.
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
        self._graphs = GraphCache()  # moved away: free what was captured
        if self._bos_embedding is not None:
            self._bos_embedding, self._eos_embedding = fn(self._bos_embedding), fn(self._eos_embedding)
        return self
