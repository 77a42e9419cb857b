"""The participants of a measurement: this package in each precision, and the peers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elmo_fast import native
from elmo_fast.bench import gpu, peers
from elmo_fast.elmo import Elmo
from elmo_fast.precision import CUDA_PRECISIONS, PRECISIONS

PREFIX = "elmo_fast "
_CPU = torch.device("cpu")


@dataclass
class Implementation:
    """One participant.

    Attributes:
        name: "elmo_fast int8", "allennlp", ...
        forward: from character ids (batch_size, num_timesteps, 50) int64 to vectors.
        precision: the arithmetic asked for.
        precision_in_use: the arithmetic that this processor runs.
        prepare: called before each batch, outside the timed part.
        device: where the character ids must be.
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    precision: str = "float32"
    precision_in_use: str = "float32"
    prepare: Callable[[], object] = lambda: None
    device: torch.device = _CPU


def load_all(
    files: tuple[str, str],
    precisions: Sequence[str],
    peer_names: Sequence[str],
    keep_words: bool = False,
    device: torch.device = _CPU,
) -> tuple[list[Implementation], dict[str, str]]:
    """Builds those that can run here.

    Args:
        files: options and weights.
        precisions: of `PRECISIONS`; one that would run as another of them on this processor is left out.
        peer_names: of `peers.PRECISIONS`; one that cannot be imported is left out.
        keep_words: whether the word cache is kept from batch to batch; else it is emptied before each.
        device: with a CUDA device, each precision that it has takes part with and without graphs, and float32 on the
            CPU beside them.
    Returns:
        the implementations, and for each name left out why.
    Raises:
        ValueError: an unknown precision or peer, or nothing is left to measure.
    """
    _check("precision", precisions, PRECISIONS)
    _check("peers", peer_names, peers.PRECISIONS)
    left_out: dict[str, str] = {}
    found = []
    if device.type == "cuda":
        for precision in precisions:
            if precision in CUDA_PRECISIONS:
                found += [_on_cuda(files, precision, graphs, device) for graphs in (False, True)]
            else:
                left_out[PREFIX + precision] = "the CPU's alone"
        precisions = ["float32"]
    for precision in precisions:
        in_use = native.precision_in_use(precision)
        if in_use != precision and in_use in precisions:
            left_out[PREFIX + precision] = f"runs as {in_use} on this processor, which is measured"
        else:
            found.append(_own(files, precision, keep_words))
    for name in peer_names:
        precision = peers.PRECISIONS[name]
        if device.type == "cuda" and precision == "int8":
            left_out[name] = "the CPU's alone"
            continue
        try:
            forward = peers.load(name, *files, device=device)
        except ImportError as error:
            left_out[name] = f"cannot be imported: {error}"
            continue
        prepare = gpu.flush_cache if device.type == "cuda" else lambda: None
        found.append(Implementation(name, forward, precision, precision, prepare, device))
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}", file=sys.stderr, flush=True)
    if not found:
        raise ValueError("precision, peers: nothing of what was asked for can run here")
    return found, left_out


def _check(argument: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{argument}: expected some of {', '.join(known)}, got {name!r}")


def _own(files: tuple[str, str], precision: str, keep_words: bool) -> Implementation:
    module = Elmo(*files, 1, dropout=0.0, precision=precision).eval()
    prepare = (lambda: None) if keep_words else module.clear_cache
    return Implementation(PREFIX + precision, _forward_of(module), precision, module.precision_in_use, prepare)


def _on_cuda(files: tuple[str, str], precision: str, graphs: bool, device: torch.device) -> Implementation:
    module = Elmo(*files, 1, dropout=0.0, precision=precision, cuda_graphs=graphs).eval().to(device)
    name = f"{PREFIX}{precision} cuda" + (" graphs" if graphs else "")
    return Implementation(name, _forward_of(module), precision, precision, gpu.flush_cache, device)


def _forward_of(module: Elmo) -> Callable[[Tensor], Tensor]:
    def forward(char_ids: Tensor) -> Tensor:
        with torch.inference_mode():
            return module(char_ids)["elmo_representations"][0]

    return forward
