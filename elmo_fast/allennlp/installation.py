"""`install` and `uninstall`: make AllenNLP build this package's ELMo, or its own again."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import elmo_fast

_LOCK = threading.RLock()
_PACKAGES = ("allennlp", "allennlp_models")
_FILES = ("options_file", "weight_file")

Place = tuple[dict[str, Any], str]  # a namespace and a name in it


class _Installed(NamedTuple):
    """The data that `uninstall` needs."""

    theirs: dict[str, Any]
    ours: dict[str, Any]
    kept: set[tuple[int, str]]  # places, by the namespace's id, that held ours before


_installed: _Installed | None = None


def install() -> None:
    """Replaces AllenNLP's ELMo by this package's, in this process, until `uninstall`.

    `Elmo`, `_ElmoBiLm`, `_ElmoCharacterEncoder`, `ElmoLstm`, `ElmoTokenEmbedder` and `batch_to_ids` become this
    package's under every name that the modules of `allennlp` and `allennlp_models` have for them, whether they are
    already loaded or not, and in the registry: `TokenEmbedder.by_name("elmo_token_embedder")`. Constructors that
    already have an `Elmo` in their signature get this package's from `from_params` too.

    Modules outside of AllenNLP that have already imported a name keep it: install first, import afterwards. Existing
    models keep their parts; `elmo_fast.accelerate` replaces those. A second call does nothing.

    Raises:
        ImportError: AllenNLP cannot be imported; the message says what to install.
    """
    global _installed
    with _LOCK:
        if _installed is not None:
            return
        theirs = _import_theirs()
        ours = {
            "Elmo": _subclass("Elmo", theirs["Elmo"]),
            "ElmoTokenEmbedder": _subclass("ElmoTokenEmbedder", theirs["ElmoTokenEmbedder"]),
            "ElmoLstm": elmo_fast.ElmoLstm,
            "_ElmoBiLm": elmo_fast.ElmoBiLm,
            "_ElmoCharacterEncoder": elmo_fast.ElmoCharacterEncoder,
            "batch_to_ids": elmo_fast.batch_to_ids,
        }
        kept = {(id(namespace), name) for namespace, name in _places({id(one) for one in ours.values()})}
        _exchange(theirs, ours, set())
        for name in ("Elmo", "ElmoTokenEmbedder"):
            _redirect_from_params(theirs[name], ours[name])
        _installed = _Installed(theirs, ours, kept)


def uninstall() -> None:
    """Restores AllenNLP's own classes. Models built in between keep working. A second call does nothing."""
    global _installed
    with _LOCK:
        if _installed is None:
            return
        theirs, ours, kept = _installed
        _exchange(ours, theirs, kept)
        for name in ("Elmo", "ElmoTokenEmbedder"):
            del theirs[name].from_params
        _installed = None


def installed() -> bool:
    """Returns whether AllenNLP currently builds this package's ELMo."""
    return _installed is not None


def class_of(name: str) -> type:
    """Returns this package's "Elmo" or "ElmoTokenEmbedder" with AllenNLP's base class, whether installed or not."""
    with _LOCK:
        theirs = _import_theirs() if _installed is None else _installed.theirs
        return _subclass(name, theirs[name])


def _import_theirs() -> dict[str, Any]:
    try:
        elmo = importlib.import_module("allennlp.modules.elmo")
        lstm = importlib.import_module("allennlp.modules.elmo_lstm")
        embedder = importlib.import_module("allennlp.modules.token_embedders.elmo_token_embedder")
    except ImportError as error:
        raise ImportError(
            "elmo_fast.allennlp needs AllenNLP 2, which cannot be imported here: "
            "pip install --no-deps allennlp==2.10.1, and the packages that it imports (docs/allennlp.md). "
            f"The cause: {error}"
        ) from error
    names = ("Elmo", "_ElmoBiLm", "_ElmoCharacterEncoder", "batch_to_ids")
    theirs = {name: getattr(elmo, name) for name in names}
    return {**theirs, "ElmoLstm": lstm.ElmoLstm, "ElmoTokenEmbedder": embedder.ElmoTokenEmbedder}


@functools.cache  # always the same class: models built earlier must be instances of it
def _subclass(name: str, theirs: Any) -> type:
    """Returns this package's class of a name with AllenNLP's base class, and a signature to build it from."""
    ours = getattr(elmo_fast, name)
    base = next(one for one in theirs.__bases__ if "from_params" in dir(one))  # FromParams, TokenEmbedder
    own = [
        parameter.replace(annotation=type(parameter.default))
        for parameter in inspect.signature(ours.__init__).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    # `from_params` checks values against annotations, and those of this package are strings.
    signature = inspect.Signature([*inspect.signature(theirs.__init__).parameters.values(), *own])

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        for file in _FILES:
            bound.arguments[file] = _local_file(bound.arguments[file])
        ours.__init__(*bound.args, **bound.kwargs)
        if name == "ElmoTokenEmbedder":  # for code that looks for instances of AllenNLP's Elmo
            self._elmo.__class__ = class_of("Elmo")

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    doc = f"`elmo_fast.{name}` as one of AllenNLP's {base.__name__}; arguments as there."
    return type(name, (ours, base), {"__init__": __init__, "__module__": "elmo_fast.allennlp", "__doc__": doc})


def _local_file(path: Any) -> Any:
    """Returns a local file unchanged, and resolves a URL or `archive.tar.gz!file` as AllenNLP does."""
    if path is None or os.path.isfile(os.path.expanduser(path)):
        return path
    cached_path = importlib.import_module("allennlp.common.file_utils").cached_path
    return cached_path(path, extract_archive="!" in os.fspath(path))


def _modules() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _PACKAGES and isinstance(module, ModuleType):
            yield module


def _places(ids: set[int]) -> Iterator[Place]:
    """Yields the places where AllenNLP's modules and its registry hold one of these objects."""
    for module in _modules():
        for name, value in list(vars(module).items()):
            if id(value) in ids:
                yield vars(module), name
    registrable = importlib.import_module("allennlp.common.registrable").Registrable
    for registry in list(registrable._registry.values()):
        for name, (value, _) in list(registry.items()):
            if id(value) in ids:
                yield registry, name


def _exchange(old: dict[str, Any], new: dict[str, Any], kept: set[tuple[int, str]]) -> None:
    table = {id(old[name]): new[name] for name in old}
    for namespace, name in list(_places(set(table))):
        if (id(namespace), name) not in kept:
            value = namespace[name]
            # An entry of the registry is a class and the name of its constructor.
            namespace[name] = (table[id(value[0])], value[1]) if isinstance(value, tuple) else table[id(value)]


def _redirect_from_params(theirs: Any, ours: Any) -> None:
    """Makes AllenNLP's class build this package's: an annotation that was read before is still AllenNLP's class."""

    def from_params(
        cls: Any, params: Any, constructor_to_call: Any = None, constructor_to_inspect: Any = None, **extras: Any
    ) -> Any:
        if cls is theirs and constructor_to_call in (None, theirs):
            return ours.from_params(params, **extras)
        return super(theirs, cls).from_params(params, constructor_to_call, constructor_to_inspect, **extras)

    theirs.from_params = classmethod(from_params)
