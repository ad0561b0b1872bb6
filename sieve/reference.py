"""The function reference, generated from the declarations: Markdown for all functions, plain text for one."""

from __future__ import annotations

from importlib import resources

from sieve import manual
from sieve.library import Library, Parameter, Result, SieveFunction
from sieve.phases import Effect, Need, Phase
from sieve.rfc5228.library import standard_sieve
from sieve.run.values import WANTS, Type

_EVERY = tuple(phase.value for phase in Phase)
_RESULTS = {Result.NOTHING: "an action", Result.TEST: "a test", Result.VALUE: "a value, also usable as a test"}


def synopsis(function: SieveFunction) -> str:
    """Return a function's synopsis: `ec_action { code } { reason } [ counter ]`."""
    pieces = [function.name]
    if function.address_part:
        pieces.append("[ :all | :localpart | :domain | :user | :detail ]")
    pieces += [_tag(name, tag) for name, tag in function.tags.items() if name not in function.one_of]
    if function.one_of:
        pieces.append("{ " + " | ".join(_written(name, function.tags[name]) for name in function.one_of) + " }")
    pieces += [_argument(parameter) for parameter in function.parameters]
    return " ".join(pieces)


def _tag(name: str, tag: Parameter) -> str:
    return f"[ {_written(name, tag)} ]"


def _written(name: str, tag: Parameter) -> str:
    return f":{name}" if tag.type is Type.FLAG else f":{name} {WANTS[tag.type].removeprefix('a ')}"


def _argument(parameter: Parameter) -> str:
    name = parameter.name.replace("_", "-")
    if parameter.variadic:
        return f"[ {name} ... ]"
    return f"{{ {name} }}" if parameter.required else f"[ {name} ]"


def legal_in(phases: tuple[str, ...]) -> str:
    """Return the phases in words."""
    return "every phase" if phases == _EVERY else ", ".join(phases)


def facts(function: SieveFunction) -> list[tuple[str, str]]:
    """Return the declared facts of a function, as pairs of label and text."""
    rows = [("Is", _RESULTS[function.result]), ("Legal in", legal_in(function.phases))]
    if function.terminal:
        rows.append(("Ends", "the phase; a terminal action next to it still runs"))
    if function.needs & (Need.HEADERS | Need.BODY):
        rows.append(("Needs", "the body" if Need.BODY in function.needs else "the header section"))
    if function.effect is not Effect.NONE:
        rows.append(("Changes", function.effect.value))
    if function.module is not None:
        rows.append(("Module", function.module))
    if function.extension is not None:
        rows.append(("Requires", function.extension))
    return rows


def explain(name: str, library: Library, *, of_momentum: bool = True) -> str | None:
    """Return the entry of a function as plain text; None if neither Ringback nor the Momentum manual has it."""
    lowered = name.lower()
    function = library.get(lowered)
    if function is None:
        phases = manual.FUNCTIONS.get(lowered) if of_momentum else None
        if phases is None:
            return None
        why = (
            f"Ringback does not have this Momentum function: {manual.REFUSED[lowered]}."
            if lowered in manual.REFUSED
            else "A Momentum function that Ringback does not have yet."
        )
        return f"{lowered}\n\n{why}\n\nLegal in  {legal_in(phases)}\n"
    listed = facts(function)
    width = max(len(fact) for fact, _ in listed)
    lines = [f"{fact:<{width}}  {words}" for fact, words in listed]
    return "\n".join([synopsis(function), "", function.documentation, "", *lines, ""])


def markdown(library: Library) -> str:
    """Return the language page: the guide, every function by family, and the Momentum functions that are missing."""
    guide = resources.files("sieve").joinpath("pages/language.md").read_text(encoding="utf-8")
    families: dict[str, list[SieveFunction]] = {}
    for function in library:
        families.setdefault(function.family, []).append(function)
    lines = [guide, "# Functions", "", "Every entry is generated from the function's declaration in the code.", ""]
    for family, members in sorted(families.items()):
        links = ", ".join(f"[`{member.name}`](#{member.name})" for member in members)
        lines.append(f"- {family} {links}")
    for _, members in sorted(families.items()):
        for function in members:
            lines += ["", f"## {function.name}", "", f"    {synopsis(function)}", "", function.documentation, ""]
            lines += [f"- {fact}: {words}" for fact, words in facts(function)]
    lines += ["", "# Commands and tests of standard Sieve", ""]
    for function in standard_sieve():
        lines += [f"### {function.name}", "", f"    {synopsis(function)}", "", function.documentation, ""]
        lines += [*(f"- {fact}: {words}" for fact, words in facts(function)), ""]
    missing = sorted(set(manual.FUNCTIONS) - set(library.functions) - set(manual.REFUSED))
    lines += ["# Not in Ringback", "", "Loading a script that uses one of these Momentum functions is an error.", ""]
    lines += [f"- `{name}`: {manual.REFUSED[name]}." for name in sorted(set(manual.REFUSED) - set(library.functions))]
    lines += [f"- `{name}` ({legal_in(manual.FUNCTIONS[name])})." for name in missing]
    return "\n".join(lines) + "\n"
