"""options.json of a biLM -> a frozen, validated `Options`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

N_CHARACTERS = 261
"""Characters a model embeds: 256 bytes, four markers, padding."""

_FLOAT32_MAX = 3.4e38


class WeightsError(ValueError):
    """A model file is wrong or damaged; the message names file, field or dataset, what was expected and what is."""


@dataclass(frozen=True)
class Options:
    """Sizes and switches of a biLM.

    Attributes:
        activation: "relu" or "tanh", after the max over positions.
        char_embedding_dim: size of a character's embedding.
        filters: (filter_width, number of filters) pairs.
        n_highway: number of highway layers, 0 or more.
        max_characters: character ids per token.
        cell_size: LSTM cells per direction (`lstm.dim` in the file).
        projection_dim: size of a token embedding and of one direction's output.
        n_layers: LSTM layers.
        cell_clip: bound on the absolute cell state; 0 disables it.
        proj_clip: bound on the absolute projected output; 0 disables it.
        use_skip_connections: whether layers from the second on add their input to their output.
        raw: the file as parsed.
    """

    activation: str
    char_embedding_dim: int
    filters: tuple[tuple[int, int], ...]
    n_highway: int
    max_characters: int
    cell_size: int
    projection_dim: int
    n_layers: int
    cell_clip: float
    proj_clip: float
    use_skip_connections: bool
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n_filters(self) -> int:
        """Filters of all widths together: the size between the convolutions and the projection."""
        return sum(n for _, n in self.filters)


def read_options(path: str | os.PathLike[str]) -> Options:
    """Reads and validates an options file.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: not JSON, or an option is missing or wrong; the message names it.
    """
    path = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            raw = json.load(file)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such options file") from error
    except (ValueError, RecursionError, OSError) as error:  # ValueError: bad JSON and bad UTF-8
        raise WeightsError(f"{path}: not a readable JSON options file: {error}") from error
    lstm = _Section(path, raw, "lstm")
    char_cnn = _Section(path, raw, "char_cnn")
    options = Options(
        activation=char_cnn.choice("activation", ("relu", "tanh")),
        char_embedding_dim=_Section(path, char_cnn.values, "embedding", "char_cnn.").integer("dim", 1),
        filters=_filters(char_cnn),
        # bilm-tf treats a missing or null n_highway, clip or use_skip_connections as none.
        n_highway=char_cnn.integer("n_highway", 0, default=0),
        max_characters=char_cnn.integer("max_characters_per_token", 3),
        cell_size=lstm.integer("dim", 1),
        projection_dim=lstm.integer("projection_dim", 1),
        n_layers=lstm.integer("n_layers", 1),
        cell_clip=lstm.clip("cell_clip"),
        proj_clip=lstm.clip("proj_clip"),
        use_skip_connections=lstm.switch("use_skip_connections"),
        raw=raw,
    )
    # Models are trained with 261 and used with 262 (padding). AllenNLP never reads it, but a typo should not pass.
    if char_cnn.integer("n_characters", 1, default=N_CHARACTERS) not in (N_CHARACTERS, N_CHARACTERS + 1):
        raise char_cnn.error("n_characters", "261 or 262")
    for i, (width, _) in enumerate(options.filters):
        if width > options.max_characters:
            raise WeightsError(
                f"{path}: char_cnn.filters[{i}]: expected a width of at most max_characters_per_token = "
                f"{options.max_characters}, got {width}"
            )
    return options


def _filters(char_cnn: _Section) -> tuple[tuple[int, int], ...]:
    value = char_cnn.get("filters")
    expected = "a non-empty list of [width, number of filters], positive integers"
    if not isinstance(value, list) or not value:
        raise char_cnn.error("filters", expected)
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_integer(n) and n > 0 for n in pair):
            raise char_cnn.error("filters", expected)
    return tuple((width, n) for width, n in value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class _Section:
    """One JSON object of the file; every getter raises `WeightsError` naming file and field."""

    def __init__(self, path: str, parent: Any, name: str, prefix: str = "") -> None:
        self.path = path
        self.prefix = f"{prefix}{name}."
        if not isinstance(parent, dict):
            raise WeightsError(f"{path}: expected a JSON object, got {type(parent).__name__}")
        if name not in parent:
            raise WeightsError(f"{path}: {prefix}{name}: missing, expected a JSON object")
        values = parent[name]
        if not isinstance(values, dict):
            raise WeightsError(f"{path}: {prefix}{name}: expected a JSON object, got {values!r:.60}")
        self.values: dict[str, Any] = values

    def error(self, name: str, expected: str) -> WeightsError:
        actual = f"got {self.values[name]!r:.80}" if name in self.values else "missing"
        return WeightsError(f"{self.path}: {self.prefix}{name}: expected {expected}, {actual}")

    def get(self, name: str) -> Any:
        return self.values.get(name)

    def integer(self, name: str, minimum: int, default: int | None = None) -> int:
        value = self.get(name)
        if value is None and default is not None:
            return default
        if not _is_integer(value) or value < minimum:
            raise self.error(name, f"an integer of {minimum} or more")
        return int(value)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.get(name)
        if not isinstance(value, str) or value not in choices:
            raise self.error(name, " or ".join(map(repr, choices)))
        return value

    def clip(self, name: str) -> float:
        value = self.get(name)
        if value is None:
            return 0.0
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= _FLOAT32_MAX:  # NaN, which JSON as Python reads it allows, fails too
            raise self.error(name, "null or a finite number of 0 or more")
        return float(value)

    def switch(self, name: str) -> bool:
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.error(name, "true or false")
        return bool(value)
