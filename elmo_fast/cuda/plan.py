"""Plans the order in which the tokens of a batch are computed.

The host makes the plan before the forward pass, and sends it to the device in a single copy.

Tokens are stored in step order: first the tokens of all rows at step 0, longest row first, then those of step 1, and so
on. Step s is time s in the forward direction, and time length - 1 - s of the row in the backward direction. Each
direction therefore has its own order, and the rows that are still running at a step are always the first ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elmo_fast.cuda.device import CudaDevice

CHUNK_TOKENS = 2048
"""Number of tokens whose input products are computed and held at a time: 256 MiB for both directions of the original
model."""


@dataclass(frozen=True)
class BatchPlan:
    """The plan of a ragged batch.

    Attributes:
        batch_size, num_timesteps: dimensions of the output.
        first_of_step: the number of the first token of each step, followed by the total number of tokens.
        lengths, rows: (n_rows,) int32 on the device: the length of each row and its number in the batch, longest first.
        slots: (2, n_tokens) int32 on the device: for each direction, the table row that each token reads.
        device_first_of_step: `first_of_step` on the device, int32.
        device_n_steps: () int32 on the device: the number of steps, where only the device knows it; or None.
    """

    batch_size: int
    num_timesteps: int
    first_of_step: list[int]
    lengths: Tensor
    rows: Tensor
    slots: Tensor
    device_first_of_step: Tensor
    device_n_steps: Tensor | None = None

    @property
    def n_rows(self) -> int:
        return len(self.rows)

    @property
    def n_steps(self) -> int:
        return len(self.first_of_step) - 1

    @property
    def n_tokens(self) -> int:
        return self.first_of_step[-1]

    def n_active(self, step: int) -> int:
        """Returns the number of rows that run at a step."""
        return self.first_of_step[step + 1] - self.first_of_step[step]

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Yields (first step, step after the last) for chunks of at most `CHUNK_TOKENS` tokens, or of a single step."""
        first = 0
        for step in range(1, self.n_steps + 1):
            ends = step == self.n_steps or self.first_of_step[step + 1] - self.first_of_step[first] > CHUNK_TOKENS
            if ends:
                yield first, step
                first = step


def plan_batch(gpu: CudaDevice, index: np.ndarray, lengths: np.ndarray) -> BatchPlan:
    """Plans a batch.

    Args:
        gpu: the device.
        index: (batch_size, num_timesteps) int32: the row that each position reads from the table of tokens.
        lengths: (batch_size,) integers. Rows of length 0 are left out of the plan.
    """
    batch_size, num_timesteps = index.shape
    order = np.argsort(-lengths, kind="stable")
    rows = order[: int(np.count_nonzero(lengths))]
    row_lengths = lengths[rows]
    n_steps = int(row_lengths[0]) if len(rows) else 0
    steps = np.arange(n_steps)[:, None]
    running = steps < row_lengths  # (steps, rows)
    first_of_step = np.concatenate([[0], running.sum(axis=1).cumsum()]).astype(np.int32)
    forward = np.broadcast_to(steps, running.shape)[running]
    backward = np.broadcast_to(row_lengths - 1 - steps, running.shape)[running]
    row_of_token = np.broadcast_to(rows, running.shape)[running]
    slots = np.stack([index[row_of_token, forward], index[row_of_token, backward]])
    # One copy for everything. A copy from pinned memory would not wait, but for so little data pinning costs more.
    parts = [row_lengths, rows, first_of_step, slots[0], slots[1]]
    numbers = torch.from_numpy(np.concatenate(parts).astype(np.int32)).to(gpu.device)
    lengths_there, rows_there, offsets_there, both = numbers.split([len(rows), len(rows), n_steps + 1, slots.size])
    return BatchPlan(
        batch_size=batch_size,
        num_timesteps=num_timesteps,
        first_of_step=first_of_step.tolist(),
        lengths=lengths_there,
        rows=rows_there,
        slots=both.view(2, -1),
        device_first_of_step=offsets_there,
    )


def plan_padded(gpu: CudaDevice, lengths: Tensor, num_timesteps: int) -> BatchPlan:
    """Plans a batch whose lengths only the device knows: every step runs all rows, and the kernels check the lengths.

    Nothing is read back from the device, so that a CUDA graph can capture the forward pass.

    Args:
        gpu: the device.
        lengths: (batch_size,) int32 on the device, each at least 1.
        num_timesteps: number of steps, at least the largest length.
    """
    batch_size = len(lengths)
    times = torch.arange(num_timesteps, dtype=torch.int32, device=gpu.device)[:, None]
    backward = (lengths - 1 - times).clamp(min=0)
    rows = torch.arange(batch_size, dtype=torch.int32, device=gpu.device)
    places = [(rows * num_timesteps + time).flatten() for time in (times.expand(-1, batch_size), backward)]
    offsets = list(range(0, (num_timesteps + 1) * batch_size, batch_size))
    return BatchPlan(
        batch_size=batch_size,
        num_timesteps=num_timesteps,
        first_of_step=offsets,
        lengths=lengths,
        rows=rows,
        slots=torch.stack(places).contiguous(),
        device_first_of_step=torch.arange(
            0, (num_timesteps + 1) * batch_size, batch_size, dtype=torch.int32, device=gpu.device
        ),
        device_n_steps=lengths.max(),
    )
