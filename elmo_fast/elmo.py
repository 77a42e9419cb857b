"""`Elmo` and `ElmoTokenEmbedder`: drop-in replacements for AllenNLP's classes of the same names."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from elmo_fast import dispatch, models
from elmo_fast.argument_types import Mix, Precision, StateMode
from elmo_fast.bilm import ElmoBiLm
from elmo_fast.parameters import child_of, is_plain
from elmo_fast.precision import NativePrecision
from elmo_fast.scalar_mix import AdditiveMix, ScalarMix
from elmo_fast.summary import summary_of_bilm
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE, WordCached

logger = logging.getLogger(__name__)

_MIXES = ("scalar", "additive")


class Elmo(NativePrecision, WordCached, nn.Module):
    """A pre-trained biLM and one or more learned mixes of its layers.

    Args:
        options_file, weight_file: paths or URLs; both None with `module`.
        num_output_representations: number of mixes, each with its own weights; the biLM runs once.
        requires_grad: whether the biLM's weights get gradients. Those of the mixes always do.
        do_layer_norm: normalise each layer before mixing, see `elmo_fast.scalar_mix.layer_norm`.
        dropout: dropout probability on each representation, in training.
        vocab_to_cache: words whose token embeddings are computed once, for `word_inputs`; entry 0 is padding. See
            `ElmoBiLm`.
        keep_sentence_boundaries: return the vectors of both sentence markers too: num_timesteps + 2 positions.
        scalar_mix_parameters: fixed mixing weights, before the softmax; None learns them. With `mix="additive"` these
            are the fixed coefficients of the layers above the first, one fewer.
        module: used as the biLM. It has `num_layers`, and its forward takes (inputs, word_inputs) and returns a
            dictionary with "activations" and "mask", as `ElmoBiLm`'s does.
        state: "carry" (AllenNLP's behaviour: a sentence's vectors depend on the previous calls), "reset" (every call
        starts from zero, so that a sentence always gets the same vectors) or "frozen" (every row starts from the state
        that `warm_up` set; zero before it).
        mix: "scalar" (`ScalarMix`) or "additive" (`AdditiveMix`).
        mix_per_dimension: with `mix="additive"`, one coefficient per dimension instead of one per layer.
        precision: arithmetic of the native kernels, see `elmo_fast.precision`; the mixes always compute in float32.
        word_cache_size: at most this many words are remembered between calls, see `elmo_fast.word_cache`; 0 for none.
        cuda_graphs: on CUDA, replay each pass as one graph, see `ElmoBiLm`.
        checkpointing: with gradients of the weights, trade time for memory; see `ElmoLstm`.
    Raises:
        FileNotFoundError: a file is missing.
        WeightsError: a file is wrong or damaged.
        ValueError: arguments that contradict each other.
    Source: Peters et al. 2018, arXiv:1802.05365.
    """

    def __init__(
        self,
        options_file: models.PathOrUrl | None,
        weight_file: models.PathOrUrl | None,
        num_output_representations: int,
        requires_grad: bool = False,
        do_layer_norm: bool = False,
        dropout: float = 0.5,
        vocab_to_cache: list[str] | None = None,
        keep_sentence_boundaries: bool = False,
        scalar_mix_parameters: Sequence[float] | None = None,
        module: nn.Module | None = None,
        *,
        state: StateMode | str = "carry",
        mix: Mix | str = "scalar",
        mix_per_dimension: bool = False,
        precision: Precision | str = "float32",
        word_cache_size: int = DEFAULT_WORD_CACHE_SIZE,
        cuda_graphs: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if mix not in _MIXES:
            raise ValueError(f"mix: expected one of {', '.join(map(repr, _MIXES))}, got {mix!r}")
        if mix_per_dimension and mix != "additive":
            raise ValueError(f'mix_per_dimension: expected mix="additive" with it, got mix={mix!r}')
        if module is None:
            if options_file is None or weight_file is None:
                raise ValueError(
                    "options_file and weight_file: expected both (or module=), "
                    f"got {options_file!r} and {weight_file!r}"
                )
            self._elmo_lstm = ElmoBiLm(
                options_file,
                weight_file,
                requires_grad,
                vocab_to_cache,
                state=state,
                precision=precision,
                word_cache_size=word_cache_size,
                cuda_graphs=cuda_graphs,
                checkpointing=checkpointing,
            )
        else:
            if options_file is not None or weight_file is not None:
                raise ValueError("module: expected options_file=None and weight_file=None with it, got files too")
            for name, value, default in (
                ("state", state, "carry"),
                ("precision", precision, "float32"),
                ("word_cache_size", word_cache_size, DEFAULT_WORD_CACHE_SIZE),
                ("cuda_graphs", cuda_graphs, False),
                ("checkpointing", checkpointing, False),
            ):
                if value != default:
                    raise ValueError(f"{name}: applies to the biLM read from files, not to module=; got {value!r}")
            self._elmo_lstm = cast(ElmoBiLm, module)  # or what acts like one
        self._has_cached_vocab = vocab_to_cache is not None
        self._keep_sentence_boundaries = keep_sentence_boundaries
        self._dropout = nn.Dropout(p=dropout)
        self._scalar_mixes: list[nn.Module] = []
        for k in range(num_output_representations):
            trainable = scalar_mix_parameters is None
            num_layers = self._elmo_lstm.num_layers
            if mix == "scalar":
                layer_mix: nn.Module = ScalarMix(num_layers, do_layer_norm, scalar_mix_parameters, trainable)
            else:
                dim = self.get_output_dim() if mix_per_dimension else None
                layer_mix = AdditiveMix(num_layers, dim, do_layer_norm, scalar_mix_parameters, trainable)
            self.add_module(f"scalar_mix_{k}", layer_mix)
            self._scalar_mixes.append(layer_mix)

    def extra_repr(self) -> str:
        # Another module than this package's biLM describes itself.
        return summary_of_bilm(self._elmo_lstm) if isinstance(self._elmo_lstm, ElmoBiLm) else ""

    def get_output_dim(self) -> int:
        """Returns the size of a representation, 2 * projection_dim."""
        return self._elmo_lstm.get_output_dim()

    @property
    def precision(self) -> str:
        """The biLM's precision as asked for; "float32" for a `module` that has none."""
        return getattr(self._elmo_lstm, "precision", "float32")

    def _word_cache(self) -> nn.Module:
        return self._elmo_lstm

    @property
    def state(self) -> str:
        """The biLM's state mode; assigning to it switches."""
        return self._elmo_lstm.state

    @state.setter
    def state(self, mode: str) -> None:
        self._elmo_lstm.state = mode

    def reset_states(self, mask: Tensor | None = None) -> None:
        """Forgets the carried or frozen state; see `elmo_fast.state.StatefulModule.reset_states`."""
        self._elmo_lstm.reset_states(mask)

    def warm_up(self, sentences: Iterable[Sequence[str] | Tensor]) -> None:
        """Fixes the state that state "frozen" starts from; see `ElmoBiLm.warm_up`."""
        self._elmo_lstm.warm_up(sentences)

    def repack(self) -> None:
        """Forgets the native copies of the weights; see `ElmoBiLm.repack`."""
        self._elmo_lstm.repack()

    def forward(self, inputs: Tensor, word_inputs: Tensor | None = None) -> dict[str, Tensor | list[Tensor]]:
        """Computes the representations of a batch.

        Args:
            inputs: (batch_size, num_timesteps, max_characters) character ids from `batch_to_ids`, any integer dtype;
                or (..., num_timesteps, max_characters) with more leading dimensions, which the results then have too.
            word_inputs: (batch_size, num_timesteps) or (..., num_timesteps) indices into `vocab_to_cache`, used
                instead of `inputs`; if any is out of range, the whole batch uses `inputs`.
        Returns:
            "elmo_representations", a list of `num_output_representations` tensors (..., num_timesteps, output_dim), and
            "mask" (..., num_timesteps) bool. With `keep_sentence_boundaries`, num_timesteps + 2.
        Raises:
            TypeError, ValueError: `inputs` are not character ids of this shape.
        """
        if word_inputs is not None and not self._has_cached_vocab:
            logger.warning("word_inputs: ignored, this Elmo was made without vocab_to_cache")
            word_inputs = None
        if inputs.dim() < 3:
            raise ValueError(
                f"inputs: expected shape (..., batch_size, num_timesteps, max_characters), got {tuple(inputs.shape)}"
            )
        leading = inputs.shape[:-2] if word_inputs is None else word_inputs.shape[:-1]
        if inputs.dim() > 3:
            inputs = inputs.flatten(0, -3)
        if word_inputs is not None and word_inputs.dim() > 2:
            word_inputs = word_inputs.flatten(0, -2)
        bilm_output = self._elmo_lstm(inputs, word_inputs)
        layers, mask = bilm_output["activations"], bilm_output["mask"]
        mixes = [child_of(self, f"scalar_mix_{k}") for k in range(len(self._scalar_mixes))]
        if self._keep_sentence_boundaries:
            representations = [layer_mix(layers, mask) for layer_mix in mixes]
        else:
            tokens = _without_markers(mask)
            representations = [_mix_tokens(layer_mix, layers, mask, tokens) for layer_mix in mixes]
            mask = tokens
        representations = [self._dropout(x) for x in representations]
        if len(leading) > 1:
            representations = [x.unflatten(0, leading) for x in representations]
            mask = mask.unflatten(0, leading)
        return {"elmo_representations": representations, "mask": mask}


def _mix_tokens(layer_mix: nn.Module, layers: Sequence[Tensor], mask: Tensor, tokens: Tensor) -> Tensor:
    """Returns a mix of the layers without their markers, zero where `tokens`, their mask, is false."""
    choice = dispatch.choose(layers, list(layer_mix.parameters()), plain=is_plain(layer_mix, type(layer_mix)))
    return dispatch.BACKENDS[choice.name].mix(layer_mix, layers, mask, tokens)


def _without_markers(mask: Tensor) -> Tensor:
    """Returns the mask without markers: true for as many leading positions as there are tokens."""
    # Position k of the result precedes token k + 1, and the sum counts both markers.
    return torch.arange(2, mask.shape[1], device=mask.device) < mask.sum(dim=1, keepdim=True)


class ElmoTokenEmbedder(NativePrecision, WordCached, nn.Module):
    """One ELMo representation as a tensor: `Elmo` with one mix, and optionally a linear projection.

    Args:
        options_file, weight_file: paths or URLs; by default AllenNLP's original model, downloaded on first use.
        projection_dim: size to project the representation to; None for no projection.
        do_layer_norm, dropout, requires_grad, vocab_to_cache, scalar_mix_parameters, state, precision,
        word_cache_size, cuda_graphs, checkpointing: see `Elmo`.
    """

    def __init__(
        self,
        options_file: models.PathOrUrl = models.ORIGINAL_OPTIONS_URL,
        weight_file: models.PathOrUrl = models.ORIGINAL_WEIGHTS_URL,
        do_layer_norm: bool = False,
        dropout: float = 0.5,
        requires_grad: bool = False,
        projection_dim: int | None = None,
        vocab_to_cache: list[str] | None = None,
        scalar_mix_parameters: Sequence[float] | None = None,
        *,
        state: StateMode | str = "carry",
        precision: Precision | str = "float32",
        word_cache_size: int = DEFAULT_WORD_CACHE_SIZE,
        cuda_graphs: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self._elmo = Elmo(
            options_file,
            weight_file,
            1,
            requires_grad=requires_grad,
            do_layer_norm=do_layer_norm,
            dropout=dropout,
            vocab_to_cache=vocab_to_cache,
            scalar_mix_parameters=scalar_mix_parameters,
            state=state,
            precision=precision,
            word_cache_size=word_cache_size,
            cuda_graphs=cuda_graphs,
            checkpointing=checkpointing,
        )
        self._projection = nn.Linear(self._elmo.get_output_dim(), projection_dim) if projection_dim else None
        self.output_dim: int = projection_dim or self._elmo.get_output_dim()

    def extra_repr(self) -> str:
        return f"output_dim={self.output_dim}"

    def get_output_dim(self) -> int:
        """Returns the size of the result's last dimension."""
        return self.output_dim

    @property
    def precision(self) -> str:
        """The precision asked for."""
        return self._elmo.precision

    @property
    def state(self) -> str:
        """The biLM's state mode; assigning to it switches."""
        return self._elmo.state

    @state.setter
    def state(self, mode: str) -> None:
        self._elmo.state = mode

    def _word_cache(self) -> Elmo:
        return self._elmo

    def reset_states(self, mask: Tensor | None = None) -> None:
        """Forgets the carried or frozen state; see `Elmo.reset_states`."""
        self._elmo.reset_states(mask)

    def warm_up(self, sentences: Iterable[Sequence[str] | Tensor]) -> None:
        """Fixes the state that state "frozen" starts from; see `ElmoBiLm.warm_up`."""
        self._elmo.warm_up(sentences)

    def repack(self) -> None:
        """Forgets the native copies of the weights; see `ElmoBiLm.repack`."""
        self._elmo.repack()

    def forward(self, elmo_tokens: Tensor, word_inputs: Tensor | None = None) -> Tensor:
        """Computes the representation.

        Args:
            elmo_tokens: (..., num_timesteps, max_characters) character ids, see `Elmo.forward`.
            word_inputs: (..., num_timesteps) indices into `vocab_to_cache`.
        Returns:
            (..., num_timesteps, output_dim).
        """
        representation: Tensor = self._elmo(elmo_tokens, word_inputs)["elmo_representations"][0]
        if self._projection is not None:
            representation = self._projection(representation)
        return representation
