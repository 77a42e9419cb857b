"""Checks that a third-party module behaves exactly as its class does.

The native kernels bypass a module's `forward`, so nothing may depend on it: no hooks, no methods of a subclass, no
exchanged layers. Each check raises `CannotReplace` with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.utils import parametrize

_CALL_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_STATE_HOOKS = (
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


class CannotReplace(Exception):
    """A part does something that this package's counterpart would not; the message says what."""


def class_name(kind: type) -> tuple[str, str]:
    """Returns the module and name of a class, which identify it without importing it."""
    return kind.__module__, kind.__qualname__


def check_class(part: nn.Module, kind: type) -> None:
    """Checks that a part of a subclass defines nothing but a constructor, which has already run."""
    for base in type(part).__mro__:
        if base in kind.__mro__:
            continue
        own = {name for name in vars(base) if not name.startswith("__")} | ({"__call__", "__getattr__"} & {*vars(base)})
        if own:
            raise CannotReplace(f"its class {base.__name__} has its own {', '.join(sorted(own))}")


def check_untouched(module: nn.Module, prefix: str = "it", hooks: tuple[str, ...] = _CALL_HOOKS + _STATE_HOOKS) -> None:
    """Checks that one module, called `prefix` in the message, runs exactly as its class does."""
    if any(getattr(module, kind, None) for kind in hooks):
        raise CannotReplace(f"{prefix} has hooks")
    if getattr(module, "_compiled_call_impl", None) is not None:
        raise CannotReplace(f"{prefix} is compiled")
    for name in vars(module):
        if callable(getattr(type(module), name, None)):
            raise CannotReplace(f"{prefix} has its {name} replaced")


def check_inner(module: nn.Module, name: str, kind: tuple[str, str]) -> None:
    """Checks a module that the new part does not have."""
    if class_name(type(module)) != kind:
        raise CannotReplace(f"its {name} is a {type(module).__name__}, not AllenNLP's {kind[1]}")
    check_untouched(module, f"its {name}")


def check_leaf(module: nn.Module, name: str, kind: type[nn.Module], parameters: Iterable[str]) -> None:
    """Checks a torch module whose parameters the kernels read without calling it."""
    plain = type(module).__mro__[1] if parametrize.is_parametrized(module) else type(module)
    if plain is not kind or any(getattr(module, parameter, None) is None for parameter in parameters):
        raise CannotReplace(f"its {name} is not a plain {kind.__name__} with {' and '.join(parameters)}")
    check_untouched(module, f"its {name}", _CALL_HOOKS)  # it stays, and keeps its other hooks
