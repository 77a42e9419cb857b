"""ELMo with AllenNLP's names and numbers, on native CPU kernels.

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
from elmo_fast.embedder import load
from elmo_fast.encoder import ElmoCharacterEncoder
from elmo_fast.info import build_info
from elmo_fast.lstm import ElmoLstm
from elmo_fast.native import get_isa, get_num_threads, set_isa, set_num_threads
from elmo_fast.scalar_mix import AdditiveMix, ScalarMix

# AllenNLP's own names of these two.
_ElmoBiLm = ElmoBiLm
_ElmoCharacterEncoder = ElmoCharacterEncoder

__all__ = [
    "AdditiveMix",
    "ELMoCharacterMapper",
    "Elmo",
    "ElmoBiLm",
    "ElmoCharacterEncoder",
    "ElmoEmbedder",
    "ElmoLstm",
    "ElmoTokenEmbedder",
    "ScalarMix",
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
