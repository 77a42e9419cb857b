"""A whole forward pass as one CUDA graph per batch size: many small launches become one.

A graph has fixed addresses and a fixed size. Batches are padded to the next of a few sizes and copied into the graph's
own tensors, and the results are copied out. Equal words are computed several times, and padding is computed too: this
is for latency, with one or few sentences per call.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from elmo_fast.cuda.bilm import CudaBiLm
from elmo_fast.locks import SharedLock
from elmo_fast.state import State

MOST_GRAPHS = 16
"""The number of graphs kept, each with the activations of its batch. The least recently used one is dropped first."""
LENGTH_STEP = 8
_WARM_UPS = 2
_capturing = SharedLock()  # one capture at a time per process


def bucket(batch_size: int, num_timesteps: int) -> tuple[int, int]:
    """Returns the size that a batch is padded to: rows to a power of two, tokens to a multiple of `LENGTH_STEP`."""
    return 1 << max(0, batch_size - 1).bit_length(), -(-max(1, num_timesteps) // LENGTH_STEP) * LENGTH_STEP


class GraphedBiLm:
    """Runs a `CudaBiLm` with CUDA graphs. Threads and streams may share it; their calls run one after the other."""

    def __init__(self, bilm: CudaBiLm) -> None:
        self.bilm = bilm
        self._lock = threading.Lock()
        self._graphs: OrderedDict[tuple[int, int], _Graph] = OrderedDict()
        self._done: torch.cuda.Event | None = None  # of the previous call, perhaps on another stream

    def forward(self, char_ids: Tensor, state: State | None) -> tuple[Tensor, Tensor]:
        """As `CudaBiLm.forward_padded`; returns new tensors each time.

        Args:
            char_ids: (batch_size, num_timesteps, max_characters) integers on the device.
            state: overwritten with the final one; None is zero.
        """
        size = bucket(*char_ids.shape[:2])
        with self._lock, self.bilm.gpu.guard():
            graph = self._graphs.get(size)
            if graph is None:
                while len(self._graphs) >= MOST_GRAPHS:
                    self._graphs.popitem(last=False)
                graph = self._graphs[size] = _Graph(self.bilm, *size, char_ids.shape[2])
            self._graphs.move_to_end(size)
            device = self.bilm.gpu.device
            if device.type != "cuda":
                return graph.run(char_ids, state)
            stream = torch.cuda.current_stream(device)
            if self._done is not None:
                stream.wait_event(self._done)
            results = graph.run(char_ids, state)
            self._done = stream.record_event()
            return results


class GraphCache:
    """Holds the graphs of a module's weights for as long as these do not change. Copies and pickles of it are empty."""

    def __init__(self) -> None:
        self._lock = SharedLock()
        self._graphed: GraphedBiLm | None = None

    def get(self, bilm: CudaBiLm) -> GraphedBiLm:
        """Returns the graphs of this biLM, including those captured before if its weights are the same objects."""
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
        # Later calls write into these, whether in inference mode or not.
        with torch.inference_mode(False), torch.no_grad():
            # All of them are kept: a graph knows their addresses, but keeps alive only what was made inside it.
            self._char_ids = gpu.zeros(batch_size, num_timesteps, max_characters, dtype=torch.int32)
            self._state = bilm.zero_state(batch_size)
            self._markers = bilm.markers()
            self._bilm = bilm
            self._replay = capture(gpu.device, self._run)

    def _run(self) -> tuple[Tensor, Tensor]:
        return self._bilm.forward_padded(self._char_ids, self._markers, self._state)

    def run(self, char_ids: Tensor, state: State | None) -> tuple[Tensor, Tensor]:
        batch_size, num_timesteps, _ = char_ids.shape
        self._char_ids.zero_()
        self._char_ids[:batch_size, :num_timesteps].copy_(char_ids)
        for k, own in enumerate(self._state):
            own.zero_()
            if state is not None:
                own[:, :batch_size].copy_(state[k])
        out, mask = self._replay()
        if state is not None:
            for own, part in zip(self._state, state, strict=True):
                part.copy_(own[:, :batch_size])
        shown = slice(batch_size), slice(num_timesteps + 2)
        return out[(slice(None), *shown)].clone(memory_format=torch.contiguous_format), mask[shown].clone()


def capture(device: torch.device, run: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], tuple[Tensor, Tensor]]:
    """Captures a call and returns a function that replays it and returns its results, the same tensors each time.

    On other devices than CUDA it returns the call itself.
    """
    if device.type != "cuda":
        return run
    # First outside of the graph: that loads modules, prepares kernels and allocates the workspaces of libraries.
    with _capturing:
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                run()
        torch.cuda.current_stream(device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # On the stream that was warmed up, which belongs to this device; other threads may allocate meanwhile.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            results = run()

    def replay() -> tuple[Tensor, Tensor]:
        graph.replay()
        return results

    return replay
