"""A biLM that holds only packed native weights and keeps its LSTM state between calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from elmo_fast.characters import sentences_to_char_ids
from elmo_fast.cpu.backend import arrays_of_state
from elmo_fast.cpu.bilm import CpuBiLm
from elmo_fast.precision import NativePrecision
from elmo_fast.state import StatefulModule, StateSlot
from elmo_fast.word_cache import WordCached


class StatefulCpuBiLm(NativePrecision, WordCached, StatefulModule):
    """Adds an LSTM state to a `CpuBiLm`, which keeps none itself.

    Args:
        weights: the packed weights.
        state: "carry", "reset" or "frozen".
    """

    def __init__(self, weights: CpuBiLm, state: str) -> None:
        super().__init__(state)
        self.weights = weights

    @property
    def precision(self) -> str:
        """The requested precision."""
        return self.weights.precision

    def _word_cache(self) -> CpuBiLm:
        return self.weights

    def forward(self, char_ids: np.ndarray) -> list[np.ndarray]:
        """Returns all layers, markers included, for character ids (batch_size, num_timesteps, max_characters)."""
        return self._with_state(len(char_ids), lambda slot: self._run(char_ids, slot))

    def warm_up(self, sentences: Sequence[Sequence[str]]) -> None:
        """Computes the initial state for mode "frozen".

        Runs token lists one at a time. The first starts from zero, and each of the others from the final state of the
        previous one. The final state of the last one is stored.

        Raises:
            ValueError: the state mode is not "frozen", or there are no sentences.
        """
        self._check_frozen()
        if not sentences:
            raise ValueError("sentences: expected at least one, got none")
        state = None
        for sentence in sentences:
            slot = StateSlot(state, keep=True)
            self._run(sentences_to_char_ids([sentence], self.weights.max_characters), slot)
            state = slot.final
        self._freeze_state(state)

    def _run(self, char_ids: np.ndarray, slot: StateSlot) -> list[np.ndarray]:
        initial = None if slot.initial is None else arrays_of_state(slot.initial)
        activations, _, state = self.weights.forward(char_ids, initial, keep_state=slot.keep)
        if state is not None:
            slot.final = torch.from_numpy(state[0]), torch.from_numpy(state[1])
        return list(activations)
