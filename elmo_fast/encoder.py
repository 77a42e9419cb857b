"""The context-insensitive token encoder as a torch module with AllenNLP's names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from elmo_fast import characters, dispatch, models, native, reference
from elmo_fast.characters import marker_char_ids
from elmo_fast.cpu import pack
from elmo_fast.cuda.pack import CudaEncoder
from elmo_fast.packed_cache import PackedCache
from elmo_fast.parameters import adopt, child_of, encoder_parts, parameter_of, uninitialised
from elmo_fast.precision import NativePrecision, check_precision
from elmo_fast.weights import EncoderWeights, Options, read_encoder_weights, read_options
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE, CacheInfo, WordCached, check_word_cache_size


class Highway(nn.Module):
    """Highway layers and their parameters, with rows in the order [transform; carry].

    See `elmo_fast.reference.highway`.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self._layers = nn.ModuleList(layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Applies all layers: (..., n_filters) -> (..., n_filters)."""
        for layer in self._layers:
            inputs = reference.highway(inputs, layer.weight, layer.bias)
        return inputs


class ElmoCharacterEncoder(NativePrecision, WordCached, nn.Module):
    """Computes one vector per word, independent of its context, with a character CNN, highway layers and a projection.

    Args:
        options_file, weight_file: paths or URLs.
        requires_grad: whether the parameters get gradients.
        weights: the contents of the two files, if they have already been read. The files are then not opened, and the
            arrays become the parameters without being copied.
        precision: arithmetic of the native kernels; see `elmo_fast.precision`.
        word_cache_size: maximum number of words remembered between calls, 0 for none; see `elmo_fast.word_cache`.
        checkpointing: in training, save no activations for the backward pass, which recomputes them instead.
    Raises:
        ValueError: the precision is unknown, the cache size is invalid, or a URL is of an unsupported kind.
        FileNotFoundError: a file is missing.
        DownloadError: a URL could not be downloaded completely.
        WeightsError: a file is invalid or damaged.
    Source: Peters et al. 2018, arXiv:1802.05365; character CNN and highway layers: Kim et al. 2016, arXiv:1508.06615.
    """

    def __init__(
        self,
        options_file: str | os.PathLike[str],
        weight_file: str | os.PathLike[str],
        requires_grad: bool = False,
        *,
        weights: tuple[Options, EncoderWeights] | None = None,
        precision: str = "float32",
        word_cache_size: int = DEFAULT_WORD_CACHE_SIZE,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self._precision = check_precision(precision)
        self._word_cache_size = check_word_cache_size(word_cache_size)
        if weights is None:
            options = read_options(models.local_path(options_file))
            weights = options, read_encoder_weights(models.local_path(weight_file), options)
        options, arrays = weights
        self._options = options.raw
        self._weight_file = weight_file
        self.output_dim = options.projection_dim
        self.requires_grad = requires_grad
        self._activation = options.activation
        self._max_characters = options.max_characters
        self._packed = PackedCache()

        self._char_embedding_weights = nn.Parameter(torch.tensor(arrays.char_embedding))
        self._convolutions = [_convolution(*pair) for pair in arrays.convolutions]
        for i, convolution in enumerate(self._convolutions):
            self.add_module(f"char_conv_{i}", convolution)
        self._highways = Highway([_linear(*pair) for pair in arrays.highways])
        self._projection = None if arrays.projection is None else _linear(*arrays.projection)
        self.requires_grad_(requires_grad)

        bos, eos = marker_char_ids(options.max_characters)
        self._beginning_of_sentence_characters = torch.from_numpy(bos.copy())
        self._end_of_sentence_characters = torch.from_numpy(eos.copy())

    def get_output_dim(self) -> int:
        """Returns the size of a token embedding, projection_dim."""
        return self.output_dim

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Encodes a batch.

        Args:
            inputs: (batch_size, num_timesteps, max_characters) integer character ids, 0 where there is no token.
        Returns:
            A dictionary with "token_embedding", (batch_size, num_timesteps + 2, projection_dim), in which padding is
            encoded like a token; and "mask", (batch_size, num_timesteps + 2) bool. Both include the two sentence
            markers.
        Raises:
            TypeError, ValueError: `inputs` does not hold character ids in this shape.
        """
        char_ids, mask = self.add_markers(inputs)
        token_embedding = self.encode_rows(char_ids.flatten(0, 1))
        return {"mask": mask, "token_embedding": token_embedding.unflatten(0, mask.shape)}

    def add_markers(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Checks a batch and adds sentence markers to its rows. Returns the ids as int64, and their mask."""
        inputs = self.check_char_ids(inputs)
        return reference.add_markers(
            inputs,
            (inputs > 0).any(dim=-1),
            self._beginning_of_sentence_characters.to(inputs.device),
            self._end_of_sentence_characters.to(inputs.device),
        )

    def check_char_ids(self, inputs: Tensor) -> Tensor:
        """Checks the shape, dtype and range of ids. Returns them as int64 on their own device."""
        if torch.compiler.is_compiling():  # the compiled program checks the range when it runs
            characters.check_char_ids(inputs, self._max_characters)
            return inputs.long()
        array = characters.char_ids_array(inputs.cpu(), self._max_characters, len(self._char_embedding_weights))
        return torch.from_numpy(array) if inputs.device.type == "cpu" else inputs.long()

    def encode_rows(self, char_ids: Tensor) -> Tensor:
        """Encodes int64 ids that have been checked: (n, max_characters) -> (n, projection_dim)."""
        return dispatch.backend_for(self._tensors()).encode(self, char_ids)

    def repack(self) -> None:
        """Discards the native copies of the weights. Call this after changing individual elements through `.data`."""
        self._packed.clear()

    def packed(self) -> native._cpu.CachedTokenEncoder:
        """Returns the native copy of the current parameters."""
        return self._packed.get(self._tensors(), self._pack, self.precision_in_use)

    def _linears(self) -> tuple[list[nn.Module], list[nn.Module], nn.Module | None]:
        convolutions = [child_of(self, f"char_conv_{i}") for i in range(len(self._convolutions))]
        return convolutions, list(self._highways._layers), child_of(self, "_projection")

    def _tensors(self) -> list[Tensor]:
        convolutions, highways, projection = self._linears()
        modules = [*convolutions, *highways, *([] if projection is None else [projection])]
        tensors = [parameter_of(self, "_char_embedding_weights")]
        for module in modules:
            tensors += parameter_of(module, "weight"), parameter_of(module, "bias")
        return tensors

    def _structure(self, tensors: Sequence) -> tuple:  # type: ignore[type-arg]  # tensors or arrays
        """Splits a flat list, ordered as in `_tensors`, into embedding, convolutions, highways and projection."""
        convolutions, highways, _ = self._linears()
        return encoder_parts(tensors, len(convolutions), len(highways))

    def _pack(self, arrays: list[np.ndarray]) -> native._cpu.CachedTokenEncoder:
        embedding, convolutions, highways, projection = self._structure(arrays)
        return pack.pack_encoder(
            embedding, convolutions, self._activation, highways, projection, self._max_characters, self.precision,
            self._word_cache_size,
        )  # fmt: skip

    def _word_cache(self) -> native._cpu.CachedTokenEncoder | None:
        packed = self._packed.peek(self.precision_in_use)
        return None if isinstance(packed, CudaEncoder) else packed

    def cache_info(self) -> CacheInfo:
        """Returns the contents and counters of the word cache.

        Changing a parameter empties the cache. CUDA does not use it.
        """
        packed = self._word_cache()
        return CacheInfo(0, 0, 0, self._word_cache_size, 0) if packed is None else CacheInfo(**packed.cache_info())

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: object, **kwargs: object) -> ElmoCharacterEncoder:
        super()._apply(fn, *args, **kwargs)
        if not all(map(dispatch.is_native_kind, self._tensors())):
            self._packed.clear()  # no longer float32 on the CPU: free the native copy
        return self


def _linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    return _fill(uninitialised(nn.Linear, weight.shape[1], weight.shape[0]), weight, bias)


def _convolution(weight: np.ndarray, bias: np.ndarray) -> nn.Conv1d:
    n, dim, width = weight.shape
    return _fill(uninitialised(nn.Conv1d, dim, n, width), weight, bias)


def _fill(module: nn.Module, weight: np.ndarray, bias: np.ndarray) -> nn.Module:
    adopt(module.weight, weight)
    adopt(module.bias, bias)
    return module
