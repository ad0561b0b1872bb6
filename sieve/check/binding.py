"""Bind the arguments of a call: find tags, assign arguments to parameters, separate the key of a comparison.

Any function with a value can be a test. The match type, the comparator and the last argument, which is the key, belong
to the comparison; the rest belongs to the function. A `Bound` is what the compiler needs to know about a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from config.diagnostics import Diagnostic, Span, has_errors
from sieve import errors
from sieve.library import Parameter, Result, SieveFunction
from sieve.message.addresses import ADDRESS_PARTS, AddressPart
from sieve.run.backtracking import SlowPattern, any_pattern
from sieve.run.matching import COMPARATORS, MATCH_TYPES, NUMERIC, RELATIONAL, RELATIONS, Comparison, MatchType
from sieve.run.patterns import PatternRefusedError
from sieve.run.values import COERCE, WANTS, ScriptError, Type, Value, as_list, as_text
from sieve.settings import ScriptSettings
from sieve.syntax import macros, nodes

_LITERAL = str | macros.Unknown


class CallRole(Enum):
    """How a script uses a call."""

    STATEMENT = auto()
    TEST = auto()
    VALUE = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A call with resolved names."""

    function: SieveFunction
    arguments: tuple[nodes.Expression, ...]
    tags: Mapping[str, nodes.Expression | None]
    part: AddressPart
    comparison: Comparison | None
    key: nodes.Expression | None


def constant(node: nodes.Expression) -> Value | None:
    """Return the value of a literal without substitutions; None for anything else."""
    if isinstance(node, nodes.Number):
        return node.value
    if isinstance(node, nodes.Text):
        literal = [part if isinstance(part, str) else part.text for part in node.parts if isinstance(part, _LITERAL)]
        return "".join(literal) if len(literal) == len(node.parts) else None
    if isinstance(node, nodes.ListOf):
        items = [constant(item) for item in node.items]
        return None if None in items else tuple(COERCE[Type.TEXT](item) for item in items)
    return None


def _is_spaced_index(node: nodes.Expression) -> bool:
    """Tell whether a space separates an index from its variable: it may be meant as a list argument."""
    return (
        isinstance(node, nodes.Index)
        and node.of.span.end < node.span.end
        and (node.span.source.text[node.of.span.end].isspace())
    )


@dataclass(slots=True)
class _Tags:
    """The tags of one call."""

    match: nodes.Tag | None = None
    relation: str = ""
    comparator: str = ""
    comparator_tag: nodes.Tag | None = None
    part: nodes.Tag | None = None
    own: dict[str, nodes.Expression | None] = field(default_factory=dict)


_NUMBERS = frozenset({Type.WHOLE, Type.NUMBER, Type.REPLY_CODE})


def _is_other_literal(parameter: Parameter, node: nodes.Argument) -> bool:
    """Tell whether standard Sieve refuses a literal: numbers and strings are different things (RFC 5228, 2.6)."""
    if isinstance(node, nodes.ListOf):
        return parameter.type is not Type.LIST or any(isinstance(each, nodes.Number) for each in node.items)
    if parameter.type in _NUMBERS:
        return not isinstance(node, nodes.Number)
    return isinstance(node, nodes.Number)


def _is_bare(call: nodes.Call, rest: list[nodes.Argument], beside: tuple[str, ...]) -> bool:
    """Tell whether a tag is used without its optional value: a key must be left for the test."""
    if any(isinstance(each, nodes.Tag) and each.name in beside for each in call.arguments):
        return True
    left = [each for each in rest if not isinstance(each, nodes.Tag)]
    return not rest or isinstance(rest[-1], nodes.Tag) or len(left) < 2


class Binder:
    """Binds the calls of one script and collects diagnostics."""

    def __init__(self, settings: ScriptSettings, diagnostics: list[Diagnostic], *, strict: bool = False) -> None:
        """Collect in `diagnostics`. Standard Sieve is `strict`: tags come first, and a number is not a string."""
        self._strict = strict
        self._default_comparator = settings.default_comparator
        self._limits = settings.limits
        self._diagnostics = diagnostics

    def bind(self, call: nodes.Call, function: SieveFunction, role: CallRole) -> Bound | None:
        """Return the bound call; None, with a diagnostic, if it is invalid."""
        before = len(self._diagnostics)
        if not self._fits_role(call, function, role):
            return None
        tags = _Tags()
        positional = self._take_tags(call, function, role, tags)
        if call.is_cut:
            self._excess(function, positional, key=self._compares(function, role, tags, len(positional)))
        if call.is_cut or has_errors(self._diagnostics[before:]):
            return None
        key = None
        if self._compares(function, role, tags, len(positional)):
            key = positional.pop() if len(positional) > function.fewest else None
            self._arity(call, function, positional, key_missing=key is None)
        else:
            self._arity(call, function, positional, key_missing=False)
        if has_errors(self._diagnostics[before:]):
            return None  # what else is wrong may only follow from that
        self._combinations(call, function, tags)
        self._types(function, positional, tags)
        if self._strict and isinstance(key, nodes.Number | nodes.ListOf):
            self._key(function, key)
        if has_errors(self._diagnostics[before:]):
            return None
        comparison = self._comparison(tags) if key is not None else None
        part = AddressPart(tags.part.name) if tags.part else AddressPart.ALL
        return Bound(function, tuple(positional), tags.own, part, comparison, key)

    def _fits_role(self, call: nodes.Call, function: SieveFunction, role: CallRole) -> bool:
        if function.result is Result.NOTHING and role is not CallRole.STATEMENT:
            wording = errors.not_a_test if role is CallRole.TEST else errors.not_a_value
            self._diagnostics.append(wording(call.name, call.name_span))
            return False
        is_test = function.result is Result.TEST or (self._strict and function.result is Result.VALUE)
        if is_test and role is CallRole.STATEMENT:
            if not call.has_block:
                self._diagnostics.append(errors.test_as_statement(call.name, call.name_span))
            return False
        return True

    def _combinations(self, call: nodes.Call, function: SieveFunction, tags: _Tags) -> None:
        """Check which tags are combined."""
        if function.one_of and sum(tag in tags.own for tag in function.one_of) != 1:
            self._diagnostics.append(errors.needs_one_tag(function.name, call.name_span, function.one_of))
        for group in function.exclusive:
            given = [tag for tag in tags.own if tag in group]
            if len(given) > 1:
                self._diagnostics.append(errors.second_tag(given[1], call.name_span, given[0]))
        for tag, other in function.only_with.items():
            if tag in tags.own and other not in tags.own:
                self._diagnostics.append(errors.lonely_tag(tag, call.name_span, other))

    def _compares(self, function: SieveFunction, role: CallRole, tags: _Tags, given: int) -> bool:
        """Tell whether the last argument is a key: if a value is tested, or if a test has one argument too many."""
        if role is not CallRole.TEST:
            return False
        if self._strict:
            return function.result is Result.VALUE
        if function.result is Result.VALUE or tags.match or tags.comparator:
            return True
        return function.most is not None and given == function.most + 1

    # ------------------------------------------------------------ tags

    def _take_tags(
        self, call: nodes.Call, function: SieveFunction, role: CallRole, tags: _Tags
    ) -> list[nodes.Expression]:
        """Put the tags and their values into `tags` and return the other arguments."""
        positional: list[nodes.Expression] = []
        before = len(self._diagnostics)
        rest = list(reversed(call.arguments))
        compared = role is CallRole.TEST and not (self._strict and function.result is Result.TEST)
        lacking = False
        while rest:
            argument = rest.pop()
            if not isinstance(argument, nodes.Tag):
                positional.append(argument)
                continue
            is_late = self._strict and bool(positional) and not has_errors(self._diagnostics[before:])
            found = len(self._diagnostics)
            if not self._known_tag(call, function, argument, rest, tags, compared=compared) and not lacking:
                self._unknown_tag(argument, function, compared=compared)
            lacking = has_errors(self._diagnostics[found:])
            if is_late and not lacking:
                self._diagnostics.append(errors.late_tag(argument.name, argument.span))
        return positional

    def _known_tag(
        self,
        call: nodes.Call,
        function: SieveFunction,
        tag: nodes.Tag,
        rest: list[nodes.Argument],
        tags: _Tags,
        *,
        compared: bool,
    ) -> bool:
        """Take a tag and its value from `rest`; tell whether the call can have the tag."""
        if tag.name in function.bare and _is_bare(call, rest, function.bare[tag.name]):
            tags.own[tag.name] = None
        elif tag.name in function.tags:
            self._own_tag(tag, function.tags[tag.name], rest, tags)
        elif tag.name in ADDRESS_PARTS and function.address_part:
            self._only_one(tag, tags.part)
            tags.part = tag
        else:
            return compared and self._comparing(tag, rest, tags)
        return True

    def _comparing(self, tag: nodes.Tag, rest: list[nodes.Argument], tags: _Tags) -> bool:
        """Take a tag of a comparison; tell whether it is one."""
        if tag.name in MATCH_TYPES:
            self._match_type(tag, rest, tags)
        elif tag.name == "comparator":
            self._comparator(tag, rest, tags)
        else:
            return False
        return True

    def _own_tag(self, tag: nodes.Tag, parameter: Parameter, rest: list[nodes.Argument], tags: _Tags) -> None:
        if self._strict and tag.name in tags.own:
            self._diagnostics.append(errors.repeated_tag(tag.name, tag.span))
        if parameter.type is Type.FLAG:
            tags.own[tag.name] = None
            return
        value = rest[-1] if rest else None
        if value is None or isinstance(value, nodes.Tag) or (self._strict and _is_other_literal(parameter, value)):
            self._diagnostics.append(errors.tag_needs_value(tag.name, tag.span, WANTS[parameter.type]))
            return
        tags.own[tag.name] = value
        rest.pop()

    def _match_type(self, tag: nodes.Tag, rest: list[nodes.Argument], tags: _Tags) -> None:
        self._only_one(tag, tags.match)
        tags.match = tag
        if MatchType(tag.name) not in RELATIONAL:
            return
        relation = rest.pop() if rest and isinstance(rest[-1], nodes.Text) else None
        if relation is None:
            self._diagnostics.append(errors.tag_needs_value(tag.name, tag.span, "a relation in quotes"))
        elif not isinstance(relation, nodes.Text) or relation.value.lower() not in RELATIONS:
            self._diagnostics.append(errors.unknown_relation(relation.span, RELATIONS))
        else:
            tags.relation = relation.value.lower()

    def _comparator(self, tag: nodes.Tag, rest: list[nodes.Argument], tags: _Tags) -> None:
        self._only_one(tag, tags.comparator_tag)
        tags.comparator_tag = tag
        name = rest.pop() if rest and isinstance(rest[-1], nodes.Text) else None
        if name is None:
            self._diagnostics.append(errors.tag_needs_value("comparator", tag.span, "the name of a comparator"))
        elif not isinstance(name, nodes.Text) or name.value.lower() not in COMPARATORS:
            self._diagnostics.append(errors.unknown_comparator(name.span, COMPARATORS))
        else:
            tags.comparator = name.value.lower()

    def _only_one(self, tag: nodes.Tag, first: nodes.Tag | None) -> None:
        if first is not None:
            self._diagnostics.append(errors.second_tag(tag.name, tag.span, first.name))

    def _unknown_tag(self, tag: nodes.Tag, function: SieveFunction, *, compared: bool) -> None:
        known = set(function.tags) | (ADDRESS_PARTS if function.address_part else frozenset())
        if compared:
            known |= {*MATCH_TYPES, "comparator"}
        self._diagnostics.append(errors.unknown_tag(function.name, tag.name, tag.span, known))

    def _comparison(self, tags: _Tags) -> Comparison:
        match = MatchType(tags.match.name) if tags.match else MatchType.IS
        comparator = tags.comparator or self._default_comparator
        if comparator == NUMERIC and match in {MatchType.CONTAINS, MatchType.MATCHES, MatchType.REGEX}:
            span = tags.match.span if tags.match else None
            if span is not None:
                self._diagnostics.append(errors.no_substrings(comparator, span, match.value))
        return Comparison(match, comparator, tags.relation, self._strict)

    # ------------------------------------------------------------ arguments

    def _arity(
        self, call: nodes.Call, function: SieveFunction, positional: list[nodes.Expression], *, key_missing: bool
    ) -> None:
        missing = [parameter.name for parameter in function.parameters[len(positional) :] if parameter.required]
        if key_missing:
            missing.append("a key to compare with")
        if missing:
            spaced = next((argument for argument in positional if _is_spaced_index(argument)), None)
            taken = spaced.span.text.partition("[")[0].strip() if spaced is not None else ""
            self._diagnostics.append(errors.too_few_arguments(function.name, call.name_span, missing, taken))
        else:
            self._excess(function, positional)

    def _excess(self, function: SieveFunction, positional: list[nodes.Expression], *, key: bool = False) -> None:
        """Check that there are not too many arguments. A `key` may be among them."""
        if function.most is not None and len(positional) > function.most + key:
            span = positional[function.most + key].span.to(positional[-1].span)
            self._diagnostics.append(errors.too_many_arguments(function.name, span, function.most))

    def _types(self, function: SieveFunction, positional: list[nodes.Expression], tags: _Tags) -> None:
        parameters = list(function.parameters)
        if parameters and parameters[-1].variadic:
            parameters += [parameters[-1]] * (len(positional) - len(parameters))
        pairs = list(zip(parameters, positional, strict=False))
        pairs += [(function.tags[name], value) for name, value in tags.own.items() if value is not None]
        for parameter, node in pairs:
            self._type(function, parameter, node)

    def _type(self, function: SieveFunction, parameter: Parameter, node: nodes.Expression) -> None:
        """Check a literal against its parameter. The value of a variable is only known at run time."""
        if parameter.type is Type.PLACE:
            if not isinstance(node, nodes.Variable | nodes.Index):
                self._diagnostics.append(errors.needs_a_variable(function.name, node.span))
            return
        literal_list = isinstance(node, nodes.ListOf)
        wrong = literal_list and parameter.type not in {Type.LIST, Type.ANY}
        wrong = wrong or (parameter.type is Type.HASH and isinstance(node, nodes.Text | nodes.Number))
        wrong = wrong or (self._strict and _is_other_literal(parameter, node))
        if wrong:
            self._wrong_type(function, parameter, node.span)
            return
        value = constant(node)
        if value is not None:
            self._constant(function, parameter, value, node.span)
        elif self._strict and parameter.name in function.constants:
            self._diagnostics.append(errors.not_constant(function.name, parameter.name, node.span))

    def _key(self, function: SieveFunction, key: nodes.Number | nodes.ListOf) -> None:
        """Check the key of a standard comparison, which is a string or a list of strings."""
        if isinstance(key, nodes.Number) or any(isinstance(each, nodes.Number) for each in key.items):
            self._diagnostics.append(errors.wrong_type(function.name, "the key", WANTS[Type.LIST], key.span))

    def _constant(self, function: SieveFunction, parameter: Parameter, value: Value, span: Span) -> None:
        """Convert a constant now, so that an error at run time becomes an error at load."""
        try:
            COERCE[parameter.type](value)
        except ScriptError as error:
            self._diagnostics.append(errors.bad_argument(function.name, parameter.name, error.reason, span))
            return
        if parameter.type is Type.PATTERN:
            self._pattern(as_text(value), span)
        if parameter.name in function.checks:
            self._checked(function, parameter, value, span)
        wrong = [choice for choice in as_list(value) if parameter.choices and choice.lower() not in parameter.choices]
        for choice in wrong:
            self._diagnostics.append(
                errors.not_a_choice(function.name, parameter.name, choice, span, parameter.choices)
            )

    def _checked(self, function: SieveFunction, parameter: Parameter, value: Value, span: Span) -> None:
        """Check a constant as the function would check it at run time."""
        for text in as_list(value):
            try:
                function.checks[parameter.name](text)
            except ScriptError as error:
                self._diagnostics.append(errors.bad_argument(function.name, parameter.name, error.reason, span))

    def _pattern(self, pattern: str, span: Span) -> None:
        try:
            compiled = any_pattern(pattern, self._limits)
        except PatternRefusedError as refused:
            self._diagnostics.append(errors.bad_pattern(span, str(refused)))
        else:
            if isinstance(compiled, SlowPattern):
                self._diagnostics.append(errors.slow_pattern(span, compiled.reason))

    def _wrong_type(self, function: SieveFunction, parameter: Parameter, span: Span) -> None:
        self._diagnostics.append(errors.wrong_type(function.name, parameter.name, WANTS[parameter.type], span))
