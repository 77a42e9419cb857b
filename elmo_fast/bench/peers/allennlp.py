"""AllenNLP 2.10.1's own Elmo as a peer, beside whatever torch is installed.

    pip install --no-deps allennlp==2.10.1
    pip install dill more_itertools base58 termcolor rich requests

AllenNLP pins forty packages, many of them to versions that no longer install. Those that its ELMo never calls are
replaced by empty stand-ins while it is imported; its own code runs unchanged.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
from torch import Tensor, nn

from elmo_fast.bench.peers import Forward

_NEVER_CALLED = (
    "boto3", "cached_path", "fairscale", "google", "huggingface_hub", "lmdb", "nltk", "sacremoses", "sklearn", "spacy",
    "tensorboardX", "torchvision", "transformers", "wandb",
)  # fmt: skip


def load(options_file: str, weight_file: str, precision: str, device: torch.device | str = "cpu") -> Forward:
    """Builds it; see `elmo_fast.bench.peers.load`.

    Args:
        precision: "float32", "bfloat16", "int8", or on a GPU "tf32" or "float16".
    """
    module = _elmo_class()(options_file, weight_file, 1, dropout=0.0).eval()
    if precision == "bfloat16":
        module = module.bfloat16()
    elif precision == "float16":
        module = module.half()
    elif precision == "int8":
        # The convolutions stay float32: dynamic quantisation knows linear layers and torch's own LSTM alone.
        quantize_dynamic = importlib.import_module("torch.ao.quantization").quantize_dynamic
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)
    module = module.to(device)

    def forward(char_ids: Tensor) -> Tensor:
        with torch.inference_mode():
            return module(char_ids)["elmo_representations"][0]

    return forward


def _elmo_class() -> type[nn.Module]:
    if "allennlp.modules.elmo" not in sys.modules:
        with _stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("allennlp.modules.elmo")
    return sys.modules["allennlp.modules.elmo"].Elmo


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Puts stand-ins in the way of the packages that are never called; takes them out again, so that the real ones can
    be imported later."""
    finder = _StandIns()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _StandIn)]:
            del sys.modules[name]


class _StandIn(ModuleType):
    """A module with every name in it: an empty class, which can be imported and derived from."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "cached_path":  # the one that ELMo does call: for local files it returns the path
            return lambda path, **options: path
        return type(name, (), {})


class _StandIns(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] in _NEVER_CALLED:
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass
