"""Question or statement? A sentence classifier on frozen ELMo vectors, with scikit-learn.

The label comes from a sentence's final punctuation, which is then removed, so that "are you sure" and "you are sure"
differ only in the order of their words. There are as many statements as questions, so guessing gets half of them right.
Files named .tsv or .tsv.gz have lines of word, tab, tag; others have one sentence per line, with spaces between words.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tagged_text import Words, draw, positive, read_words, versions

import elmo_fast

try:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits  # comes with scikit-learn
except ImportError:
    sys.exit("classify_sentences.py needs scikit-learn: python -m pip install scikit-learn")

FINAL = set(".?!\"')")
MIN_WORDS = 3  # without the punctuation: "Thanks !" and "Why ?" are too easy
FOLDS = 5


def question_or_statement(words: Words) -> tuple[Words, bool] | None:
    """Returns a sentence without its final punctuation and whether that had a question mark; None if it is neither."""
    end = len(words)
    while end and set(words[end - 1]) <= FINAL:
        end -= 1
    marks = set("".join(words[end:]))
    return (words[:end], "?" in marks) if end >= MIN_WORDS and marks & set(".?!") else None


def read_task(files: list[Path], limit: int | None, seed: int) -> tuple[list[Words], list[bool]]:
    """Reads as many questions as statements, and the label of each: whether it is a question."""
    sentences = draw([words for file in files for words in read_words(file)], limit, seed)
    labelled = [pair for words in sentences if (pair := question_or_statement(words))]
    questions = [words for words, is_question in labelled if is_question]
    statements = [words for words, is_question in labelled if not is_question]
    count = min(len(questions), len(statements))
    if count < FOLDS:
        found = f"{len(questions)} and {len(statements)} in {len(sentences)} sentences"
        names = ", ".join(map(str, files))
        raise ValueError(f"{names}: expected at least {FOLDS} questions and {FOLDS} statements, got {found}")
    return questions[:count] + statements[:count], [True] * count + [False] * count


def fit_and_score(
    name: str, steps: list[Any], train: Any, test: Any, is_question: tuple[list[bool], list[bool]]
) -> float:
    """Fits a logistic regression, its regularisation chosen on the training sentences, and prints its accuracy."""
    pipeline = make_pipeline(*steps, LogisticRegression(max_iter=5000))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.01, 0.1, 1.0, 10.0]}, cv=FOLDS)
    with threadpool_limits(1):  # products this small take longer on several threads, on a busy machine 20 times
        accuracy = 100 * search.fit(train, is_question[0]).score(test, is_question[1])
    print(f"{name:38} {accuracy:5.1f}%", flush=True)
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True, metavar="FILE", help="sentences to learn from")
    parser.add_argument("--test", type=Path, nargs="+", required=True, metavar="FILE", help="sentences to be scored on")
    parser.add_argument("--model", default="tiny", help="a model's name, or its folder (default: tiny, built in)")
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="draw N sentences for each of the two (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    args = parser.parse_args()
    start = time.perf_counter()
    try:
        # state="reset" is load's default: with "carry" a sentence's vector would depend on those encoded before it.
        embedder = elmo_fast.load(args.model, state="reset")
        train, train_labels = read_task(args.train, args.limit, args.seed)
        test, test_labels = read_task(args.test, args.limit, args.seed)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    labels = train_labels, test_labels
    print(f"{versions()}\n{len(train)} training and {len(test)} test sentences, half of them questions")

    begin = time.perf_counter()
    train_vectors, test_vectors = (embedder.encode(part, pooling="mean", layers="all") for part in (train, test))
    words, seconds = sum(map(len, train + test)), time.perf_counter() - begin
    print(f"{words} words embedded in {seconds:.2f} s\n")  # (layers, sentences, dim) each

    print(f"{'majority baseline':38} {100 * max(np.mean(test_labels), 1 - np.mean(test_labels)):5.1f}%")
    bag = CountVectorizer(analyzer=list, binary=True)  # analyzer=list: the words as they are
    fit_and_score("bag of words", [bag], train, test, labels)
    for layer in range(embedder.num_layers):
        name = f"mean vector, layer {layer}" + " (no context)" * (layer == 0)
        fit_and_score(name, [StandardScaler()], train_vectors[layer], test_vectors[layer], labels)
    side_by_side = (np.concatenate(list(vectors), axis=1) for vectors in (train_vectors, test_vectors))
    best = fit_and_score("mean vector, all layers side by side", [StandardScaler()], *side_by_side, labels)
    print(f"\ntest accuracy: {best:.1f}%, {time.perf_counter() - start:.1f} s in all")


if __name__ == "__main__":
    main()
