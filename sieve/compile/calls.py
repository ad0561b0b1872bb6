"""Compile calls: bind the function's code and its arguments into one closure.

Calls with few arguments have their own closures, because building an argument list costs as much as the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sieve.check.binding import Bound
from sieve.compile.codes import Code, evaluated, known
from sieve.compile.expressions import expression
from sieve.compile.tracing import watched_function
from sieve.library import SieveFunction
from sieve.run.patience import settled
from sieve.run.runtime import Frame

Run = Callable[[Frame], Any]


def call(bound: Bound, *, traced: bool = False) -> Code:
    """Compile a call to code that returns the function's result."""
    function = bound.function
    arguments, keywords = _arguments(bound), _keywords(bound)
    given = [*arguments, *keywords.values()]
    run = _framed(function)
    if traced:
        run = watched_function(run, function.name)
    if any(code.waits for code in given):
        return Code(_waiting(run, arguments, keywords), waits=True)
    if all(code.is_constant for code in given):
        return Code(_fixed(run, arguments, keywords), waits=function.waits)
    if keywords:
        return Code(_tagged(run, arguments, keywords), waits=function.waits)
    if len(arguments) == 1 and not (traced or function.takes_frame):
        return Code(_of_one(function.run, arguments[0]), waits=function.waits)
    return Code(_plain(run, arguments), waits=function.waits)


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


# The closures below return the function's result, which is a coroutine if the function has to wait.


def _fixed(run: Callable[..., Any], arguments: list[Code], keywords: dict[str, Code]) -> Run:
    values = tuple(code.value for code in arguments)
    if not keywords:
        return lambda frame: run(frame, *values)
    tags = {name: code.value for name, code in keywords.items()}
    return lambda frame: run(frame, *values, **tags)


def _of_one(run: Callable[..., Any], argument: Code) -> Run:
    only = argument.run
    return lambda frame: run(only(frame))


def _plain(run: Callable[..., Any], arguments: list[Code]) -> Run:
    runs = [code.run for code in arguments]
    if len(runs) == 1:
        only = runs[0]
        return lambda frame: run(frame, only(frame))
    return lambda frame: run(frame, *[argument(frame) for argument in runs])


def _tagged(run: Callable[..., Any], arguments: list[Code], keywords: dict[str, Code]) -> Run:
    runs = [code.run for code in arguments]
    tags = [(name, code.run) for name, code in keywords.items()]
    return lambda frame: run(
        frame, *[argument(frame) for argument in runs], **{name: value(frame) for name, value in tags}
    )


def _waiting(run: Callable[..., Any], arguments: list[Code], keywords: dict[str, Code]) -> Run:
    async def waiting(frame: Frame) -> Any:
        values = [await evaluated(code, frame) for code in arguments]
        tags = {name: await evaluated(code, frame) for name, code in keywords.items()}
        return await settled(run(frame, *values, **tags))

    return waiting
