"""`install()` makes an unmodified AllenNLP build this package's ELMo.

import elmo_fast.allennlp

elmo_fast.allennlp.install()
predictor = Predictor.from_path("model.tar.gz")  # and everything else of AllenNLP's, unchanged

AllenNLP is imported only by `install()`, or when one of these two classes is accessed:

- `elmo_fast.allennlp.Elmo`: `elmo_fast.Elmo` that can be built from AllenNLP's `Params`.
- `elmo_fast.allennlp.ElmoTokenEmbedder`: `elmo_fast.ElmoTokenEmbedder` that is one of AllenNLP's `TokenEmbedder`s.

They take AllenNLP's arguments and this package's own, such as `precision`, and find files by AllenNLP's `cached_path`.
"""

from __future__ import annotations

from typing import Any

from elmo_fast.allennlp.installation import class_of, install, installed, uninstall

__all__ = ["install", "installed", "uninstall"]


def __getattr__(name: str) -> Any:
    # pickle uses this too, so a model that was built while installed can be copied and stored afterwards.
    if name in ("Elmo", "ElmoTokenEmbedder"):
        return class_of(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
