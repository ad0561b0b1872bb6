"""Compile values: literals, lists, variables, elements and strings with substitutions.

Constants are computed here, once. Everything else becomes a closure that takes the frame of a run as its only
argument.
"""

from __future__ import annotations

from sieve.check.binding import constant
from sieve.compile.codes import Code, evaluated, followed, known, mapped, variable
from sieve.run import origins, reasons
from sieve.run.origins import Woven, path_of
from sieve.run.runtime import Frame
from sieve.run.values import COERCE, UNSET, Place, ScriptError, Type, Value, as_text, element, flat
from sieve.syntax import macros, nodes


def expression(node: nodes.Expression, wanted: Type = Type.ANY) -> Code:
    """Compile a value for a parameter of the type `wanted`."""
    value = constant(node)
    if value is not None:
        return known(as_text(value) if wanted is Type.LINES else COERCE[wanted](value))
    if wanted is Type.PATH:
        return mapped(woven(node), path_of)
    if isinstance(node, nodes.Text):
        return _coerced(_text(node, flatten=wanted is Type.LINES), wanted, is_text=True)
    if isinstance(node, nodes.ListOf):
        return _list(node)
    if isinstance(node, nodes.Index):
        return _coerced(_index(node, place=wanted is Type.PLACE), wanted)
    assert isinstance(node, nodes.Variable)  # noqa: S101 - numbers are constants
    return variable(node.name, wanted)


def _coerced(code: Code, wanted: Type, *, is_text: bool = False) -> Code:
    """Convert the result of `code` to the type `wanted`, if needed."""
    if wanted in {Type.ANY, Type.PLACE} or (is_text and wanted in {Type.TEXT, Type.LINES}):
        return code
    return mapped(code, COERCE[wanted])


# ---------------------------------------------------------------- elements


def _index(node: nodes.Index, *, place: bool) -> Code:
    container = expression(node.of, Type.PLACE).run
    key = expression(node.key)
    missing: Place = UNSET if place else ""

    def pick(holder: Place, chosen: Value) -> Place:
        item = element(holder, chosen)
        return missing if item is UNSET else item

    return followed(key, lambda frame, chosen: pick(container(frame), chosen))


def _list(node: nodes.ListOf) -> Code:
    codes = [expression(item, Type.TEXT) for item in node.items]
    if any(code.waits for code in codes):

        async def waiting(frame: Frame) -> tuple[str, ...]:
            return tuple([await evaluated(code, frame) for code in codes])

        return Code(waiting, waits=True)
    runs = [code.run for code in codes]
    return Code(lambda frame: tuple([run(frame) for run in runs]))


# ---------------------------------------------------------------- substitution


def _text(node: nodes.Text, *, flatten: bool) -> Code:
    """Compile a string with substitutions. Only substituted text is flattened; the operator's line breaks stay."""
    pieces = [_piece(part, flatten=flatten) for part in node.parts]
    if len(pieces) == 1:
        return pieces[0]
    if any(piece.waits for piece in pieces):

        async def waiting(frame: Frame) -> str:
            return _joined(frame, [await evaluated(piece, frame) for piece in pieces])

        return Code(waiting, waits=True)
    runs = [piece.run for piece in pieces]
    return Code(lambda frame: _joined(frame, [run(frame) for run in runs]), is_text=True)


def _joined(frame: Frame, pieces: list[str]) -> str:
    text = "".join(pieces)
    if len(text) > frame.settings.limits.string:
        raise ScriptError(reasons.string_too_long(frame.settings.limits.string))
    return text


def _piece(part: macros.Part, *, flatten: bool) -> Code:
    if isinstance(part, str):
        return known(part)
    if isinstance(part, macros.Unknown):
        return known(part.text)
    if isinstance(part, macros.VariablePart):
        code = variable(part.name, Type.TEXT)
    else:
        code = Code(part.macro.run, part.macro.waits)
    return mapped(code, flat) if flatten else code


# ---------------------------------------------------------------- origins


def woven(node: nodes.Expression) -> Code:
    """Compile a value to its text, as pieces with their origin."""
    value = constant(node)
    if value is not None:
        return known(origins.ours(value))
    if isinstance(node, nodes.Text):
        return _woven_text(node)
    if isinstance(node, nodes.Variable):
        name = node.name
        return Code(lambda frame: origin_of(frame, name))
    if isinstance(node, nodes.Index) and isinstance(node.of, nodes.Variable):
        holder = node.of.name
        return followed(expression(node), lambda frame, item: element_origin(frame, holder, item))
    return mapped(expression(node), origins.foreign)


def origin_of(frame: Frame, name: str) -> Woven:
    """Return the origin of a variable's text: foreign, unless it holds the value that was assigned as ours."""
    value = frame.variables.get(name, "")
    assigned, pieces = frame.origins.get(name, (None, ()))
    return pieces if assigned is value else origins.foreign(value)


def element_origin(frame: Frame, holder: str, found: Value) -> Woven:
    """Return an element of a list with its origin: ours if the whole list is ours."""
    pieces = origin_of(frame, holder)
    return origins.ours(found) if all(piece.is_ours for piece in pieces) else origins.foreign(found)


def _woven_text(node: nodes.Text) -> Code:
    codes = [_woven_part(part) for part in node.parts]
    if any(code.waits for code in codes):

        async def waiting(frame: Frame) -> Woven:
            return _within_limit(frame, [await evaluated(code, frame) for code in codes])

        return Code(waiting, waits=True)
    runs = [code.run for code in codes]
    return Code(lambda frame: _within_limit(frame, [run(frame) for run in runs]))


def _woven_part(part: macros.Part) -> Code:
    if isinstance(part, str | macros.Unknown):
        return known(origins.ours(part if isinstance(part, str) else part.text))
    if isinstance(part, macros.VariablePart):
        name = part.name
        return Code(lambda frame: origin_of(frame, name))
    return mapped(Code(part.macro.run, part.macro.waits), origins.foreign)


def _within_limit(frame: Frame, parts: list[Woven]) -> Woven:
    pieces = tuple([piece for part in parts for piece in part])
    if sum([len(piece.text) for piece in pieces]) > frame.settings.limits.string:
        raise ScriptError(reasons.string_too_long(frame.settings.limits.string))
    return pieces
