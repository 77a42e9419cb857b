"""The stacked bidirectional LSTM with projection as torch modules, under AllenNLP's names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from elmo_fast import dispatch, models, native, reference
from elmo_fast.cpu import forward, ops, pack
from elmo_fast.cuda.backend import Backend, choose
from elmo_fast.cuda.lstm import run_bilstm
from elmo_fast.cuda.pack import CudaLstm
from elmo_fast.cuda.plan import plan_batch
from elmo_fast.lstm_cell import LstmCellWithProjection
from elmo_fast.packed_cache import PackedCache
from elmo_fast.parameters import child_of, lstm_layers
from elmo_fast.precision import NativePrecision, check_precision
from elmo_fast.state import State, StatefulModule, StateSlot
from elmo_fast.weights import LstmWeights, read_lstm_weights

_CPU = torch.device("cpu")


class ElmoLstm(NativePrecision, StatefulModule):
    """A stacked bidirectional LSTM with projection, clipping and skip connections, and a state (see `StatefulModule`).

    The two directions never mix. In eval mode or without recurrent dropout it runs on the native kernels: on the CPU in
    float32, with and without gradients; on CUDA where no gradient is needed, also in float16 and bfloat16.

    Args:
        input_size: size of the inputs.
        hidden_size: size of one direction's output.
        cell_size: LSTM cells a direction.
        num_layers: number of layers.
        requires_grad: what `load_weights` sets on the parameters.
        recurrent_dropout_probability, memory_cell_clip_value, state_projection_clip_value: see
            `LstmCellWithProjection`.
        state: "carry" (AllenNLP's behaviour), "reset" or "frozen".
        use_skip_connections: layers from the second on add their input to their output.
        weights: (forward, backward) weights of each layer, which become the parameters without a copy; None
            initialises at random.
        precision: arithmetic of the native kernels, see `elmo_fast.precision`.
        checkpointing: in training, keep nothing for the backward pass but the outputs, and compute the rest again there
            for some thousand tokens at a time: more time, and memory that no longer grows with the batch.
    Raises:
        ValueError: an unknown state or precision.
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
            FileNotFoundError: no such file.
            WeightsError: the file is damaged, or its sizes are not this module's.
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
            mask: (batch_size, num_timesteps) bool; a row's length is the sum of its mask. A row of length 0 gives
                zeros and keeps its state.
        Returns:
            (num_layers, batch_size, num_timesteps, 2 * hidden_size), zero beyond the rows' lengths.
        Raises:
            ValueError: a shape disagrees.
        """
        if inputs.dim() != 3 or inputs.shape[2] != self.input_size:
            raise ValueError(
                f"inputs: expected shape (batch_size, num_timesteps, {self.input_size}), got {tuple(inputs.shape)}"
            )
        if mask.shape != inputs.shape[:2]:
            raise ValueError(f"mask: expected shape {tuple(inputs.shape[:2])}, got {tuple(mask.shape)}")
        lengths = mask.bool().sum(dim=1)
        if torch.compiler.is_compiling() and self.runs_as_operator(inputs):
            return self.run_compiled(inputs.flatten(0, 1), positions(inputs), lengths)
        with self._lend_state(len(inputs)) as slot:
            return self.run(inputs, lengths, slot)

    def run(self, inputs: Tensor, lengths: Tensor, slot: StateSlot) -> Tensor:
        """Runs all layers from a lent state; arguments and result as `forward`."""
        if self.runs_as_operator(inputs):
            return self.run_operator(inputs.flatten(0, 1), positions(inputs), lengths, slot)
        cuda = None if dispatch.needs_gradient([inputs]) else self.cuda_weights()
        if cuda is not None:
            return self._run_cuda(*cuda, inputs, lengths, slot)
        packed = self.packed_if_native() if dispatch.runs_native([inputs]) else None
        if packed is None:
            return self._run_reference(inputs, lengths, slot)
        batch_size, num_timesteps, _ = inputs.shape
        out = forward.empty_tensor(self.num_layers, batch_size, num_timesteps, 2 * self.hidden_size)
        index = np.arange(batch_size * num_timesteps, dtype=np.int32).reshape(batch_size, num_timesteps)
        table = inputs.detach().reshape(-1, self.input_size).contiguous().numpy()
        state = self.lent_state(slot, batch_size)
        forward.run_lstm(packed, table, index, lengths.numpy(), forward.state_arrays(state), out.numpy())
        slot.final = state
        return out

    def runs_as_operator(self, *inputs: Tensor) -> bool:
        """Whether the native kernels run as a torch operator: for a gradient, or in a program being compiled."""
        tensors = [*inputs, *self._tensors()]
        if dispatch.is_transformed():
            return False
        wanted = torch.compiler.is_compiling() or dispatch.needs_gradient(tensors)
        return wanted and not self._has_dropout() and all(map(dispatch.is_native_kind, tensors))

    def run_operator(self, table: Tensor, index: Tensor, lengths: Tensor, slot: StateSlot) -> Tensor:
        """Runs all layers by the torch operator `elmo_fast::bilstm`.

        Args:
            table: (n, input_size).
            index: (batch_size, num_timesteps) into the table's rows.
            lengths: (batch_size,).
        """
        h, c = (None, None) if slot.initial is None else map(_usable, slot.initial)
        tensors = self._tensors()
        trains = dispatch.needs_gradient([table, *tensors])
        out, h, c, _ = ops.bilstm(
            table, index, lengths, tensors, h, c, self._cell_clip, self._proj_clip, self.use_skip_connections,
            "float32" if trains else self.precision, self._packed.key, trains and not self.checkpointing,
        )  # fmt: skip
        slot.final = h.detach(), c.detach()
        return out

    def run_compiled(self, table: Tensor, index: Tensor, lengths: Tensor) -> Tensor:
        """As `run_operator`, with the module's own state, and without the lock that no compiler can trace."""
        slot = self._take_state(index.shape[0])
        out = self.run_operator(table, index, lengths, slot)
        self._keep_state(slot)
        return out

    def repack(self) -> None:
        """Forgets the native copies of the weights: for after a write through `.data` that touched single elements."""
        self._packed.clear()

    def runs_native(self, *inputs: Tensor) -> bool:
        """Whether the native kernels can run these inputs now."""
        return not self._has_dropout() and dispatch.runs_native([*inputs, *self._tensors()])

    def packed_if_native(self) -> native._cpu.BiLstm | None:
        """Returns what `packed` does, or None where the native kernels cannot run now."""
        if self._has_dropout():
            return None
        return self._packed.get_if_native(self._tensors(), self._pack, self.precision_in_use)

    def packed(self) -> native._cpu.BiLstm:
        """Returns the native copy of the parameters as they are now."""
        return self._packed.get(self._tensors(), self._pack, self.precision_in_use)

    def cuda_weights(self) -> tuple[Backend, CudaLstm] | None:
        """Returns the parameters as the native CUDA kernels read them, or None where those cannot run now."""
        tensors = self._tensors()
        choice = None if self._has_dropout() else choose(tensors, self.precision)
        if choice is None or dispatch.needs_gradient(tensors):
            return None

        def pack(tensors: Sequence[Tensor]) -> CudaLstm:
            layers = lstm_layers(tensors)
            with choice.backend.guard():
                packed = CudaLstm.pack(
                    choice.dtype, layers, self._cell_clip, self._proj_clip, self.use_skip_connections
                )
                choice.backend.finish()
            return packed

        return choice.backend, self._packed.get_of_tensors(tensors, pack, choice)

    def _run_cuda(
        self, backend: Backend, weights: CudaLstm, inputs: Tensor, lengths: Tensor, slot: StateSlot
    ) -> Tensor:
        batch_size, num_timesteps, _ = inputs.shape
        index = np.arange(batch_size * num_timesteps, dtype=np.int32).reshape(batch_size, num_timesteps)
        plan = plan_batch(backend, index, lengths.cpu().numpy())
        with backend.guard():
            table = inputs.detach().to(weights.dtype).reshape(-1, self.input_size).contiguous()
            size = (self.num_layers, batch_size, num_timesteps, 2 * self.hidden_size)
            out = backend.zeros(*size, dtype=weights.dtype)
            state = self.lent_state(slot, batch_size, backend.device)
            run_bilstm(backend, weights, table, plan, state, out)
        slot.final = state
        return out.to(inputs.dtype)

    def lent_state(self, slot: StateSlot, batch_size: int, device: torch.device = _CPU) -> State | None:
        """Returns a lent state for native kernels to overwrite; None where it is zero and nobody reads it after."""
        if slot.initial is not None:
            # A copy: the call must not write into a state that somebody else may hold.
            return tuple(part.to(device, torch.float32, copy=True).contiguous() for part in slot.initial)
        if not slot.keep:
            return None
        sizes = (2 * self.hidden_size, 2 * self.cell_size)
        shapes = ((self.num_layers, batch_size, size) for size in sizes)
        return tuple(torch.zeros(shape, dtype=torch.float32, device=device) for shape in shapes)

    def _run_reference(self, inputs: Tensor, lengths: Tensor, slot: StateSlot) -> Tensor:
        initial = slot.initial
        if initial is not None:
            initial = tuple(part.to(inputs) for part in initial)
        cells = self._cells()
        masks = None
        if self._has_dropout():
            masks = [tuple(cell.dropout_mask(inputs, len(inputs)) for cell in pair) for pair in cells]
        output, final = reference.bilstm(
            inputs,
            lengths,
            [tuple(cell.parameter_tuple() for cell in pair) for pair in cells],
            state=initial,
            cell_clip=self._cell_clip,
            proj_clip=self._proj_clip,
            use_skip_connections=self.use_skip_connections,
            dropout_masks=masks,
        )
        slot.final = tuple(part.detach() for part in final)
        return output

    def _has_dropout(self) -> bool:
        return self.training and self.recurrent_dropout_probability > 0

    def _cells(self) -> list[tuple[LstmCellWithProjection, LstmCellWithProjection]]:
        # By name, not from the two lists: a module that replaced one is then the one that runs.
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
            self._packed.clear()  # moved away: free the native copy
        return self


def positions(inputs: Tensor) -> Tensor:
    """Where each position of (batch_size, num_timesteps, ...) is when the first two dimensions are one."""
    batch_size, num_timesteps = inputs.shape[:2]
    return torch.arange(batch_size * num_timesteps, dtype=torch.int32).view(batch_size, num_timesteps)


def _usable(state: Tensor) -> Tensor:
    """A state that autograd takes: one left behind by a call in inference mode is copied."""
    if torch.compiler.is_compiling() or not state.is_inference() or torch.is_inference_mode_enabled():
        return state
    return state.clone()
