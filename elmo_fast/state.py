"""The LSTM state that a biLM remembers between calls: "carry", "reset" and "frozen"."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from elmo_fast.cuda import streams
from elmo_fast.locks import SharedLock

STATE_MODES = ("carry", "reset", "frozen")

State = tuple[Tensor, Tensor]
Result = TypeVar("Result")


def check_mode(state: str) -> str:
    """Returns `state`; raises ValueError when it is not one of `STATE_MODES`."""
    if state not in STATE_MODES:
        raise ValueError(f"state: expected one of {', '.join(map(repr, STATE_MODES))}, got {state!r}")
    return state


class StateSlot:
    """Lends the state to one call, which starts from `initial` (None is zero) and sets `final`.

    `final` holds new, detached tensors: neither those of `initial`, nor any that the caller may write into. If `keep`
    is false nobody reads `final`, and the call need not set it.
    """

    def __init__(self, initial: State | None, keep: bool) -> None:
        self.initial = initial
        self.keep = keep
        self.final: State | None = None


class StatefulModule(nn.Module):
    """A module with an LSTM state h (n_layers, rows, 2 * projection_dim), c (n_layers, rows, 2 * cell_size).

    - "carry": the final state of each row of a call is the initial state of the same row (by index) of the next call.
      Rows beyond those seen so far start from zero; a smaller batch reads and updates only the first rows. A lock
      orders concurrent calls.
    - "reset": every call starts from zero.
    - "frozen": every row of every call starts from the one state that `warm_up` fixed; zero before the first `warm_up`.

    States are detached. They follow `.to()`, are pickled and deep-copied, and are never part of the `state_dict`.

    Args:
        state: the mode.
    """

    def __init__(self, state: str = "carry") -> None:
        super().__init__()
        self._state_mode = check_mode(state)
        self._state_lock = SharedLock()
        self._states: State | None = None  # replaced, never written into, so that every reference to it is a snapshot

    @property
    def state(self) -> str:
        """The mode; assign to it to switch. Switching to or from "frozen" forgets the state."""
        return self._state_mode

    @state.setter
    def state(self, mode: str) -> None:
        check_mode(mode)
        with self._state_lock:
            if "frozen" in (mode, self._state_mode) and mode != self._state_mode:
                self._states = None
            self._state_mode = mode

    @property
    def stateful(self) -> bool:
        """AllenNLP's name: True means state "carry". Assigning True or False switches to "carry" or "reset"."""
        return self.state == "carry"

    @stateful.setter
    def stateful(self, value: bool) -> None:
        self.state = "carry" if value else "reset"

    def reset_states(self, mask: Tensor | None = None) -> None:
        """Forgets the state, the "frozen" one included.

        Args:
            mask: (rows,) bool, the rows to forget, for all rows of the state; None forgets all.
        Raises:
            ValueError: `mask` has another number of rows than the state.
        """
        with self._state_lock:
            if mask is None:
                self._states = None
            elif self._states is not None:
                rows = self._states[0].shape[1]
                if mask.shape != (rows,):
                    raise ValueError(f"mask: expected shape ({rows},), the rows of the state, got {tuple(mask.shape)}")
                streams.about_to_read(self, self._states)
                forget = mask.bool().to(self._states[0].device)[None, :, None]
                # Filled, not multiplied, because a row that has become NaN must return to zero.
                self._states = _each(self._states, lambda part: part.masked_fill(forget, 0.0))
                streams.written(self, self._states)

    def _with_state(self, batch_size: int, run: Callable[[StateSlot], Result]) -> Result:
        """Lends the state to one call of `batch_size` rows; stores `slot.final` unless the call raised."""
        locked = self._state_mode == "carry" and not torch.compiler.is_compiling()  # no compiler can trace a lock
        with self._state_lock if locked else contextlib.nullcontext():
            slot = self._take_state(batch_size)
            result = run(slot)
            self._keep_state(slot)
        return result

    def _take_state(self, batch_size: int) -> StateSlot:
        """Returns the slot of a call of `batch_size` rows."""
        streams.about_to_read(self, self._states)
        if self._state_mode == "carry":
            return StateSlot(_first_rows(self._states, batch_size), keep=True)
        state = self._states if self._state_mode == "frozen" else None
        initial = None if state is None else _each(state, lambda part: part.expand(-1, batch_size, -1))
        return StateSlot(initial, keep=False)

    def _keep_state(self, slot: StateSlot) -> None:
        """Stores the final state of a call."""
        if slot.keep and slot.final is not None:
            self._states = _replace_first_rows(self._states, slot.final)
            streams.written(self, self._states)

    def _freeze_state(self, state: State) -> None:
        """Stores the state of one row from which every row starts; only in mode "frozen"."""
        with self._state_lock:
            self._states = state
            streams.written(self, state)

    def _check_frozen(self) -> None:
        if self._state_mode != "frozen":
            raise ValueError(f'warm_up: expected a model with state="frozen", got state={self._state_mode!r}')

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: object, **kwargs: object) -> StatefulModule:
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        if self._states is not None:
            streams.about_to_read(self, self._states)
            self._states = _each(self._states, fn)
            streams.written(self, self._states)
        return self


def _each(state: State, change: Callable[[Tensor], Tensor]) -> State:
    h, c = state
    return change(h), change(c)


def _first_rows(state: State | None, batch_size: int) -> State | None:
    if state is None:
        return None
    missing = batch_size - state[0].shape[1]
    if missing == 0:
        return state
    if missing < 0:
        return _each(state, lambda part: part[:, :batch_size])
    return _each(state, lambda part: nn.functional.pad(part, (0, 0, 0, missing)))


def _replace_first_rows(state: State | None, final: State) -> State:
    batch_size = final[0].shape[1]
    if state is None or state[0].shape[1] <= batch_size:
        return final
    h, c = (torch.cat([new, old[:, batch_size:].to(new)], dim=1) for new, old in zip(final, state, strict=True))
    return h, c
