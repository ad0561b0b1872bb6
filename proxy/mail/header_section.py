"""Where an arriving header section ends. Its fields are cut apart elsewhere (`proxy.mail.fields`)."""

from __future__ import annotations

import re

from proxy.mail.fields import LONGEST_NAME, NAME

# No possessive quantifier here: before Python 3.11.5 they match wrongly (cpython issue 106052). Instead, nothing after
# _REST may fail, or it would match beyond its line; and no group repeats without a bound, because `re` keeps a note of
# every turn.

_REST = rb"[^\r]*(?:\r\n|\r[\x00-\xff]*?\r\n)"
"""The rest of a line. Only CRLF ends it: BINARYMIME may hold a bare CR or LF."""

_LINES_AT_ONCE = 256
"""Lines of one match, which keeps a note of each until it ends."""

_ON_THE_WIRE = rb"(?:\.|(?!\.))"
"""Dot-stuffing, or the dot that unstuffing takes from a line that was not stuffed."""

_NAME_BEGINS = re.compile(rb"%b%b" % (_ON_THE_WIRE, NAME))
_NAME_OR_BLANK_BEGINS = re.compile(rb"%b(?:%b|[ \t])" % (_ON_THE_WIRE, NAME))
_FIRST_FIELD = re.compile(rb"%b%b%b" % (_ON_THE_WIRE, NAME, _REST))
_FURTHER_LINES = re.compile(rb"(?:%b(?:%b|[ \t])%b){1,%d}" % (_ON_THE_WIRE, NAME, _REST, _LINES_AT_ONCE))
_WHOLE_SECTION = re.compile(
    rb"(?!%b>{0,%d}From )%b%b[^\r]*\r\n(?:%b(?:%b|[ \t])[^\r]*\r\n){0,%d}(?=\r\n)"
    % (_ON_THE_WIRE, LONGEST_NAME, _ON_THE_WIRE, NAME, _ON_THE_WIRE, NAME, _LINES_AT_ONCE)
)
"""A header section of fields up to its empty line, which came in one piece, as almost all do."""
_MAILBOX_LINE = re.compile(rb"(%b)(>{0,%d}From %b)" % (_ON_THE_WIRE, LONGEST_NAME, _REST))
_MAILBOX_BEGINS = re.compile(rb"%b>{0,%d}From " % (_ON_THE_WIRE, LONGEST_NAME))
_BLANK_BEGINS = re.compile(rb"%b[ \t]" % _ON_THE_WIRE)


class HeaderSection:
    """Finds the end of an arriving header section: the empty line, or the first line that is not a field.

    It takes octets from the wire and scans each once. Mailbox lines (`From `, `>From `) before the first field
    become fields, as in Postfix. A line with a leading blank before the first field ends the header section:
    otherwise it would continue the Received field that Ringback adds.
    """

    __slots__ = ("_begun", "_octets", "_passed", "_searched", "ended")

    def __init__(self) -> None:
        """Start before the first octet."""
        self._octets: bytes | bytearray = b""
        self._passed = 0
        """Length of the complete lines known to belong to the header section."""
        self._searched = 0
        self._begun = False
        """Whether a field was seen, so that a line with a leading blank continues it."""
        self.ended = False

    def __len__(self) -> int:
        return len(self._octets)

    @property
    def octets(self) -> int:
        """Length of the header section without the empty line; until its end is known, all octets received."""
        return self._passed if self.ended else len(self._octets)

    def feed(self, block: bytes) -> None:
        """Take what came."""
        if not self._octets and (found := _WHOLE_SECTION.match(block)) is not None:
            self._octets, self._passed, self._begun, self.ended = block, found.end(), True, True
            return
        if not isinstance(self._octets, bytearray):
            self._octets = bytearray(self._octets)
        self._octets += block
        if self.ended:
            return
        # The previous block may have ended with a CR.
        whole = self._octets.rfind(b"\r\n", max(self._searched - 1, 0)) + 2
        self._searched = len(self._octets)
        ended = whole > 1 and self._pass_lines(whole)
        long = len(self._octets) - self._passed > LONGEST_NAME + 2
        self.ended = ended or (long and not self._goes_on() and (self._begun or not self._is_mailbox_line()))

    def _pass_lines(self, whole: int) -> bool:
        """Skip header lines that end before `whole`. Return whether another line follows them."""
        if not self._begun:
            self._begin(whole)
        if self._begun:
            while (found := _FURTHER_LINES.match(self._octets, self._passed, whole)) is not None:
                self._passed = found.end()
        return self._passed < whole

    def _begin(self, whole: int) -> None:
        """Skip mailbox lines and the first field."""
        while (found := _MAILBOX_LINE.match(self._octets, self._passed, whole)) is not None:
            self._passed = found.end()
        if (found := _FIRST_FIELD.match(self._octets, self._passed, whole)) is not None:
            self._begun, self._passed = True, found.end()

    def _goes_on(self) -> bool:
        """Whether the incomplete last line looks like part of the header section."""
        begins = _NAME_OR_BLANK_BEGINS if self._begun else _NAME_BEGINS
        return begins.match(self._octets, self._passed) is not None

    def _is_mailbox_line(self) -> bool:
        """Whether the incomplete last line looks like a mailbox `From ` line."""
        return _MAILBOX_BEGINS.match(self._octets, self._passed) is not None

    def part(self) -> tuple[bytes, bytes]:
        """Return the header section and the octets after it, and clear the buffer.

        The second part starts with the empty line, unless the sender omitted it. The empty line is added if the first
        line of the body starts with a blank, because that line would continue a field that Ringback adds.
        """
        if isinstance(self._octets, bytes):  # nothing came after the block that ended it
            whole, self._octets = self._octets, b""
            return whole[: self._passed], whole[self._passed :]
        end = self._passed if self.ended or not self._goes_on() else len(self._octets)
        with memoryview(self._octets) as octets:
            head, rest = bytes(octets[:end]), bytes(octets[end:])
        self._octets = b""
        if _BLANK_BEGINS.match(rest) is not None:
            rest = b"\r\n" + rest
        return _with_mailbox_lines(head), rest


def _with_mailbox_lines(head: bytes) -> bytes:
    """Turn the leading mailbox lines into X-Mailbox-Line fields, as Postfix does."""
    fields, at = bytearray(), 0
    while (found := _MAILBOX_LINE.match(head, at)) is not None:
        fields += b"X-Mailbox-Line: " + found[2]
        at = found.end()
    return bytes(fields) + head[at:] if fields else head
