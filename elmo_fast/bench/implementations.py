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
ON_CUDA = (*CUDA_PRECISIONS, "float16", "tf32")
"""What can be measured on a GPU: float16 is a model after `.half()`, tf32 float32 with TF32 products allowed."""
ALL_PRECISIONS = (*PRECISIONS, *(name for name in ON_CUDA if name not in PRECISIONS))
_CPU = torch.device("cpu")


@dataclass
class Implementation:
    """One participant.

    Attributes:
        name: "elmo_fast int8", "allennlp", ...
        forward: from character ids (batch_size, num_timesteps, 50) int64 to vectors.
        precision: the arithmetic asked for.
        precision_in_use: the arithmetic that this processor runs.
        prepare: called with the character ids before each batch, outside the timed part.
        device: where the character ids must be.
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    precision: str = "float32"
    precision_in_use: str = "float32"
    prepare: Callable[[Tensor], object] = lambda char_ids: None
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
        precisions: of `ALL_PRECISIONS`; one that the device does not have is left out, as is one that would run as
            another of them on this processor.
        peer_names: of `peers.PRECISIONS`; one that cannot be imported is left out.
        keep_words: whether the word cache is kept from batch to batch; else it is emptied before each.
        device: with a CUDA device, each precision that it has takes part with and without graphs, and float32 on the
            CPU beside them.
    Returns:
        the implementations, and for each name left out why.
    Raises:
        ValueError: an unknown precision or peer, or nothing is left to measure.
    """
    _check("precision", precisions, ALL_PRECISIONS)
    _check("peers", peer_names, peers.PRECISIONS)
    left_out: dict[str, str] = {}
    found = []
    if device.type == "cuda":
        for precision in precisions:
            if precision in ON_CUDA:
                found += [_on_cuda(files, precision, graphs, device) for graphs in (False, True)]
            else:
                left_out[PREFIX + precision] = "the CPU's alone"
        precisions = ["float32"]
    for precision in precisions:
        if precision not in PRECISIONS:
            left_out[PREFIX + precision] = "a GPU's alone"
            continue
        in_use = native.precision_in_use(precision)
        if in_use != precision and in_use in precisions:
            left_out[PREFIX + precision] = f"runs as {in_use} on this processor, which is measured"
        else:
            found.append(_own(files, precision, keep_words))
    for name in peer_names:
        precision = peers.PRECISIONS[name]
        if precision not in (ON_CUDA if device.type == "cuda" else PRECISIONS):
            left_out[name] = "the CPU's alone" if device.type == "cuda" else "a GPU's alone"
            continue
        try:
            forward = peers.load(name, *files, device=device)
        except ImportError as error:
            left_out[name] = f"cannot be imported: {error}"
            continue
        prepare = _flush if device.type == "cuda" else lambda char_ids: None
        found.append(Implementation(name, gpu.with_tf32(forward, precision), precision, precision, prepare, device))
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
    prepare = (lambda char_ids: None) if keep_words else lambda char_ids: module.clear_cache()
    return Implementation(PREFIX + precision, _forward_of(module), precision, module.precision_in_use, prepare)


def _on_cuda(files: tuple[str, str], precision: str, graphs: bool, device: torch.device) -> Implementation:
    stored = precision if precision in CUDA_PRECISIONS else "float32"
    module = Elmo(*files, 1, dropout=0.0, precision=stored, cuda_graphs=graphs).eval().to(device)
    if precision == "float16":
        module = module.half()
    name = f"{PREFIX}{precision} cuda" + (" graphs" if graphs else "")
    forward = gpu.with_tf32(_forward_of(module), precision)

    def prepare(char_ids: Tensor) -> None:
        if graphs:  # capturing one for the first batch of a size happens once in the life of a service
            forward(char_ids.to(device))
        gpu.flush_cache()

    return Implementation(name, forward, precision, precision, prepare, device)


def _flush(char_ids: Tensor) -> None:
    gpu.flush_cache()


def _forward_of(module: Elmo) -> Callable[[Tensor], Tensor]:
    def forward(char_ids: Tensor) -> Tensor:
        with torch.inference_mode():
            return module(char_ids)["elmo_representations"][0]

    return forward
