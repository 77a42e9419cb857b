"""ELMo with AllenNLP's names and numbers, on native kernels.

import elmo_fast

vectors = elmo_fast.load("tiny").encode(["One text.", "Another one."])

Or, where a program uses AllenNLP's modules:

from elmo_fast import Elmo, batch_to_ids

elmo = Elmo(options_file, weight_file, num_output_representations=1)
vectors = elmo(batch_to_ids([["A", "sentence", "."]]))["elmo_representations"][0]
"""

from elmo_fast._version import __version__
from elmo_fast.allennlp.in_place import accelerate
from elmo_fast.bilm import ElmoBiLm
from elmo_fast.characters import ELMoCharacterMapper, batch_to_ids
from elmo_fast.elmo import Elmo, ElmoTokenEmbedder
from elmo_fast.elmo_embedder import ElmoEmbedder
from elmo_fast.embedder import Embedder, load
from elmo_fast.encoder import ElmoCharacterEncoder
from elmo_fast.info import build_info
from elmo_fast.lstm import ElmoLstm
from elmo_fast.models import DownloadError
from elmo_fast.native import get_isa, get_num_threads, set_isa, set_num_threads
from elmo_fast.scalar_mix import AdditiveMix, ScalarMix
from elmo_fast.weights import WeightsError
from elmo_fast.word_cache import CacheInfo

# AllenNLP's own names of these two.
_ElmoBiLm = ElmoBiLm
_ElmoCharacterEncoder = ElmoCharacterEncoder

__all__ = [
    "AdditiveMix",
    "CacheInfo",
    "DownloadError",
    "ELMoCharacterMapper",
    "Elmo",
    "ElmoBiLm",
    "ElmoCharacterEncoder",
    "ElmoEmbedder",
    "ElmoLstm",
    "ElmoTokenEmbedder",
    "Embedder",
    "ScalarMix",
    "WeightsError",
    "_ElmoBiLm",
    "_ElmoCharacterEncoder",
    "__version__",
    "accelerate",
    "batch_to_ids",
    "build_info",
    "get_isa",
    "get_num_threads",
    "load",
    "set_isa",
    "set_num_threads",
]


def __dir__() -> list[str]:
    # The public names, without the submodules and helpers that the imports above leave here.
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
