"""Checks for standard Sieve only: `require`, constant names, and what has no use in a proxy."""

from __future__ import annotations

import re

from config.diagnostics import Diagnostic, Span
from sieve.check.binding import Bound, CallRole, constant
from sieve.check.checker import Checked, Checker
from sieve.errors import unknown_function
from sieve.library import SieveFunction
from sieve.rfc5228 import errors
from sieve.rfc5228.conflicts import Conflicts
from sieve.rfc5228.extensions import (
    COMMANDS_ELSEWHERE,
    ENVELOPE_ELSEWHERE,
    GRAMMAR,
    OF_COMPARATOR,
    OF_TAG,
    SUPPORTED,
    TAGS_ELSEWHERE,
    WITH_FILEINTO,
    WITHOUT_MAILBOX,
    is_elsewhere,
)
from sieve.run.values import as_list
from sieve.syntax import nodes

_FIELD_NAME = re.compile(r"[!-9;-~]+")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

_ADDRESS_FIELDS = """
    from to cc bcc sender reply-to resent-from resent-to resent-cc resent-bcc resent-sender resent-reply-to return-path
    delivered-to x-original-to envelope-to x-envelope-to x-envelope-from apparently-to errors-to return-receipt-to
    disposition-notification-to mail-reply-to mail-followup-to list-post x-forwarded-to x-forwarded-for original-from
    original-recipient final-recipient x-sender x-receiver x-rcpt-to for-approval for-handling for-comment x-admin
    read-receipt-to x-confirm-reading-to return-receipt-requested registered-mail-reply-requested-by abuse-reports-to
    x-complaints-to x-report-abuse-to x-beenthere x-original-from
"""
ADDRESS_FIELDS = frozenset(_ADDRESS_FIELDS.split())
"""The fields that `address` reads (RFC 5228, 5.1)."""


class StandardChecker(Checker):
    """Checks one standard script."""

    _strict = True

    def run(self, script: nodes.Block) -> Checked:
        """Check the script and return the result, including diagnostics."""
        self._flow.shared = True  # matches and includes set variables without an assignment
        files = bool(self._settings.fileinto_header)
        self._supported = SUPPORTED | WITH_FILEINTO if files else SUPPORTED
        self._required: set[str] = set()
        self._without_use: dict[str, Span] = {}
        """The extensions that are required and have no use here."""
        self._used_elsewhere: dict[str, Span] = {}
        """The actions, tests and tags that have no use here."""
        self._missing: dict[str, Span] = {}
        """The extensions that are used and not required."""
        self._was_set: set[str] = set()
        self._first_calls: set[nodes.Call] = set()
        """The `require` statements at the beginning."""
        self._requirements(script)
        checked = super().run(script)
        Conflicts(self._report).follow(script, {})
        if self._missing:
            self._report(errors.not_required(self._missing))
        self._report_elsewhere()
        return checked

    # ------------------------------------------------------------ require

    def _requirements(self, script: nodes.Block) -> None:
        """Read the `require` statements, which come before all others (RFC 5228, 3.2)."""
        for statement in script.statements:
            if not (isinstance(statement, nodes.Call) and statement.name == "require"):
                break
            self._require(statement)
            self._first_calls.add(statement)

    def _require(self, statement: nodes.Call) -> None:
        if len(statement.arguments) != 1 or not isinstance(statement.arguments[0], nodes.Text | nodes.ListOf):
            self._report(errors.bad_require(statement.name_span))
            return
        argument = statement.arguments[0]
        for item in argument.items if isinstance(argument, nodes.ListOf) else (argument,):
            if not isinstance(item, nodes.Text):
                self._report(errors.bad_require(item.span))
            elif item.value in self._supported:
                self._required.add(item.value)
            elif is_elsewhere(item.value):
                self._without_use.setdefault(item.value, item.span)
            else:
                known = self._library.get(item.value)
                is_core = known is not None and known.extension is None
                self._report(errors.unknown_extension(item.value, item.span, self._supported, is_core=is_core))

    def _report_elsewhere(self) -> None:
        """Report what has no use here: one error if the script needs it, else a warning for each extension."""
        if self._used_elsewhere:
            first = next(iter(self._used_elsewhere.values()))
            if WITHOUT_MAILBOX.issuperset(self._used_elsewhere):
                self._report(errors.not_here(self._used_elsewhere, first))
            else:
                files = "fileinto" in self._used_elsewhere
                self._report(errors.no_mailboxes(self._used_elsewhere, first, files=files))
            return
        for extension, span in self._without_use.items():
            self._report(errors.of_no_use(extension, span))

    def _report(self, diagnostic: Diagnostic) -> None:
        self._found.diagnostics.append(diagnostic)

    # ------------------------------------------------------------ statements and tests

    def _statement(self, statement: nodes.Statement) -> bool:
        if isinstance(statement, nodes.Assign | nodes.Destructure):
            first = statement.target if isinstance(statement, nodes.Assign) else statement.targets[0]
            self._report(errors.no_variables_in_rfc(first.span))
            return False
        if isinstance(statement, nodes.If):
            return self._chain(statement)
        return super()._statement(statement)

    def _chain(self, statement: nodes.If) -> bool:
        """Check an `if`, without the branches that `ihave` rules out (RFC 5463, 4)."""
        if "ihave" not in self._required:
            return super()._statement(statement)
        ends: list[bool] = []
        for branch in statement.branches:
            holds = True if branch.test is None else self._is_available(branch.test)
            if holds is not False:
                ends.append(self._branch(branch))
            elif branch.test is not None:
                self._test(branch.test)
            if holds is True:
                return all(ends)
        return False

    def _is_available(self, test: nodes.Test) -> bool | None:
        """Return what a test says about extensions, and treat those that it finds as required; None if it depends."""
        if isinstance(test, nodes.Not):
            available_inside = self._is_available(test.test)
            return None if available_inside is None else not available_inside
        if isinstance(test, nodes.Junction):
            results: list[bool | None] = []
            for inner in test.tests:
                results.append(self._is_available(inner))
                if results[-1] is not test.every and results[-1] is not None:
                    return not test.every
            return None if None in results else test.every
        if not isinstance(test, nodes.Call) or test.name != "ihave" or len(test.arguments) != 1:
            return None
        argument = test.arguments[0]
        names = set(as_list(constant(argument) or ())) if not isinstance(argument, nodes.Tag) else set()
        available = names <= self._supported - GRAMMAR
        self._required |= names if available else set()
        return available

    def _test(self, test: nodes.Test) -> None:
        """Check a test. After `ihave` fails, the rest of an `allof` does not run (RFC 5463, 4)."""
        if isinstance(test, nodes.Junction) and "ihave" in self._required:
            for inner in test.tests:
                self._test(inner)
                if self._is_available(inner) is (not test.every):
                    return
            return
        super()._test(test)

    def _ender(self, statement: nodes.Statement) -> str:
        return statement.name if isinstance(statement, nodes.Call) and statement.name in {"stop", "return"} else ""

    # ------------------------------------------------------------ calls

    def _call(self, call: nodes.Call, role: CallRole) -> None:
        if call.name == "require" and role is CallRole.STATEMENT:
            if call not in self._first_calls:
                self._report(errors.late_require(call.name_span))
            return
        if not self._is_elsewhere(call):
            super()._call(call, role)

    def _is_elsewhere(self, call: nodes.Call) -> bool:
        """Note an action, test or tag that needs a mailbox."""
        known = self._library.get(call.name)
        if call.name == "fileinto" and not self._settings.fileinto_header:
            known = None
        if known is None and call.name in COMMANDS_ELSEWHERE:
            self._used_elsewhere.setdefault(call.name, call.name_span)
            return True
        tags = [tag for tag in call.arguments if isinstance(tag, nodes.Tag) and tag.name in TAGS_ELSEWHERE]
        strange = [tag for tag in tags if known is not None and tag.name not in known.tags]
        for tag in strange:
            self._used_elsewhere.setdefault(f":{tag.name}", tag.span)
        return bool(strange) or (call.name == "envelope" and self._is_part_elsewhere(call))

    def _is_part_elsewhere(self, call: nodes.Call) -> bool:
        """Note the parts of an envelope that extensions add."""
        values = [each for each in call.arguments if not isinstance(each, nodes.Tag)]
        names = as_list(constant(values[0]) or ()) if len(values) == 2 else ()
        found = [name.lower() for name in names if name.lower() in ENVELOPE_ELSEWHERE]
        for name in found:
            self._used_elsewhere.setdefault(f'envelope "{name}"', values[0].span)
        return bool(found)

    def _function(self, call: nodes.Call) -> SieveFunction | None:
        """Return the command or test that a call names; report extensions that are not required."""
        function = self._library.get(call.name)
        if function is None:
            self._report(unknown_function(call.name, call.name_span, self._library.functions))
            return None
        needed = {function.extension} if function.extension else set()
        needed |= {OF_TAG[tag.name] for tag in call.arguments if isinstance(tag, nodes.Tag) and tag.name in OF_TAG}
        if function.extension == "editheader":
            needed.discard("index")  # its tags are its own (RFC 5293, 5)
        if call.name == "global":
            needed.add("variables")  # RFC 6609, 3.4.1
        for extension in sorted(needed - self._required):
            self._missing.setdefault(extension, call.name_span)
        return super()._function(call)

    def _learnt(self, call: nodes.Call, bound: Bound) -> None:
        super()._learnt(call, bound)
        given = bound.tags.get("comparator")
        named = given.value.lower() if isinstance(given, nodes.Text) else ""
        extension = OF_COMPARATOR.get(bound.comparison.comparator if bound.comparison else named)
        if extension is not None and extension not in self._required:
            self._missing.setdefault(extension, call.name_span)
        if call.name in {"set", "global"}:
            self._names(call.name, bound.arguments[0])
        elif call.name == "address":
            self._address_fields(bound.arguments[0])
        elif call.name in {"header", "exists", "date"}:
            self._field_names(bound.arguments[0])

    def _names(self, command: str, node: nodes.Expression) -> None:
        """Check the names of variables: `global` comes before `set` (RFC 6609, 3.4.1), and is the only namespace."""
        for name in map(str.lower, as_list(constant(node) or ())):
            if command == "global" and name in self._was_set:
                self._report(errors.global_after_set(name, node.span))
            elif command == "global" and "." in name:
                self._report(errors.unknown_namespace(name, node.span))
            elif command == "set":
                self._was_set.add(name)
                namespace, dot, rest = name.partition(".")
                known = "include" in self._required and namespace == "global" and _IDENTIFIER.match(rest)
                if dot and not known:
                    self._report(errors.unknown_namespace(name, node.span))

    def _address_fields(self, node: nodes.Expression) -> None:
        for name in as_list(constant(node) or ()):
            if name.lower() not in ADDRESS_FIELDS:
                self._report(errors.not_an_address_field(name, node.span))

    def _field_names(self, node: nodes.Expression) -> None:
        for name in as_list(constant(node) or ()):
            if _FIELD_NAME.fullmatch(name) is None:
                self._report(errors.not_a_field_name(name, node.span))

    def _expression(self, node: nodes.Expression, *, warn: bool = True, query: bool = False) -> None:
        if isinstance(node, nodes.Variable | nodes.Index):
            self._report(errors.no_variables_in_rfc(node.span))
        else:
            super()._expression(node, warn=warn, query=query)
