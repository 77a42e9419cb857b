"""Who takes part in a measurement: this package in each precision, and the peers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elmo_fast import native
from elmo_fast.bench import peers
from elmo_fast.elmo import Elmo

PRECISIONS = native.PRECISIONS
PREFIX = "elmo_fast "


@dataclass
class Implementation:
    """One participant.

    Attributes:
        name: "elmo_fast int8", "allennlp", ...
        forward: from character ids (batch_size, num_timesteps, 50) int64 to vectors.
        precision: the arithmetic asked for.
        precision_in_use: the arithmetic that this processor runs.
        prepare: called before each batch, off the clock.
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    precision: str = "float32"
    precision_in_use: str = "float32"
    prepare: Callable[[], object] = lambda: None


def load_all(
    files: tuple[str, str], precisions: Sequence[str], peer_names: Sequence[str], keep_words: bool = False
) -> tuple[list[Implementation], dict[str, str]]:
    """Builds those that can run here.

    Args:
        files: options and weights.
        precisions: of `PRECISIONS`; one that would run as another of them on this processor is left out.
        peer_names: of `peers.PRECISIONS`; one that cannot be imported is left out.
        keep_words: whether the word cache lives from batch to batch; else it is emptied before each.
    Returns:
        the implementations, and for each name left out why.
    Raises:
        ValueError: an unknown precision or peer, or nothing is left to measure.
    """
    _check("precision", precisions, PRECISIONS)
    _check("peers", peer_names, peers.PRECISIONS)
    left_out: dict[str, str] = {}
    found = []
    for precision in precisions:
        in_use = native.precision_in_use(precision)
        if in_use != precision and in_use in precisions:
            left_out[PREFIX + precision] = f"runs as {in_use} on this processor, which is measured"
        else:
            found.append(_own(files, precision, keep_words))
    for name in peer_names:
        try:
            forward = peers.load(name, *files)
        except ImportError as error:
            left_out[name] = f"cannot be imported: {error}"
            continue
        found.append(Implementation(name, forward, peers.PRECISIONS[name], peers.PRECISIONS[name]))
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

    def forward(char_ids: Tensor) -> Tensor:
        with torch.inference_mode():
            return module(char_ids)["elmo_representations"][0]

    prepare = (lambda: None) if keep_words else module.clear_cache
    return Implementation(PREFIX + precision, forward, precision, module.precision_in_use, prepare)
