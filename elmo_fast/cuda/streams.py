"""Orders calls on different CUDA streams that hand on a module's LSTM state."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor, nn

_written: weakref.WeakKeyDictionary[nn.Module, torch.cuda.Event] = weakref.WeakKeyDictionary()


def written(owner: nn.Module, state: tuple[Tensor, ...] | None) -> None:
    """Notes that the work that writes a module's state is now on the current stream."""
    if state is not None and state[0].is_cuda and not torch.compiler.is_compiling():
        _written[owner] = torch.cuda.current_stream(state[0].device).record_event()


def about_to_read(owner: nn.Module, state: tuple[Tensor, ...] | None) -> None:
    """Makes the current stream wait for a module's state, and keeps that state's memory until it has been read."""
    if state is None or not state[0].is_cuda or torch.compiler.is_compiling():
        return
    stream = torch.cuda.current_stream(state[0].device)
    event = _written.get(owner)
    if event is not None:
        stream.wait_event(event)
    for part in state:
        part.record_stream(stream)
