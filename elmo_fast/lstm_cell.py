"""One direction of one LSTM layer with projection as a torch module, under AllenNLP's name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from elmo_fast import reference
from elmo_fast.parameters import adopt, child_of, parameter_of, uninitialised
from elmo_fast.state import State
from elmo_fast.weights import LstmWeights


class LstmCellWithProjection(nn.Module):
    """One direction of one layer; holds the parameters, gate rows in the order i, f, g, o.

    Args:
        input_size, hidden_size, cell_size: sizes; `hidden_size` is the projection's.
        go_forward: False runs from each row's last position to its first.
        recurrent_dropout_probability: in training, one dropout mask per row multiplies the output of every step.
        memory_cell_clip_value, state_projection_clip_value: bounds; None or 0 is none.
    Source: Sak et al. 2014, arXiv:1402.1128; recurrent dropout: Gal and Ghahramani 2016, arXiv:1512.05287.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        cell_size: int,
        go_forward: bool = True,
        recurrent_dropout_probability: float = 0.0,
        memory_cell_clip_value: float | None = None,
        state_projection_clip_value: float | None = None,
        *,
        weights: LstmWeights | None = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.cell_size = cell_size
        self.go_forward = go_forward
        self.recurrent_dropout_probability = recurrent_dropout_probability
        self.memory_cell_clip_value = memory_cell_clip_value
        self.state_projection_clip_value = state_projection_clip_value
        # torch's own initialisation would be overwritten.
        self.input_linearity = uninitialised(nn.Linear, input_size, 4 * cell_size, bias=False)
        self.state_linearity = uninitialised(nn.Linear, hidden_size, 4 * cell_size, bias=True)
        self.state_projection = uninitialised(nn.Linear, cell_size, hidden_size, bias=False)
        if weights is None:
            self.reset_parameters()
        else:
            for parameter, array in zip(self.parameter_tuple(), weights.as_tuple(), strict=True):
                adopt(parameter, array)

    def reset_parameters(self) -> None:
        """Initialises each gate's matrices orthogonally, the biases to 0, the forget gate's to 1.

        Source: forget bias: Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures".
        """
        with torch.no_grad():
            for linear in (self.input_linearity, self.state_linearity):
                for gate in linear.weight.chunk(4):
                    nn.init.orthogonal_(gate)
            self.state_projection.reset_parameters()
            self.state_linearity.bias.zero_()
            self.state_linearity.bias[self.cell_size : 2 * self.cell_size] = 1.0

    def parameter_tuple(self) -> reference.LstmTensors:
        """Returns the tensors that `elmo_fast.reference.lstm` takes as its weights."""
        state_linearity = child_of(self, "state_linearity")
        return (
            parameter_of(child_of(self, "input_linearity"), "weight"),
            parameter_of(state_linearity, "weight"),
            parameter_of(state_linearity, "bias"),
            parameter_of(child_of(self, "state_projection"), "weight"),
        )

    def assign(self, weights: LstmWeights) -> None:
        """Copies weights into the parameters, which stay the same objects."""
        with torch.no_grad():
            for parameter, array in zip(self.parameter_tuple(), weights.as_tuple(), strict=True):
                parameter.copy_(torch.from_numpy(array))

    def dropout_mask(self, x: Tensor, batch_size: int) -> Tensor:
        """Returns a new (batch_size, hidden_size) dropout mask; all 1 where no dropout applies."""
        ones = x.new_ones(batch_size, self.hidden_size)
        return nn.functional.dropout(ones, self.recurrent_dropout_probability, self.training)

    def forward(
        self, inputs: Tensor, batch_lengths: Sequence[int] | Tensor, initial_state: State | None = None
    ) -> tuple[Tensor, State]:
        """Runs this direction alone, on the PyTorch reference.

        Args:
            inputs: (batch_size, num_timesteps, input_size).
            batch_lengths: the rows' lengths, in any order.
            initial_state: h (1, batch_size, hidden_size) and c (1, batch_size, cell_size); None is zero.
        Returns:
            (batch_size, num_timesteps, hidden_size), zero beyond the lengths, and the final state.
        """
        lengths = torch.as_tensor(batch_lengths, device=inputs.device)
        state = None if initial_state is None else (initial_state[0].squeeze(0), initial_state[1].squeeze(0))
        output, (h, c) = reference.lstm(
            inputs,
            lengths,
            self.parameter_tuple(),
            reverse=not self.go_forward,
            state=state,
            cell_clip=self.memory_cell_clip_value or 0.0,
            proj_clip=self.state_projection_clip_value or 0.0,
            dropout_mask=self.dropout_mask(inputs, len(inputs)),
        )
        return output, (h.unsqueeze(0), c.unsqueeze(0))
