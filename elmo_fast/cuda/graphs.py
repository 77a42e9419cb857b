"""Runs a whole forward pass as one CUDA graph per batch size, which turns many small launches into one.

A graph has fixed addresses and a fixed size. Batches are therefore padded to the next of a few sizes and copied into
the graph's own tensors, and the results are copied out. Repeated words are computed each time, and so is padding: this
is meant for low latency with one or a few sentences per call.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from elmo_fast.cuda.bilm import CudaBiLm
from elmo_fast.locks import SharedLock
from elmo_fast.state import State

MOST_GRAPHS = 16
"""Maximum number of graphs kept, each with the activations of its batch. The least recently used is dropped first."""
LENGTH_STEP = 8
_WARM_UPS = 2
_capturing = SharedLock()  # only one capture at a time per process


def bucket(batch_size: int, num_timesteps: int) -> tuple[int, int]:
    """Returns the size of the padded batch: rows up to a power of two, tokens up to a multiple of `LENGTH_STEP`."""
    return 1 << max(0, batch_size - 1).bit_length(), -(-max(1, num_timesteps) // LENGTH_STEP) * LENGTH_STEP


class GraphedBiLm:
    """Runs a `CudaBiLm` with CUDA graphs. Threads and streams may share it; their calls run one after another."""

    def __init__(self, bilm: CudaBiLm) -> None:
        self.bilm = bilm
        self._lock = threading.Lock()
        self._graphs: OrderedDict[tuple[int, int], _Graph] = OrderedDict()
        self._done: torch.cuda.Event | None = None  # end of the previous call, which may have used another stream

    def forward(self, char_ids: Tensor, initial: State | None, keep: bool) -> tuple[Tensor, Tensor, State | None]:
        """Same as `CudaBiLm.forward_padded`, but returns new tensors every time.

        Args:
            char_ids: (batch_size, num_timesteps, max_characters) integers, on any device.
            initial: the initial state, which is not changed. None starts from zero.
            keep: whether the final state is wanted; it is if there is an initial one.
        Returns:
            The activations, the mask, and the final state or None.
        """
        size = bucket(*char_ids.shape[:2])
        with self._lock, self.bilm.gpu.guard():
            graph = self._graphs.get(size)
            if graph is None:
                while len(self._graphs) >= MOST_GRAPHS:
                    self._drop_oldest()
                graph = self._graphs[size] = _Graph(self.bilm, *size, char_ids.shape[2])
            self._graphs.move_to_end(size)
            device = self.bilm.gpu.device
            if device.type != "cuda":
                return graph.run(char_ids, initial, keep)
            stream = torch.cuda.current_stream(device)
            if self._done is not None:
                stream.wait_event(self._done)
            results = graph.run(char_ids, initial, keep)
            self._done = stream.record_event()
            return results

    def _drop_oldest(self) -> None:
        """Drops a graph. Its memory may be used again at once, so its last call must have ended, on whatever stream."""
        if self._done is not None:
            self._done.synchronize()
        self._graphs.popitem(last=False)

    def __del__(self) -> None:
        if self._done is not None and not sys.is_finalizing():
            self._done.synchronize()


class GraphCache:
    """Holds the graphs of a module until its weights change. Copies and pickles of it are empty."""

    def __init__(self) -> None:
        self._lock = SharedLock()
        self._graphed: GraphedBiLm | None = None

    def get(self, bilm: CudaBiLm) -> GraphedBiLm:
        """Returns the graphs of this biLM. Earlier graphs are kept if its packed weights are still the same objects."""
        with self._lock:
            graphed = self._graphed
            if graphed is None or graphed.bilm.encoder is not bilm.encoder or graphed.bilm.lstm is not bilm.lstm:
                graphed = self._graphed = GraphedBiLm(bilm)
            return graphed

    def __reduce__(self) -> tuple[type[GraphCache], tuple[()]]:
        return type(self), ()


class _Graph:
    def __init__(self, bilm: CudaBiLm, batch_size: int, num_timesteps: int, max_characters: int) -> None:
        gpu = bilm.gpu
        # Normal tensors, because later calls write into them, in inference mode or not.
        with torch.inference_mode(False), torch.no_grad():
            # All are kept in attributes: a graph uses their addresses, but keeps alive only what was made inside it.
            self._char_ids = gpu.zeros(batch_size, num_timesteps, max_characters, dtype=torch.int64)
            self._state = bilm.zero_state(batch_size)
            self._is_zero = True
            self._used = (0, 0)  # rows and tokens of the previous batch
            self._markers = bilm.markers()
            self._bilm = bilm
            self._replay = capture(gpu.device, self._run)

    def _run(self) -> tuple[Tensor, ...]:
        # Clamped, so that an id outside the range of int32 does not become a valid one.
        char_ids = self._char_ids.clamp(-1, self._bilm.encoder.n_ids).int()
        state = tuple(part.clone() for part in self._state)
        return *self._bilm.forward_padded(char_ids, self._markers, state), *state

    def run(self, char_ids: Tensor, initial: State | None, keep: bool) -> tuple[Tensor, Tensor, State | None]:
        batch_size, num_timesteps, _ = char_ids.shape
        if batch_size < self._used[0] or num_timesteps < self._used[1]:
            self._char_ids.zero_()
        self._char_ids[:batch_size, :num_timesteps].copy_(char_ids)
        self._used = batch_size, num_timesteps
        if initial is not None:
            for own, part in zip(self._state, initial, strict=True):
                own[:, :batch_size].copy_(part)
            self._is_zero = False
        elif not self._is_zero:
            for own in self._state:
                own.zero_()
            self._is_zero = True
        out, mask, *final = self._replay()
        shown = slice(batch_size), slice(num_timesteps + 2)
        out = out[(slice(None), *shown)].clone(memory_format=torch.contiguous_format)
        state = tuple(part[:, :batch_size].clone() for part in final) if keep or initial is not None else None
        return out, mask[shown].clone(), state


def capture(device: torch.device, run: Callable[[], tuple[Tensor, ...]]) -> Callable[[], tuple[Tensor, ...]]:
    """Captures a call. Returns a function that replays it and returns its results in the same tensors every time.

    On devices other than CUDA, returns `run` itself.
    """
    if device.type != "cuda":
        return run
    # Run outside of the graph first, to load modules, prepare kernels and allocate the workspaces of libraries.
    with _capturing:
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                run()
        torch.cuda.current_stream(device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Captured on the warmed-up stream, which belongs to this device. Other threads may allocate meanwhile.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            results = run()

    def replay() -> tuple[Tensor, ...]:
        graph.replay()
        return results

    return replay
