"""Orders calls on different CUDA streams that hand a state on to each other."""

from __future__ import annotations

import weakref

import torch

from elmo_fast.state import State

_written: dict[int, torch.cuda.Event] = {}  # by the identity of a state's first tensor, while that exists


def written(state: State | None) -> State | None:
    """Notes that work on the current stream writes a state; returns it."""
    if state is not None and state[0].is_cuda:
        key = id(state[0])
        _written[key] = torch.cuda.current_stream(state[0].device).record_event()
        weakref.finalize(state[0], _written.pop, key, None)
    return state


def about_to_read(state: State | None) -> None:
    """Makes the current stream wait until a state has been written, and keeps its memory until it has been read."""
    if state is None or not state[0].is_cuda:
        return
    stream = torch.cuda.current_stream(state[0].device)
    event = _written.get(id(state[0]))
    if event is not None:
        stream.wait_event(event)
    for part in state:
        part.record_stream(stream)
