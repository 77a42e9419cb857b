"""A linear probe for universal part-of-speech tags on frozen vectors: the cost of a precision for a task."""

from __future__ import annotations

import copy
import gzip
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from elmo_fast.bench.texts import Sentence

TRAINING_SENTENCES = 8_000
SEEDS = (0, 1)  # each draws its own training sentences; a score is the mean of the two
EPOCHS = 15
BATCH_SIZE = 1024
LEARNING_RATE = 5e-3  # falls to zero over the epochs: at a constant rate scores jump by 0.5% from epoch to epoch


def read_tagged(path: Path) -> tuple[list[Sentence], list[list[str]]]:
    """Reads gzipped lines of word, tab, tag, with an empty line behind each sentence; returns words and tags."""
    sentences: list[Sentence] = [[]]
    tags: list[list[str]] = [[]]
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            if line := line.rstrip("\n"):
                word, tag = line.split("\t")
                sentences[-1].append(word)
                tags[-1].append(tag)
            elif sentences[-1]:
                sentences.append([])
                tags.append([])
    kept = slice(len(sentences) - (not sentences[-1]))
    return sentences[kept], tags[kept]


def sample_of(n: int, seed: int, count: int = TRAINING_SENTENCES) -> list[int]:
    """Draws at most `count` different numbers below n."""
    return random.Random(seed).sample(range(n), min(count, n))


def features(vectors: Sequence[np.ndarray]) -> torch.Tensor:
    """The layers of every token side by side: (num_layers, length, dim) each -> (tokens, num_layers * dim)."""
    return torch.from_numpy(np.concatenate([v.transpose(1, 0, 2).reshape(v.shape[1], -1) for v in vectors]))


def tag_numbers(tags: Sequence[Sequence[str]], names: Sequence[str]) -> torch.Tensor:
    """The tags of all tokens as numbers in `names`; an unknown tag is -1."""
    number_of = {name: number for number, name in enumerate(names)}
    return torch.tensor([number_of.get(tag, -1) for sentence in tags for tag in sentence])


def train(
    x: torch.Tensor, y: torch.Tensor, dev: tuple[torch.Tensor, torch.Tensor], *, seed: int = 0, epochs: int = EPOCHS
) -> torch.nn.Linear:
    """Trains a softmax regression with Adam; of its epochs the one that is best on `dev` is kept.

    Args:
        x: (tokens, dim) float32. y: (tokens,) tag numbers.
        dev: the same of other sentences.
        seed: of the order of the tokens.
        epochs: passes over the tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    probe = torch.nn.utils.skip_init(torch.nn.Linear, x.shape[1], int(y.max()) + 1)
    for parameter in probe.parameters():
        torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.Adam(probe.parameters(), lr=LEARNING_RATE)
    steps = epochs * -(-len(x) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    best, best_probe = -1.0, probe
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH_SIZE):
            optimizer.zero_grad()
            F.cross_entropy(probe(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
        score = accuracy(probe, *dev)
        if score > best:
            best, best_probe = score, copy.deepcopy(probe)
    return best_probe


def accuracy(probe: torch.nn.Linear, x: torch.Tensor, y: torch.Tensor) -> float:
    """The share of tokens with the right tag."""
    with torch.no_grad():
        return (probe(x).argmax(dim=1) == y).float().mean().item()
