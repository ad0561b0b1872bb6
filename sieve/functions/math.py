"""Arithmetic. Results are text with six decimal places, like C's `%f`."""

from __future__ import annotations

import math
from collections.abc import Callable

from sieve.library import Value, sieve_function
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError, as_whole, decimal


def _finite(result: float, function: str) -> str:
    if not math.isfinite(result):
        raise ScriptError(reasons.number_out_of_range(function))
    return decimal(result)


def _exact(operation: Callable[[], float], function: str) -> str:
    """Return a result as text.

    Raises:
        ScriptError: the result is out of range.
    """
    try:
        return _finite(float(operation()), function)
    except OverflowError:
        raise ScriptError(reasons.number_out_of_range(function)) from None


@sieve_function()
def ec_add(number1: float, number2: float) -> str:
    """Return the sum of two numbers."""
    return _exact(lambda: number1 + number2, "ec_add")


@sieve_function()
def ec_sub(number1: float, number2: float) -> str:
    """Return the first number minus the second."""
    return _exact(lambda: number1 - number2, "ec_sub")


@sieve_function()
def ec_mul(number1: float, number2: float) -> str:
    """Return the product of two numbers."""
    return _exact(lambda: number1 * number2, "ec_mul")


@sieve_function()
def ec_div(number1: float, number2: float) -> str:
    """Return the first number divided by the second. Division by zero is a run-time error."""
    if number2 == 0:
        raise ScriptError(reasons.division_by_zero("ec_div"))
    return _exact(lambda: number1 / number2, "ec_div")


@sieve_function()
def ec_mod(number1: int, number2: int) -> str:
    """Return the integer remainder of a division, with the sign of the first number."""
    if number2 == 0:
        raise ScriptError(reasons.division_by_zero("ec_mod"))
    remainder = abs(number1) % abs(number2)
    return str(-remainder if number1 < 0 else remainder)


@sieve_function()
def ec_ceil(number: float) -> str:
    """Round up to a whole number."""
    return _exact(lambda: math.ceil(number), "ec_ceil")


@sieve_function()
def ec_floor(number: float) -> str:
    """Round down to a whole number."""
    return _exact(lambda: math.floor(number), "ec_floor")


@sieve_function()
def ec_trunc(number: float) -> str:
    """Round towards zero to a whole number."""
    return _exact(lambda: math.trunc(number), "ec_trunc")


@sieve_function()
def ec_round(number: float) -> str:
    """Round to the nearest whole number; halves round away from zero.

    The manual says so too, but in its example 65.43 becomes 66. In Ringback it becomes 65.
    """
    return _exact(lambda: math.copysign(math.floor(abs(number) + 0.5), number), "ec_round")


@sieve_function()
def ec_nearbyint(number: float) -> str:
    """Round to the nearest whole number; halves round to even."""
    return _exact(lambda: round(number), "ec_nearbyint")


@sieve_function()
def ec_rand(frame: Frame, max_or_list: Value) -> Value:
    """Return a random whole number, at least 0 and less than the given number, or a random element of a list."""
    if isinstance(max_or_list, tuple):
        return max_or_list[frame.host.random(len(max_or_list))] if max_or_list else ""
    bound = as_whole(max_or_list)
    if bound < 1:
        raise ScriptError(reasons.must_be_positive("ec_rand"))
    return frame.host.random(bound)
