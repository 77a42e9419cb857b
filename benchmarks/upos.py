"""The probe's experiment: UPOS tags of UD English EWT on the tiny model's vectors, in one precision after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import linear_probe
import numpy as np
import torch

from elmo_fast.bench.texts import Sentence

Encode = Callable[[list[Sentence]], list[np.ndarray]]
Part = tuple[list[Sentence], list[list[str]]]


@dataclass(frozen=True)
class UposData:
    """Sentences and tags of the three parts."""

    train: Part
    dev: Part
    test: Part

    @classmethod
    def read(cls, test_data: Path) -> UposData | None:
        """Reads it from the folder of data that is not part of the project; None if it is missing."""
        folder = test_data / "data" / "ewt_pos"
        if not folder.is_dir():
            return None
        return cls(*(linear_probe.read_tagged(folder / f"ewt_pos_{part}.tsv.gz") for part in ("train", "dev", "test")))


def probe_scores(
    encode: Encode, data: UposData, baseline: list[torch.nn.Linear] | None
) -> tuple[dict[str, float], list[torch.nn.Linear]]:
    """Trains and tests probes on the vectors that `encode` makes.

    Args:
        baseline: probes trained on another encoding, to be tested on this one; None takes this one's own.
    Returns:
        the share of test tokens right, mean over `linear_probe.SEEDS`, for probes "trained_on_float32" (the baseline)
        and "trained_on_itself"; and this encoding's own probes.
    """
    names = sorted({tag for sentence in data.train[1] for tag in sentence})
    train_vectors = encode(data.train[0])
    dev, test = (
        (linear_probe.features(encode(sentences)), linear_probe.tag_numbers(tags, names))
        for sentences, tags in (data.dev, data.test)
    )
    own = []
    for seed in linear_probe.SEEDS:
        sample = linear_probe.sample_of(len(train_vectors), seed)
        x = linear_probe.features([train_vectors[i] for i in sample])
        own.append(
            linear_probe.train(x, linear_probe.tag_numbers([data.train[1][i] for i in sample], names), dev, seed=seed)
        )
    scores = {
        name: round(float(np.mean([linear_probe.accuracy(p, *test) for p in probes])), 5)
        for name, probes in (("trained_on_float32", baseline or own), ("trained_on_itself", own))
    }
    return scores, own
