"""Time of a training step beside AllenNLP: forward and backward through the biLM, and the same with a frozen biLM.

    python benchmarks/training.py --model original --output benchmarks/results/training_original_MACHINE.json

All take turns on the same fresh text, in batches of similar length (see `elmo_fast.bench.measure`). A step is a forward
and a backward pass with gradients of every weight, without the optimizer; every weight counts as changed since the
previous step, so that elmo_fast's step includes packing all of them again, which is also timed alone. "frozen" is the
same with requires_grad=False, where the mix alone learns; "inference" runs under no_grad.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from process_memory import write_json
from torch import Tensor, nn

import elmo_fast
from elmo_fast.bench import machine, sizes, texts
from elmo_fast.bench.implementations import Implementation
from elmo_fast.bench.measure import ratio, summary, take_turns
from elmo_fast.bench.peers import allennlp
from elmo_fast.cpu.bilstm_training import LstmOptions
from elmo_fast.cpu.ops.bilstm_op import packed_backward


def main() -> None:
    options = _arguments()
    torch.set_num_threads(options.threads)
    files = sizes.model_files(options.model)
    source, sentences = texts.read_sentences(options.text)
    n = options.sentences
    workload = texts.of_length(f"{n} sentences of similar length", n, sentences, 18, 22)
    theirs = _allennlp(files)
    participants = [*([] if theirs is None else theirs), *_ours(files)]
    turns = take_turns(workload, participants, options.repeats)
    tokens = [sum(map(len, batch)) for batch in turns.batches]
    report = {
        "model": options.model,
        "threads": options.threads,
        "text": source,
        "workload": workload.name,
        "machine": machine.describe(),
        "results": {name: summary(seconds, tokens) for name, seconds in turns.seconds.items()},
        "times_allennlp": {
            name: ratio(turns.seconds["AllenNLP" + name.removeprefix("elmo_fast").partition(",")[0]], seconds)
            for name, seconds in turns.seconds.items()
            if theirs is not None and name.startswith("elmo_fast") and "inference" not in name
        },
        "packing_seconds": _packing_seconds(files, options.repeats),
    }
    _print(report)
    if options.output:
        write_json(report, options.output)


def _ours(files: tuple[str, str]) -> list[Implementation]:
    trained, again, frozen = (
        elmo_fast.Elmo(*files, 1, dropout=0.0, requires_grad=trains, state="reset", checkpointing=checkpointing)
        for trains, checkpointing in ((True, False), (True, True), (False, False))
    )

    def inference(char_ids: Tensor) -> Tensor:
        with torch.no_grad():
            return frozen(char_ids)["elmo_representations"][0]

    return [
        Implementation("elmo_fast step", _step(trained), prepare=_changed(trained)),
        Implementation("elmo_fast step, checkpointing", _step(again), prepare=_changed(again)),
        Implementation("elmo_fast frozen", _step(frozen), prepare=lambda char_ids: frozen.clear_cache()),
        Implementation("elmo_fast inference", inference, prepare=lambda char_ids: frozen.clear_cache()),
    ]


def _allennlp(files: tuple[str, str]) -> list[Implementation] | None:
    try:
        kind = allennlp._elmo_class()
    except ImportError as error:
        print(f"left out: AllenNLP cannot be imported: {error}", file=sys.stderr)
        return None
    trained, frozen = (kind(*files, 1, dropout=0.0, requires_grad=trains) for trains in (True, False))
    return [
        Implementation("AllenNLP step", _step(trained), prepare=_changed(trained)),
        Implementation("AllenNLP frozen", _step(frozen)),
    ]


def _step(module: nn.Module) -> Callable[[Tensor], Tensor]:
    module.train()

    def step(char_ids: Tensor) -> Tensor:
        representation = module(char_ids)["elmo_representations"][0]
        representation.square().sum().backward()
        return representation

    return step


def _changed(module: nn.Module) -> Callable[..., None]:
    """As after an optimizer's step: no gradients, and every weight written."""

    def prepare(char_ids: Tensor | None = None) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.grad = None
                parameter.mul_(1.0)

    return prepare


def _packing_seconds(files: tuple[str, str], repeats: int) -> float:
    """The median time to pack every weight for both passes, after all have changed."""
    elmo = elmo_fast.Elmo(*files, 1, dropout=0.0, requires_grad=True, state="reset")
    bilm = elmo._elmo_lstm
    encoder, lstm = bilm._token_embedder, bilm._elmo_lstm
    options = LstmOptions(lstm._cell_clip, lstm._proj_clip, lstm.use_skip_connections)
    changed = _changed(elmo)
    times = []
    for _ in range(repeats + 1):
        changed()
        start = time.perf_counter()
        encoder.packed()
        lstm.packed()
        packed_backward(lstm._tensors(), options, lstm._packed.key)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first one has no old copy whose memory it can use


def _print(report: dict) -> None:  # type: ignore[type-arg]
    print(
        f"{report['model']} model, {report['workload']}, {report['threads']} threads, {report['machine']['processor']}"
    )
    for name, result in report["results"].items():
        times = report["times_allennlp"].get(name)
        beside = "" if times is None else f"  {times:5.2f} times AllenNLP"
        print(f"{name:32s} {result['milliseconds']:9.1f} ms {result['tokens_per_second']:8.0f} tokens/s{beside}")
    step = report["results"]["elmo_fast step"]["milliseconds"] / 1000
    packing = report["packing_seconds"]
    print(f"packing every weight anew: {1000 * packing:.1f} ms, {100 * packing / step:.1f}% of a step")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="original", help="tiny, small, medium or original")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sentences", type=int, default=32, help="sentences in a batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--text", help="file of tokenised sentences, one a line")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
