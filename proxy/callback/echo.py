"""Our own words in an exchanger's reply: they are removed before the reply is read.

We say the queried address, the sender and our name, and a stranger chose the address. An exchanger may echo them
quoted, escaped (backslash, percent, xtext, HTML), in other case, as A-labels or U-labels, cut off, or folded over
several reply lines. `unsaid` replaces them with neutral words, which is enough to judge an address. `foreign` also
drops every word that occurs in what we said. Decisions about an exchanger, and so about other people's mail, use that.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from html.entities import html5

import re2

from proxy.callback.families import mailbox_of
from proxy.callback.hearing import decoded, plain
from proxy.mail.replies import Reply

MOST_READ = 4096
"""Characters of a reply that are read. A reply may have 32 KiB, but the explanation comes first."""

ADDRESS, LOCAL_PART, NAME = "<recipient>", "recipient", "()"
"""Replacements for the address, for its local part alone, and for a domain, our name or our sender."""

_SHORTEST_CUT, _SHORTEST_LOOSE = 3, 8
"""Characters by which a cut-off local part is recognised: with a mark of the cut, and without one."""

_PLAIN = re.compile(
    r"an?|account|address|an[dy]|at|box|be|been|by|can|cannot|disabled|does|e?mail|exceeded|exists?|for|found"
    r"|full|has|here|in|inactive|invalid|is|it|known|local|mailbox|name|no|not|of|on|or|over|person|quota"
    r"|recipient|such|that|the|there|this|to|unknown|user|valid|was|with|you|your"
)
"""Local parts that are ordinary words of a refusal. Outside brackets and quotes, such a word is the exchanger's own:
`user unknown` means the same for user@example.com as for anybody. None of these words says anything about us.
"""

_QUOTE = (
    r"(?:\\?[\"'`\x{b4}\x{201c}\x{201d}\x{2018}\x{2019}]"
    r"|(?:[%+=]|%25|\\x)2[27]|\\04[27]|&quot;|&apos;|&#3[49];|&#x2[27];)"
)
_FOLD = r"(?: ?\n(?:[245][.\d]+)? ?)?"
"""Between two characters: a reply may continue on its next line, which may begin with the code again."""
_AT = r"(?:\\?@|(?:[%+=]|%25|\\x)40|\\100|&commat;|&#0*64;|&#x0*40;| ?[(\[] ?at ?[)\]] ?| at |[-_]at[-_])"
_CLOSED = rf"(?P<at>{_QUOTE}?{_AT})"
_ESCAPED_BEFORE = re.compile(r"(?:(?:[%+=]|%25|\\x)[0-9A-Fa-f]{2}|\\[0-7]{3}|&#?\w{1,8};)\Z")
_LONGER_BEFORE = re.compile(r"(?:\w|\w[.+-]|[+-])\Z")
_LONGER_DOMAIN, _ANOTHER = re.compile(r"\.[a-z0-9]"), f"another@{NAME}"
"""`<bob@example.com.other.example>`: after the dot, a capital letter would begin a sentence."""
_NAMED_BEFORE = re.compile(
    r"\b(?:user|recipient|mailbox|account|address|name|alias|person|rcpt|box)[ :=]{1,3}\Z", re.IGNORECASE
)
_NAMED_AFTER = re.compile(r" ?(?::|\.\.\.)")
"""How an exchanger repeats a mailbox that it has named already: `<bob@example.com>: User bob unknown`."""
_CODE_FIRST = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|\Z)")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Said:
    """What we said in one conversation."""

    address: str
    """The recipient that we asked about."""
    helo: str = ""
    senders: tuple[str, ...] = ()
    """Addresses that we gave in MAIL FROM, without the null sender."""


def unsaid(answer: Reply, said: Said | str) -> Reply:
    """Return a reply with neutral words in place of ours: spam@example.com says nothing about spam."""
    text = "\n".join(decoded(line) for line in answer.lines)
    return Reply(answer.code, tuple(each.encode() for each in unsaid_text(text, said).split("\n")))


def unsaid_text(text: str, said: Said | str) -> str:
    """The same for a text with lines separated by LF. Text beyond `MOST_READ` is dropped."""
    text = text[:MOST_READ]
    for echo in _echoes(_as_said(said)):
        text = echo.out_of(text)
    return text


def foreign(text: str, said: Said | str) -> str:
    """Return only the exchanger's own words: every word that is part of what we said is removed.

    A word that both sides use is lost. That costs little: the next question, about another address, shows it.
    """
    said = _as_said(said)
    ours = _words_said(said)
    together = "".join(ours)

    def kept(found: re.Match[str]) -> str:
        word = _folded(found[0])
        return NAME if word in ours or (len(word) > 2 and word in together) else found[0]

    text = unsaid_text(text, said)
    if "<>" in said.address:  # in quotes; cut off, it looks like the null sender
        text = text.replace("<>", NAME)
    return _WORD.sub(kept, text)


def _as_said(said: Said | str) -> Said:
    return said if isinstance(said, Said) else Said(said)


def _words_said(said: Said) -> tuple[str, ...]:
    """Return the words of what we said, in order; domains in both forms."""
    parts: list[str] = []
    for address in (said.address, *said.senders):
        local_part, _, domain = address.rpartition("@")
        parts += [_content(local_part), *_forms(domain)]
    return tuple(word for part in (*parts, said.helo) for word in _WORD.findall(_folded(part)))


def _folded(text: str) -> str:
    """Undo what exchangers change in a text: wide letters become narrow, accents go, case is folded."""
    if not text.isascii():
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return plain(text).casefold()


# ---------------------------------------------------------------- one thing that we said, and its echoes


@dataclass(frozen=True, slots=True)
class _Echo:
    """One of our words, and its replacement."""

    pattern: str
    hint: str
    """Letters that occur in every form of the echo: most replies are skipped without a search."""
    whole: str
    """Replaces the whole address, or a domain."""
    part: str = ""
    """Replaces a local part alone, or a cut-off address; empty for domains."""

    def out_of(self, text: str) -> str:
        if self.hint not in text.casefold().replace("\n", "").replace(" ", ""):
            return text
        founds = list(_compiled(self.pattern).finditer(text))
        whole = bool(self.part) and any(found["at"] is not None for found in founds)
        pieces, at = [], 0
        for found in founds:
            if found[0] and self._is_ours(text, found, whole=whole):  # `"` alone may match nothing
                pieces += [text[at : found.start()], self._instead(found, text[found.end() : found.end() + 2])]
                at = found.end()
        return "".join([*pieces, text[at:]])

    def _instead(self, found: re.Match[str], after: str) -> str:
        if not self.part:
            return self.whole
        if found["at"] is not None and found[0][-1] != "." and _LONGER_DOMAIN.match(after):  # another address
            return _ANOTHER
        return self.whole if found["at"] is not None else (found["quote"] or "") + self.part

    def _is_ours(self, text: str, found: re.Match[str], *, whole: bool) -> bool:
        """Whether a match is an echo of ours. `whole` says that the text contains the whole address somewhere."""
        before, after = text[max(0, found.start() - 8) : found.start()], text[found.end() : found.end() + 2]
        if not self.part:
            return not (_joins(before[-1:], "-_") or _joins(after[:1], "-_") or _goes_on(after))
        if _LONGER_BEFORE.search(before) and not _ESCAPED_BEFORE.search(before):
            return False
        if found["at"] is not None:
            return not (_joins(after[:1], "") or _goes_on(after))
        if _joins(after[:1], "") or re.match(r"@|[.+_-]\w", after):  # another person: alice.smith, alice@elsewhere
            return False
        if found["local"] is None and len(found[0]) < _SHORTEST_LOOSE:
            return _is_cut(found, before, text[found.end() : found.end() + 3])
        return _is_enclosed(found, before, after) or _is_loose_echo(text, found, whole=whole)


def _joins(char: str, others: str) -> bool:
    """Whether a character next to a word makes it part of a longer word."""
    return bool(char) and (char.isalnum() or char in others)


def _goes_on(after: str) -> bool:
    """Whether a domain continues: example.com.elsewhere.example is not ours."""
    return re.match(r"[.-][^\W_]", after) is not None


def _is_loose_echo(text: str, found: re.Match[str], *, whole: bool) -> bool:
    """Whether a local part among other words is ours, or a word that the exchanger might use itself."""
    start, word = found.start(), found[0].casefold()
    if _PLAIN.fullmatch(word) or ((start == 0 or text[start - 1] == "\n") and _CODE_FIRST.match(text, start)):
        return False
    if not (whole and word.isalpha()):
        return True
    return _NAMED_BEFORE.search(text[max(0, start - 24) : start]) is not None or bool(
        _NAMED_AFTER.match(text, found.end())
    )


def _is_cut(found: re.Match[str], before: str, after: str) -> bool:
    """Whether a few characters look like an address whose end was cut off: `<spam...`, `spam...>`, `<spam>`."""
    opened = found["quote"] is not None or before[-1:] in {"<", "("}
    return after.startswith(("..", "\u2026")) or (opened and after[:1] in {">", ")", "", "\n"})


def _is_enclosed(found: re.Match[str], before: str, after: str) -> bool:
    opened = found["quote"] is not None or before[-1:] in {"<", "(", "["} or before.endswith(("%3C", "+3C", "&lt;"))
    return opened and (after[:1] in set(">'\")]`%+&\\"))


@lru_cache(1024)
def _echoes(said: Said) -> tuple[_Echo, ...]:
    """Return what to look for, the longest first."""
    return (
        *_of_address(said.address, ADDRESS, LOCAL_PART),
        *(echo for sender in said.senders for echo in _of_address(sender, NAME, NAME)),
        *([_domain(said.helo)] if said.helo else []),
    )


def _of_address(address: str, whole: str, part: str) -> Iterator[_Echo]:
    local_part, _, domain = address.rpartition("@")
    if not domain or not _content(local_part):
        return
    content = _content(local_part)
    forms = _forms(domain)
    for name in dict.fromkeys((content, mailbox_of(content))):
        hint = _hint(name[:_SHORTEST_CUT])
        for form in forms[1:]:
            yield _Echo(
                f"(?P<quote>{_QUOTE})?{_flat(name)}(?P<local>){_FOLD}{_CLOSED}{_FOLD}{_flat(form)}", hint, whole, part
            )
        yield _Echo(f"(?P<quote>{_QUOTE})?{_cut(name, forms[0])}", hint, whole, part)
    for form in (*forms, *_parents(forms[0])):
        yield _domain(form)


def _domain(name: str) -> _Echo:
    return _Echo(_flat(name), _hint(name), NAME)


def _hint(text: str) -> str:
    """Return the first run of letters and digits of a text; every echo contains it unchanged."""
    found = re.search(r"[A-Za-z0-9]+", text)
    return found[0].casefold() if found is not None else ""


def _cut(local_part: str, domain: str) -> str:
    """Return a pattern for an address that also matches it with its end cut off."""
    units = [_forms_of(char) for char in local_part]
    units[-1] = f"{units[-1]}(?P<local>)"
    rest = "".join(f"(?:{_FOLD}{each}" for each in [*units[_SHORTEST_CUT:], _CLOSED])
    rest += "".join(f"(?:{_FOLD}{_forms_of(char)}" for char in domain)
    return _FOLD.join(units[:_SHORTEST_CUT]) + rest + ")?" * (len(units[_SHORTEST_CUT:]) + 1 + len(domain))


def _flat(text: str) -> str:
    return _FOLD.join(_forms_of(char) for char in text)


@lru_cache(512)
def _forms_of(char: str) -> str:
    """Return a pattern for all forms in which one character may be echoed."""
    if char.isascii() and char.isalnum():
        return char
    octets = char.encode("utf-8", "surrogateescape")
    plain = r"[\s_+]+" if char == " " else r"\x{fffd}" if "\udc80" <= char <= "\udcff" else re2.escape(char)
    forms = [rf"\\?{plain}"]
    forms += ["".join(rf"(?:[%+=]|%25|\\x){each:02x}" for each in octets), "".join(rf"\\{each:03o}" for each in octets)]
    forms += [rf"&#0*{ord(char)};", rf"&#x0*{ord(char):x};", *(f"&{name}" for name in _entities().get(char, ()))]
    if char in '"\\':
        forms.append("")  # dropped together with the quotes
    if not char.isascii():
        forms += [rf"[?\x{{fffd}}]{{1,{len(octets)}}}", rf"\\u{ord(char):04x}"]
        forms += [re2.escape(form) for form in _readings(char, octets)]
    return f"(?:{'|'.join(forms)})"


def _readings(char: str, octets: bytes) -> Iterable[str]:
    """Yield a character decomposed, as a plain letter, and as its UTF-8 bytes read as Latin-1."""
    if not "\udc80" <= char <= "\udcff":
        yield unicodedata.normalize("NFD", char)
        if (letter := _folded(char)) != char and letter:
            yield letter
    yield octets.decode("latin-1")


@cache
def _entities() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, char in html5.items():
        if name.endswith(";"):
            found[char] = (*found.get(char, ()), name)
    return found


def _content(local_part: str) -> str:
    """Return a local part without quotes and quoted pairs (RFC 5321 section 4.1.2)."""
    if len(local_part) > 1 and local_part[0] == local_part[-1] == '"':
        return re.sub(r"\\(.)", r"\1", local_part[1:-1], flags=re.DOTALL)
    return local_part


def _forms(domain: str) -> list[str]:
    """Return a domain as we said it and, if different, in U-labels."""
    forms = [domain] if domain else []
    if "xn--" in domain.lower():
        import idna  # noqa: PLC0415 — 12 ms, and few domains need it

        try:
            forms.append(idna.decode(domain))
        except idna.IDNAError:
            return forms
    return forms


def _parents(domain: str) -> list[str]:
    """Return the parent domains of a domain, without the top-level domain."""
    labels = domain.split(".")
    return [".".join(labels[at:]) for at in range(1, len(labels) - 1)] if not domain.startswith("[") else []


@lru_cache(1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    options = re2.Options()
    options.case_sensitive, options.log_errors = False, False
    found: re.Pattern[str] = re2.compile(pattern, options)
    return found
