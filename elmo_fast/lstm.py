"""The stacked bidirectional LSTM with projection as a torch module with AllenNLP's names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from elmo_fast import dispatch, models, native
from elmo_fast.cpu import pack
from elmo_fast.lstm_cell import LstmCellWithProjection
from elmo_fast.packed_cache import PackedCache
from elmo_fast.parameters import child_of, lstm_layers
from elmo_fast.precision import NativePrecision, check_precision
from elmo_fast.state import StatefulModule, StateSlot
from elmo_fast.weights import LstmWeights, read_lstm_weights


class ElmoLstm(NativePrecision, StatefulModule):
    """A stateful, stacked bidirectional LSTM with projection, clipping and skip connections.

    See `elmo_fast.state.StatefulModule` for the state. The two directions are independent. In eval mode, or without
    recurrent dropout, the native kernels run it: on the CPU in float32, with or without gradients; on CUDA in float32,
    float16 and bfloat16, if no gradient is needed.

    Args:
        input_size: size of the inputs.
        hidden_size: output size per direction.
        cell_size: number of LSTM cells per direction and layer.
        num_layers: number of layers.
        requires_grad: whether parameters from `weights` or `load_weights` get gradients.
        recurrent_dropout_probability, memory_cell_clip_value, state_projection_clip_value: see
            `LstmCellWithProjection`.
        state: "carry" (AllenNLP's behaviour), "reset" or "frozen".
        use_skip_connections: whether each layer from the second on adds its input to its output.
        weights: (forward, backward) weights for each layer, which become the parameters without being copied; None
            initialises the parameters at random.
        precision: arithmetic of the native kernels; see `elmo_fast.precision`.
        checkpointing: in training, save only the outputs for the backward pass, which recomputes the other activations
            for about a thousand tokens at a time. This takes more time, but the memory for these activations does not
            grow with the batch.
    Raises:
        ValueError: the state or precision is unknown.
    Source: Peters et al. 2018, arXiv:1802.05365; projection: Sak et al. 2014, arXiv:1402.1128; clipping: bilm-tf.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        cell_size: int,
        num_layers: int,
        requires_grad: bool = False,
        recurrent_dropout_probability: float = 0.0,
        memory_cell_clip_value: float | None = None,
        state_projection_clip_value: float | None = None,
        *,
        state: str = "carry",
        use_skip_connections: bool = True,
        weights: Sequence[tuple[LstmWeights, LstmWeights]] | None = None,
        precision: str = "float32",
        checkpointing: bool = False,
    ) -> None:
        super().__init__(state)
        self.checkpointing = checkpointing
        self._precision = check_precision(precision)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.cell_size = cell_size
        self.num_layers = num_layers
        self.requires_grad = requires_grad
        self.recurrent_dropout_probability = recurrent_dropout_probability
        self.use_skip_connections = use_skip_connections
        self._cell_clip = memory_cell_clip_value or 0.0
        self._proj_clip = state_projection_clip_value or 0.0
        self._packed = PackedCache()
        self.forward_layers: list[LstmCellWithProjection] = []
        self.backward_layers: list[LstmCellWithProjection] = []
        for layer in range(num_layers):
            for direction, cells in enumerate((self.forward_layers, self.backward_layers)):
                cell = LstmCellWithProjection(
                    input_size if layer == 0 else hidden_size,
                    hidden_size,
                    cell_size,
                    direction == 0,
                    recurrent_dropout_probability,
                    memory_cell_clip_value,
                    state_projection_clip_value,
                    weights=None if weights is None else weights[layer][direction],
                )
                self.add_module(f"{('forward', 'backward')[direction]}_layer_{layer}", cell)
                cells.append(cell)
        if weights is not None:
            self.requires_grad_(requires_grad)

    def load_weights(self, weight_file: str | os.PathLike[str]) -> None:
        """Loads the LSTM part of an ELMo HDF5 file and sets `requires_grad` on the parameters.

        Args:
            weight_file: path or URL.
        Raises:
            ValueError: a URL is of an unsupported kind.
            FileNotFoundError: the file does not exist.
            DownloadError: a URL could not be downloaded completely.
            WeightsError: the file is damaged, or its sizes do not match this module.
        """
        layers = read_lstm_weights(
            models.local_path(weight_file),
            input_size=self.input_size,
            projection_dim=self.hidden_size,
            cell_size=self.cell_size,
            n_layers=self.num_layers,
        )
        for cells, weights in zip(self._cells(), layers, strict=True):
            for cell, cell_weights in zip(cells, weights, strict=True):
                cell.assign(cell_weights)
        self.requires_grad_(self.requires_grad)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Runs all layers.

        Args:
            inputs: (batch_size, num_timesteps, input_size).
            mask: (batch_size, num_timesteps) bool. The length of a row is the sum of its mask; a row of length 0
                outputs zeros and keeps its state.
        Returns:
            The outputs of all layers, (num_layers, batch_size, num_timesteps, 2 * hidden_size), zero beyond the length
            of each row.
        Raises:
            ValueError: `inputs` or `mask` has the wrong shape.
        """
        if inputs.dim() != 3 or inputs.shape[2] != self.input_size:
            raise ValueError(
                f"inputs: expected shape (batch_size, num_timesteps, {self.input_size}), got {tuple(inputs.shape)}"
            )
        if mask.shape != inputs.shape[:2]:
            raise ValueError(f"mask: expected shape {tuple(inputs.shape[:2])}, got {tuple(mask.shape)}")
        lengths = mask.bool().sum(dim=1)
        return self._with_state(inputs.shape[0], lambda slot: self.run(inputs, lengths, slot))

    def run(self, inputs: Tensor, lengths: Tensor, slot: StateSlot) -> Tensor:
        """Runs all layers with the state in `slot`; `lengths` (batch_size,) are the row sums of the mask."""
        backend = dispatch.backend_for(self._tensors(), (inputs,), recurrent_dropout=self._has_dropout())
        return backend.lstm(self, inputs, lengths, slot)

    def repack(self) -> None:
        """Discards the native copies of the weights. Call this after changing individual elements through `.data`."""
        self._packed.clear()

    def packed(self) -> native._cpu.BiLstm:
        """Returns the native copy of the current parameters."""
        return self._packed.get(self._tensors(), self._pack, self.precision_in_use)

    def _has_dropout(self) -> bool:
        return self.training and self.recurrent_dropout_probability > 0

    def _cells(self) -> list[tuple[LstmCellWithProjection, LstmCellWithProjection]]:
        # Looked up by name instead of in the two lists, so that a module that has replaced a cell is used.
        layers = range(self.num_layers)
        return [(child_of(self, f"forward_layer_{k}"), child_of(self, f"backward_layer_{k}")) for k in layers]

    def _tensors(self) -> list[Tensor]:
        return [tensor for pair in self._cells() for cell in pair for tensor in cell.parameter_tuple()]

    def _pack(self, arrays: list[np.ndarray]) -> native._cpu.BiLstm:
        return pack.pack_lstm(
            lstm_layers(arrays), self._cell_clip, self._proj_clip, self.use_skip_connections, self.precision
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: object, **kwargs: object) -> ElmoLstm:
        super()._apply(fn, *args, **kwargs)
        if not all(map(dispatch.is_native_kind, self._tensors())):
            self._packed.clear()  # no longer float32 on the CPU: free the native copy
        return self
