"""Compile calls: each argument to the type of its parameter, and the function's code with all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sieve.check.binding import Bound
from sieve.compile.codes import Code, called, known, mapped
from sieve.compile.expressions import expression
from sieve.compile.tracing import watched_function
from sieve.library import SieveFunction


def call(bound: Bound, *, traced: bool = False) -> Code:
    """Compile a call to code that returns the function's result, which is a coroutine if the function has to wait."""
    function = bound.function
    arguments, keywords = _arguments(bound), _keywords(bound)
    if traced:
        return called(watched_function(_framed(function), function.name), arguments, keywords, waits=function.waits)
    if function.takes_frame or function.waits or keywords or len(arguments) != 1 or arguments[0].is_constant:
        return called(_framed(function), arguments, keywords, waits=function.waits)
    return arguments[0] if function.transparent else mapped(arguments[0], function.run)


def _arguments(bound: Bound) -> list[Code]:
    parameters = list(bound.function.parameters)
    if parameters and parameters[-1].variadic:
        parameters += [parameters[-1]] * (len(bound.arguments) - len(parameters))
    return [expression(node, each.type) for each, node in zip(parameters, bound.arguments, strict=False)]


def _keywords(bound: Bound) -> dict[str, Code]:
    keywords = {
        bound.function.tags[name].keyword: known(name not in bound.function.bare or ())
        if node is None
        else expression(node, bound.function.tags[name].type)
        for name, node in bound.tags.items()
    }
    if bound.function.address_part:
        keywords["part"] = known(bound.part)
    return keywords


def _framed(function: SieveFunction) -> Callable[..., Any]:
    """Return the function's code with the frame as first parameter."""
    run = function.run
    return run if function.takes_frame else lambda _frame, *rest, **tags: run(*rest, **tags)
