"""Part-of-speech tagging on frozen ELMo vectors: how to train a torch model on `elmo_fast.Elmo`.

The layers' scalar mix and a small network above it are trained, the biLM is not. Files have one line per word, with its
tag after a tab, and an empty line between two sentences; those whose names end in .gz are gzipped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from tagged_text import TaggedSentence, batches, draw, positive, print_baselines, read_tagged, set_threads, versions
from torch import Tensor, nn

from elmo_fast import Elmo, batch_to_ids, models


class Tagger(nn.Module):
    """A biLM, the learned mix of its layers, one hidden layer, and a score for each tag."""

    def __init__(self, model: str, tags: list[str], requires_grad: bool = False) -> None:
        super().__init__()
        # state="reset": with the default, AllenNLP's "carry", each batch starts from the final hidden state of the last
        # one, so that a sentence's vectors, and with them every score, would depend on what was run before.
        self.elmo = Elmo(*models.resolve(model), 1, requires_grad=requires_grad, dropout=0.2, state="reset")
        hidden = nn.Linear(self.elmo.get_output_dim(), 256)
        self.classifier = nn.Sequential(hidden, nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, len(tags)))
        self.number_of = {tag: number for number, tag in enumerate(tags)}

    def forward(self, batch: list[TaggedSentence]) -> tuple[Tensor, Tensor]:
        """Returns scores (words, tags) and tag numbers (words,) of all words of a batch; an unknown tag is -1."""
        output = self.elmo(batch_to_ids([words for words, _ in batch]))
        vectors = output["elmo_representations"][0][output["mask"]]  # (words, dim), without padding
        targets = [self.number_of.get(tag, -1) for _, tags in batch for tag in tags]
        return self.classifier(vectors), torch.tensor(targets)


def optimizer_of(tagger: Tagger) -> torch.optim.Optimizer:
    """Returns Adam with a rate for each part: the mix's few numbers need large steps, a trained biLM small ones."""
    rates = {"classifier": 2e-3, "elmo.scalar_mix_0": 2e-2, "elmo": 1e-3}
    groups: dict[str, list[Tensor]] = {part: [] for part in rates}
    for name, parameter in tagger.named_parameters():
        if parameter.requires_grad:
            groups[next(part for part in rates if name.startswith(part + "."))].append(parameter)
    return torch.optim.Adam([{"params": groups[part], "lr": rate} for part, rate in rates.items() if groups[part]])


def train_epoch(tagger: Tagger, optimizer: torch.optim.Optimizer, data: list[list[TaggedSentence]]) -> float:
    """Takes one step for each batch; returns the mean loss."""
    tagger.train()
    losses = []
    for batch in data:
        loss = nn.functional.cross_entropy(*tagger(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def accuracy(tagger: Tagger, sentences: list[TaggedSentence]) -> float:
    """Returns the percentage of words with the right tag."""
    tagger.eval()
    results = [tagger(batch) for batch in batches(sentences, 64, seed=0)]
    return 100 * torch.cat([scores.argmax(dim=1) == targets for scores, targets in results]).float().mean().item()


def parser(description: str | None, limit: int | None, epochs: int) -> argparse.ArgumentParser:
    """Returns the argument parser of this example and fine_tune.py; `limit` and `epochs` are defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for part, use in (("train", "learn from"), ("dev", "choose the epoch by"), ("test", "be scored on")):
        parser.add_argument(f"--{part}", type=Path, required=True, metavar="FILE", help=f"tagged sentences to {use}")
    parser.add_argument("--model", default="tiny", help="a model's name, or its folder (default: tiny, built in)")
    drawn = f"draw N sentences of each file (default: {limit or 'all'})"
    parser.add_argument("--limit", type=positive, default=limit, metavar="N", help=drawn)
    parser.add_argument("--epochs", type=positive, default=epochs, metavar="N", help=f"default: {epochs}")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn, weights, order and dropout")
    return parser


def main() -> None:
    arguments = parser(__doc__, limit=None, epochs=8)
    args = arguments.parse_args()
    set_threads()
    try:
        train, dev, test = (draw(read_tagged(f), args.limit, args.seed) for f in (args.train, args.dev, args.test))
        torch.manual_seed(args.seed)
        tagger = Tagger(args.model, sorted({tag for _, tags in train for tag in tags}))
    except (OSError, ValueError) as error:
        arguments.error(str(error))
    print(f"{versions()}\n{len(train)} training sentences of {sum(len(words) for words, _ in train)} words")
    print_baselines(train, test)
    optimizer = optimizer_of(tagger)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, args.epochs)
    print("epoch   loss     dev    test   layers weighted by     seconds")
    best, start = (-1.0, -1.0), time.perf_counter()
    for epoch in range(1, args.epochs + 1):
        begin = time.perf_counter()
        loss = train_epoch(tagger, optimizer, batches(train, 32, seed=args.seed + epoch))
        schedule.step()
        scores = accuracy(tagger, dev), accuracy(tagger, test)
        best = max(best, scores, key=lambda dev_and_test: dev_and_test[0])
        weights = " ".join(f"{weight:.3f}" for weight in tagger.elmo.scalar_mix_0.weights())  # gamma times the softmax
        seconds = time.perf_counter() - begin
        print(f"{epoch:5} {loss:6.3f} {scores[0]:6.1f}% {scores[1]:6.1f}%   {weights:18} {seconds:9.1f}", flush=True)
    print(f"test accuracy: {best[1]:.1f}% (the epoch best on dev), {time.perf_counter() - start:.1f} s in all")


if __name__ == "__main__":
    main()
