"""Fine-tuning: the tagger of tag_words.py, trained with the biLM's weights frozen and again with requires_grad=True.

Both runs start from the same weights and see the same batches. Files are as in tag_words.py.
"""

from __future__ import annotations

import argparse
import time

import torch
from tag_words import Tagger, accuracy, optimizer_of, parser, train_epoch
from tagged_text import TaggedSentence, batches, draw, print_baselines, read_tagged, set_threads, versions


def run(tagger: Tagger, parts: list[list[TaggedSentence]], args: argparse.Namespace) -> tuple[float, float]:
    """Trains and prints each epoch; returns the test accuracy of the epoch best on dev, and seconds per step."""
    train, dev, test = parts
    optimizer = optimizer_of(tagger)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, args.epochs)
    best, seconds, steps = (-1.0, -1.0), 0.0, 0
    for epoch in range(1, args.epochs + 1):
        data = batches(train, 32, seed=args.seed + epoch)
        begin = time.perf_counter()
        loss = train_epoch(tagger, optimizer, data)
        seconds, steps = seconds + time.perf_counter() - begin, steps + len(data)
        schedule.step()
        scores = accuracy(tagger, dev), accuracy(tagger, test)
        best = max(best, scores, key=lambda dev_and_test: dev_and_test[0])
        print(f"  epoch {epoch}: loss {loss:.3f}, dev {scores[0]:.1f}%, test {scores[1]:.1f}%", flush=True)
    return best[1], seconds / steps


def main() -> None:
    arguments = parser(__doc__, limit=2000, epochs=4)
    args = arguments.parse_args()
    set_threads()
    start = time.perf_counter()
    try:
        parts = [draw(read_tagged(file), args.limit, args.seed) for file in (args.train, args.dev, args.test)]
        tags = sorted({tag for _, sentence_tags in parts[0] for tag in sentence_tags})
        taggers = {}
        for name, requires_grad in (("frozen", False), ("fine-tuned", True)):
            torch.manual_seed(args.seed)
            taggers[name] = Tagger(args.model, tags, requires_grad=requires_grad)
    except (OSError, ValueError) as error:
        arguments.error(str(error))
    print(f"{versions()}\n{len(parts[0])} training sentences of {sum(len(words) for words, _ in parts[0])} words")
    print_baselines(parts[0], parts[2])
    results = {}
    for name, tagger in taggers.items():
        trained = sum(parameter.numel() for parameter in tagger.parameters() if parameter.requires_grad)
        print(f"{name}: {trained:,} weights are trained")
        torch.manual_seed(args.seed)  # the same dropout
        results[name] = run(tagger, parts, args)
    for name, (score, seconds) in results.items():
        print(f"{name} test accuracy: {score:.1f}% (the epoch best on dev), {1000 * seconds:.1f} ms a step")
    print(f"{time.perf_counter() - start:.1f} s in all")


if __name__ == "__main__":
    main()
