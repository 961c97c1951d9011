"""Listening to the modules of a network while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

OnInput = Callable[[str, tuple[Any, ...], dict[str, Any]], Any]
OnOutput = Callable[[str, Any], Any]


@contextmanager
def listening(
    modules: Iterable[tuple[str, nn.Module]],
    *,
    on_input: OnInput | None = None,
    on_output: OnOutput | None = None,
) -> Iterator[None]:
    """Hooks on named modules that last as long as the context.

    on_input   called before each forward with the module's name, positional and named arguments;
               what it returns, unless None, becomes these
    on_output  called after each with its name and output; what it returns, unless None, becomes
               the output
    """
    with ExitStack() as stack:
        for name, module in modules:
            if on_input is not None:
                stack.callback(_before(name, module, on_input))
            if on_output is not None:
                stack.callback(_after(name, module, on_output))
        yield


def _before(name: str, module: nn.Module, call: OnInput) -> Callable[[], None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return call(name, args, kwargs)

    return module.register_forward_pre_hook(hook, with_kwargs=True).remove


def _after(name: str, module: nn.Module, call: OnOutput) -> Callable[[], None]:
    return module.register_forward_hook(lambda module, args, output: call(name, output)).remove
