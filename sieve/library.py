"""How functions of the language are declared, and the immutable library of them.

`@sieve_function(…)` declares a Python function, whose signature is also the signature in scripts. A positional
parameter is an argument, optional if it has a default; a keyword-only parameter is a tag. The return type makes it an
action (`None`), a test (`bool`) or a function with a value. A plain function whose return type is `Soon[…]` returns a
coroutine if it has to wait. The docstring is the entry in the reference. If the first parameter is called `frame`, it
gets the run's `Frame`; a function without it cannot see or change the session.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType, ModuleType
from typing import Any, Literal, NewType

from sieve import manual
from sieve.message.addresses import ADDRESS_PARTS, AddressPart
from sieve.phases import Effect, Need, phases_providing
from sieve.run.patience import Soon
from sieve.run.values import FilePath, Hash, Lines, Nameserver, Pattern, Place, ReplyCode, Type, Value, VariableName


class Result(Enum):
    """What a function returns."""

    NOTHING = auto()
    TEST = auto()
    VALUE = auto()


class Counts(Enum):
    """The values that `:count` counts."""

    EVERY = auto()
    NOT_EMPTY = auto()
    KNOWN = auto()
    """Those that are not empty; without any value the test fails, whatever the key is."""


Ended = NewType("Ended", bool)
"""The return type of actions that may end the phase: whether this call ended it."""


_SOON = "Soon["
_RESULTS = {"None": Result.NOTHING, "Ended": Result.NOTHING, "bool": Result.TEST}
"""Results by annotation text; any other is a value."""

_TYPES: dict[str, Type] = {
    "str": Type.TEXT,
    "Lines": Type.LINES,
    "FilePath": Type.PATH,
    "int": Type.WHOLE,
    "float": Type.NUMBER,
    "ReplyCode": Type.REPLY_CODE,
    "Nameserver": Type.NAMESERVER,
    "tuple[str, ...]": Type.LIST,
    "bool": Type.FLAG,
    "Hash": Type.HASH,
    "Pattern": Type.PATTERN,
    "VariableName": Type.NAME,
    "Value": Type.ANY,
    "Place": Type.PLACE,
}
"""Types by annotation text, not resolved: the aliases of `sieve.run.values` are recursive."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument or tag of a function."""

    name: str
    type: Type
    required: bool
    variadic: bool
    choices: tuple[str, ...]
    """The allowed values, in lower case; empty if any value is allowed."""
    keyword: str
    """The name of the Python parameter; a Python keyword gets a trailing underscore."""


@dataclass(frozen=True, slots=True)
class SieveFunction:
    """A function of the language: its code and its declaration."""

    name: str
    run: Callable[..., Any]
    waits: bool
    """Whether `run` returns a coroutine, or may return one."""
    takes_frame: bool
    result: Result
    parameters: tuple[Parameter, ...]
    tags: Mapping[str, Parameter]
    address_part: bool
    """Whether it takes an address part tag."""
    phases: tuple[str, ...]
    needs: Need
    effect: Effect
    terminal: bool
    may_end: bool
    """Whether it is an action whose result tells if the phase ended."""
    first: bool
    """Whether an assignment takes only the first value, while a test compares all."""
    one_of: tuple[str, ...]
    """Tags; a call must have exactly one of them."""
    exclusive: tuple[tuple[str, ...], ...]
    """Groups of tags; a call may have one tag of each group."""
    bare: Mapping[str, tuple[str, ...]]
    """Tags whose value may be missing, with the tags next to which it is missing."""
    only_with: Mapping[str, str]
    """Tags that need another tag."""
    constants: frozenset[str]
    """Parameters that must be constant in standard Sieve."""
    checks: Mapping[str, Callable[[str], object]]
    """What checks the constants of a parameter at load; it raises ScriptError."""
    queries: bool
    """Whether a bare `$name` in its strings is for a database, and not a variable without its braces."""
    datasource: str
    """The parameter that names a datasource; empty: none does."""
    captures: bool
    """Whether its `:matches` and `:regex` set match variables in standard Sieve."""
    counts: Counts
    transparent: bool
    """Whether it returns its only argument unchanged, so that the compiler omits the call."""
    module: str | None
    """The validation module that it needs."""
    extension: str | None
    """The extension that a standard script must require."""
    documentation: str

    @property
    def family(self) -> str:
        """The first sentence of its module's docstring."""
        return (inspect.getdoc(inspect.getmodule(self.run)) or "").partition("\n")[0]

    @property
    def fewest(self) -> int:
        """The number of required arguments."""
        return sum(1 for parameter in self.parameters if parameter.required)

    @property
    def most(self) -> int | None:
        """The maximum number of arguments; None if unlimited."""
        return None if self.parameters and self.parameters[-1].variadic else len(self.parameters)


def sieve_function(
    *,
    name: str | None = None,
    needs: Need = Need.NOTHING,
    effect: Effect = Effect.NONE,
    terminal: bool = False,
    first: bool = False,
    one_of: tuple[str, ...] = (),
    exclusive: tuple[tuple[str, ...], ...] = (),
    bare: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    only_with: Mapping[str, str] = MappingProxyType({}),
    constants: tuple[str, ...] = (),
    checks: Mapping[str, Callable[[str], object]] = MappingProxyType({}),
    queries: bool = False,
    datasource: str = "",
    captures: bool = True,
    counts: Counts = Counts.EVERY,
    transparent: bool = False,
    module: str | None = None,
    dialect: Literal["sieve++", "rfc5228"] = "sieve++",
    extension: str | None = None,
    choices: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Callable[[Callable[..., Any]], SieveFunction]:
    """Declare a function of the language.

    Its phases come from the manual's table, or else are all phases that provide what it needs.

    Raises:
        TypeError: a parameter has a type that scripts cannot provide.
    """

    def declare(run: Callable[..., Any]) -> SieveFunction:
        own_name = name or run.__name__
        return SieveFunction(
            **_of_python(own_name, run, choices),
            phases=(manual.FUNCTIONS.get(own_name) if dialect == "sieve++" else None) or _phases(needs),
            needs=needs,
            effect=effect,
            terminal=terminal,
            first=first,
            one_of=one_of,
            exclusive=exclusive,
            bare=bare,
            only_with=only_with,
            constants=frozenset(constants),
            checks=checks,
            queries=queries,
            datasource=datasource,
            captures=captures,
            counts=counts,
            transparent=transparent,
            module=module,
            extension=extension,
        )

    return declare


def _of_python(name: str, run: Callable[..., Any], choices: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the fields of a `SieveFunction` that follow from the Python function itself."""
    signature = inspect.signature(run)
    annotation = str(signature.return_annotation)
    may_wait = annotation.startswith(_SOON)
    returned = annotation[len(_SOON) : -1] if may_wait else annotation
    named = [parameter for parameter in signature.parameters.values() if parameter.name != "frame"]
    keywords = [parameter for parameter in named if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    tags = {
        parameter.name.rstrip("_"): _parameter(name, parameter, choices)
        for parameter in keywords
        if parameter.annotation != "AddressPart"
    }
    return {
        "name": name,
        "run": run,
        "documentation": inspect.cleandoc(run.__doc__ or ""),
        "waits": inspect.iscoroutinefunction(run) or may_wait,
        "takes_frame": "frame" in signature.parameters,
        "result": _RESULTS.get(returned, Result.VALUE),
        "may_end": returned == "Ended",
        "parameters": tuple(_parameter(name, parameter, choices) for parameter in named if parameter not in keywords),
        "tags": MappingProxyType(tags),
        "address_part": len(tags) != len(keywords),
    }


def _phases(needs: Need) -> tuple[str, ...]:
    legal = phases_providing(needs)
    return tuple(phase.value for phase in type(next(iter(legal))) if phase in legal)


def _parameter(function: str, parameter: inspect.Parameter, choices: Mapping[str, tuple[str, ...]]) -> Parameter:
    """Return the declaration of one parameter."""
    kind = _TYPES.get(str(parameter.annotation).removesuffix(" | None"))
    if kind is None:
        message = f"{function}: no script can give {parameter.name}: {parameter.annotation}"
        raise TypeError(message)
    variadic = parameter.kind is inspect.Parameter.VAR_POSITIONAL
    required = parameter.default is inspect.Parameter.empty and not variadic
    return Parameter(
        parameter.name.rstrip("_"), kind, required, variadic, choices.get(parameter.name, ()), parameter.name
    )


@dataclass(frozen=True, slots=True)
class Library:
    """All functions that scripts can call, by name."""

    functions: Mapping[str, SieveFunction]

    def get(self, name: str) -> SieveFunction | None:
        """Return the function with this lower-case name."""
        return self.functions.get(name)

    def __iter__(self) -> Iterator[SieveFunction]:
        """Iterate over the functions in order of name."""
        return iter(sorted(self.functions.values(), key=lambda each: each.name))

    def extended(self, functions: Iterable[SieveFunction]) -> Library:
        """Return a library that has these functions as well.

        Raises:
            TypeError: two functions have one name.
        """
        found = dict(self.functions)
        for each in functions:
            _add(found, each)
        return Library(MappingProxyType(found))

    def names(self) -> frozenset[str]:
        """Return the names of all functions, including those that only the Momentum manual has."""
        return frozenset(self.functions) | frozenset(manual.FUNCTIONS)


def collect(package: ModuleType) -> Library:
    """Import all modules of `package` and return the library of their functions.

    Raises:
        TypeError: two functions have the same name.
    """
    functions: dict[str, SieveFunction] = {}
    for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(entry.name)
        for value in vars(module).values():
            if isinstance(value, SieveFunction):
                _add(functions, value)
    return Library(MappingProxyType(functions))


def _add(functions: dict[str, SieveFunction], function: SieveFunction) -> None:
    if functions.setdefault(function.name, function) is not function:
        message = f"two functions are called {function.name}"
        raise TypeError(message)


__all__ = [
    "ADDRESS_PARTS",
    "AddressPart",
    "Counts",
    "Effect",
    "Ended",
    "FilePath",
    "Hash",
    "Library",
    "Lines",
    "Nameserver",
    "Parameter",
    "Pattern",
    "Place",
    "ReplyCode",
    "Result",
    "SieveFunction",
    "Soon",
    "Value",
    "VariableName",
    "collect",
    "sieve_function",
]
