"""Parse a reply: its words in a normalised form, its codes, and whether it is about another address.

`classify` decides what they mean. Every step is one pass over the text, because a stranger wrote it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import re2

from config.base.domains import normal_domain
from proxy.callback.families import family_of

ASKED = "<recipient>"
"""Placeholder for the address that we asked about."""

Code = tuple[int, int]
"""Subject and detail of an enhanced status code (RFC 3463)."""

MEANINGLESS = frozenset({(0, 0), (2, 0), (3, 0), (5, 0)})
"""Other or undefined status: the words decide."""

_ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)")
_LINK = re2.compile(r"(?i)(?:https?|ftp)://\S+|\bwww\.\S+|\S+\.(?:html?|php|aspx?)\b\S*")
_ATOM = r"[^\s<>()\[\],;:\"'@]*"
_ADDRESS = rf"{_ATOM}[\pL\d]{_ATOM}@(?:[\pL\d_.-]+|\(\))"
_HOST = re2.compile(r"[A-Za-z\d-]+(?:\.[A-Za-z\d-]+)+\.[a-z]{2,}\b")
_ASKED_OR_ANOTHER = re2.compile(f"{ASKED}|{_ADDRESS}")
_ASKS_FOR = (
    r"contact|write|report|notify|help|assistance|support|questions?|complain\w*|request|admin(?:istrator)?|postmaster|"
    r"hotline|"
    r"(?:please|to) (?:e ?-?)?mail|please try <|moved to|new (?:e ?mail )?address|email us|"
    r"send (?:\S+ ){0,3}to|please forward (?:\S+ ){0,4}to|"
    r"kontakt\w*|wenden|contatt\w*|contacte[rz]?|escrib\w*|(?:обращайтесь|обратитесь|пишите)|联系|連絡|문의"
)
_TO_WRITE_TO = re2.compile(rf"(?i)(?:{_ASKS_FOR})[^.!?@]{{0,60}}$")
_POINTER = re2.compile(
    rf"(?i)(?:{_ASKS_FOR}|"
    r"\b(?:see|visit|refer|check|go to|consult|learn more|(?:more|further) (?:info\w*|details?)|siehe|voir|vedi))"
    "[^.!?;\\x00]*\\x00[^.!?;]*"
)
"""Advice where to read or write more, up to the end of the sentence; the link or address is a NUL."""

_ROLES = frozenset({"postmaster", "abuse", "support", "help", "helpdesk", "hostmaster", "noc", "delist", "security"})
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_NAMED = re2.compile(r"(?i)(?:<|\b(?:user|recipient|address|mailbox|account|unknown|such|invalid|name)s?\b[ :=]*)$")
"""Text that precedes an address which the reply is about, even if it is a role address."""

_LONGEST_LEAD = 120
"""Characters before an address that may say that it is a contact address."""


_NOT_COMPOSED = {
    "ł": "l",
    "Ł": "l",
    "ø": "o",
    "Ø": "o",
    "đ": "d",
    "Đ": "d",
    "\u0131": "i",
    "ß": "ss",
    "æ": "ae",
    "œ": "oe",
}
_APOSTROPHES = {0x2018: "'", 0x2019: "'", 0xB4: "'"}


def _without_accents() -> dict[int, str]:
    """Return the normalised form of each character: `é` is `e`, `ł` is `l`, `_` is a blank."""
    plain = {ord(each): to for each, to in _NOT_COMPOSED.items()}
    for number in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        base = unicodedata.normalize("NFD", chr(number))[0]
        if base.isascii():
            plain[number] = base
    return plain | _APOSTROPHES | {ord("_"): " ", ord("-"): " ", 0xA0: " "}


_PLAIN = _without_accents()


@dataclass(frozen=True, slots=True)
class Heard:
    """A parsed reply."""

    said: str
    """All its lines, unchanged except for the address that we asked about."""
    words: str
    """The same, normalised for the shipped rules: no links, contact addresses or accents; `_` and `-` are blanks."""
    links: str
    """The links, hosts, addresses and advice removed from `words`."""
    codes: Sequence[Code]
    """Its enhanced status codes whose class matches the reply's."""
    about_another: bool
    """Whether it is about an address other than the one that we asked about."""

    @property
    def subject(self) -> Code | None:
        """Return the most specific code, the first of several; None if no code has a meaning."""
        telling = [code for code in self.codes if code not in MEANINGLESS]
        return max(telling, key=_weight, default=None)


def _weight(code: Code) -> int:
    """Weigh a code: `x.1.0` says less than `x.1.1`. Security codes (x.7) never just refine another code."""
    return 1 if code[1] or code[0] == 7 else 0  # RFC 3463 section 3.8


def hear(code: int, lines: Sequence[bytes], asked: str) -> Heard:
    """Parse a reply whose lines contain `ASKED` in place of the address that we asked about."""
    said = words_of(lines)
    words, links = _split(said)
    return Heard(said, plain(words), links, codes_of(code, lines), _is_about_another(said, asked))


def words_of(lines: Sequence[bytes]) -> str:
    """Return the text of a reply as one line."""
    return " ".join(decoded(line).strip() for line in lines)


def decoded(line: bytes) -> str:
    """Return a line as text: UTF-8 (RFC 6531 section 3.5), else Latin-1, which many servers send unasked."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def plain(text: str) -> str:
    """Return a text in the normalised form that the shipped rules read."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_PLAIN).split())


def codes_of(code: int, lines: Sequence[bytes]) -> list[Code]:
    """Return the enhanced status codes whose class fits the reply's (RFC 2034, RFC 3463), in order.

    A code belongs at the start of the text; qmail and others put it elsewhere, as in `(#5.1.1)`. A full stop may
    follow. With more digits after that, it is a version or an IP address.
    """
    found = [each for line in lines for each in _ENHANCED.finditer(line.decode("ascii", "replace"))]
    return [(int(each[2]), int(each[3])) for each in found if int(each[1]) == code // 100]


def _split(said: str) -> tuple[str, str]:
    """Return a text without links, hosts, other addresses and related advice, and what was left out."""
    left_out: list[str] = []

    def mark(found: re.Match[str]) -> str:
        left_out.append(found[0])
        return "\0"

    def mark_host(found: re.Match[str]) -> str:
        left_out.append(found[0])
        return "()"

    def mark_address(found: re.Match[str]) -> str:
        return ASKED if found[0] == ASKED else mark(found)

    text = _ASKED_OR_ANOTHER.sub(mark_address, _LINK.sub(mark, said.replace("\0", " ")))
    text = _HOST.sub(mark_host, _POINTER.sub(" ", text))
    return text.replace("\0", " "), " ".join(left_out)


def _is_about_another(said: str, asked: str) -> bool:
    """Whether the first address in a text, contact addresses aside, is not the one that we asked about."""
    if not asked:
        return False
    text = _LINK.sub(" ", said)
    for found in _ASKED_OR_ANOTHER.finditer(text):
        if found[0] == ASKED:
            return False
        if not _is_contact(text[max(0, found.start() - _LONGEST_LEAD) : found.start()], found[0]):
            return not same_mailbox(found[0].replace("()", asked.rpartition("@")[2]), asked)
    return False


def _is_contact(lead: str, address: str) -> bool:
    role = address.partition("@")[0].lower()
    return (role in _ROLES and _NAMED.search(lead) is None) or _TO_WRITE_TO.search(lead) is not None


def same_mailbox(one: str, other: str) -> bool:
    """Whether two addresses are the same mailbox in any notation; BATV and SRS are undone, tags are ignored."""
    return bool(_forms(one) & _forms(other))


def _forms(address: str) -> set[tuple[str, str]]:
    """Return an address in normalised form, and the address that it was derived from."""
    local_part, _, domain = address.rpartition("@")
    if local_part.startswith('"'):  # RFC 5321 section 4.1.2: the quotes are not part of the name
        local_part = _QUOTED_PAIR.sub(r"\1", local_part.strip('"'))
    local_part, domain = local_part.lower(), _domain(domain)
    forms = {(local_part, domain)}
    kind, _, name = (family_of(local_part) or "").partition(":")
    if kind == "srs":
        domain, _, name = name.partition("=")
    if kind in {"batv", "srs", "tag"}:
        forms.add((name, domain))
        forms |= _forms(f"{name}@{domain}")
    return forms


def _domain(domain: str) -> str:
    return normal_domain(".".join(label for label in domain.split(".") if label))
