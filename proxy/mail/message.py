"""The message of a transaction: its header fields, and its body if policy needs it.

Unedited fields are relayed byte for byte, so that signatures stay valid (RFC 6376). The only SMTP here is dot-stuffing:
bytes are stored as received and returned unstuffed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from proxy.mail.fields import Field, ended, named, parse, taken_apart, written
from proxy.mail.folding import LONGEST_LINE, PREFERRED_LINE
from proxy.mail.stuffing import StuffedBody, stuffed, unstuffed
from sieve.run.threads import ThreadPool, in_thread

_INLINE = 32 * 1024
"""Largest header section, in octets, to parse or put together on the event loop. For longer ones there is a thread."""


class Message:
    """A message as scripts see it, including their edits. Owned by its transaction."""

    def __init__(self, head: bytes, content: StuffedBody | None = None) -> None:
        """Take the header section, unstuffed and without the empty line, and the rest if it was stored."""
        self._head = head
        self._content = content
        self._above: list[Field] = []
        """Fields that were added at the top before the header section was taken apart, as is usual."""
        self._fields: list[Field] | None = None
        self._by_name: dict[str, list[Field]] | None = None
        self._new_body: bytes | None = None
        self._raw: bytes | None = None
        self.head_changed = False
        self.results: Field | None = None
        """Our `Authentication-Results`; `proxy.mail.authentication_results` writes and replaces it."""

    # ------------------------------------------------------------ reading

    def keep(self, content: StuffedBody) -> None:
        """Take the rest of the message, if it was stored after the header section was read."""
        self._content = content

    def raw_fields(self) -> Sequence[Field]:
        """Return the fields as they are now. Edits change them."""
        return tuple(self._parsed())

    @property
    def head_octets(self) -> int:
        """Size of the header section as received."""
        return len(self._head)

    def has(self, name: str) -> bool:
        """Whether there is a field with this name (case-insensitive)."""
        if self._fields is None and b"\r\n%b:" % name.lower().encode() in (b"\r\n" + self._head).lower():
            return True  # as nearly always, and without taking the header section apart
        return bool(self._named(name))

    def _clearly_lacks(self, name: str) -> bool:
        """Whether a field's name is nowhere in the octets, so that they need not be taken apart to know."""
        return self._fields is None and not self._above and name.lower().encode() not in self._head.lower()

    def exceeds(self, octets: int, *names: str) -> bool:
        """Whether the fields with these names (case-insensitive) have more octets than this."""
        for name in names:
            for field in () if self._clearly_lacks(name) else self._named(name):
                octets -= len(field.raw)
                if octets < 0:
                    return True
        return False

    def header(self, name: str) -> Sequence[str]:
        """Return the unfolded body of each field with this name (case-insensitive), top to bottom."""
        return [field.body for field in self._named(name)]

    def fields(self) -> Sequence[tuple[str, str]]:
        """Return every field as name and unfolded body, top to bottom."""
        return [(field.name, field.body) for field in self._parsed() if field.name]

    @property
    def size(self) -> int:
        """Size in octets, with CRLF line endings and without dot-stuffing."""
        head = sum(len(field.raw) for field in self._parsed())
        if self._new_body is not None:
            return head + 2 + len(self._new_body)
        content = self._content
        return head + 2 if content is None else head + content.octets - content.stuffed_lines

    @property
    def has_body(self) -> bool:
        """Whether an empty line follows the header section."""
        return self._new_body is not None or (self._content is not None and self._content.octets > 0)

    @property
    def stuffed_lines(self) -> int:
        """Number of lines that start with a dot. Each is one octet longer on the wire (RFC 5321 section 4.5.2)."""
        head = sum(field.raw.startswith(b".") for field in self._parsed())
        if self._new_body is not None:
            return head + self._new_body.count(b"\n.") + self._new_body.startswith(b".")
        return head if self._content is None else head + self._content.stuffed_lines

    async def raw(self) -> bytes:
        """Return the whole message, with CRLF line endings and without dot-stuffing. Cached until the next edit."""
        if self._raw is None:
            long = self._content is not None and self._content.octets > _INLINE
            self._raw = await in_thread(ThreadPool.CONTENT, self._in_one_piece) if long else self._in_one_piece()
        return self._raw

    def _in_one_piece(self) -> bytes:
        head = self.head_bytes() if self.head_changed else ended(self._head)
        body = self._new_body if self._new_body is not None else self._content.body() if self._content else b""
        return head + b"\r\n" + body

    async def beginning(self, most: int) -> bytes:
        """Return the first octets of the message, at most `most`; `raw` returns all of it."""
        if self._raw is not None:
            return self._raw[:most]
        long = self._content is not None and self._content.octets > _INLINE
        return await in_thread(ThreadPool.CONTENT, lambda: self._begins(most)) if long else self._begins(most)

    def _begins(self, most: int) -> bytes:
        if self._new_body is not None or self._content is None:
            return self._in_one_piece()[:most]
        head, blocks, octets = self.head_bytes() if self.head_changed else ended(self._head), [], 0
        for block in self._content.blocks():
            blocks.append(block)
            octets += len(block)
            if octets >= most:
                break
        return (head + b"\r\n" + unstuffed(b"".join(blocks).removeprefix(b"\r\n")))[:most]

    def head_bytes(self) -> bytes:
        """Return the header section with all edits, without the empty line. The last line ends with CRLF."""
        if self._fields is None:
            return b"".join([field.raw for field in self._above]) + ended(self._head)
        return b"".join([field.raw for field in self._fields])

    async def stuffed_head(self) -> bytes:
        """Return the same, dot-stuffed. For 1 MiB of short fields this takes 20 ms, so a thread does it."""
        long = len(self._head) > _INLINE
        return await in_thread(ThreadPool.CONTENT, self._stuffed_head) if long else self._stuffed_head()

    def _stuffed_head(self) -> bytes:
        return stuffed(self.head_bytes())

    def close(self) -> None:
        """Release the stored content. The message cannot be read afterwards."""
        self._raw = None
        if self._content is not None:
            self._content.close()

    @property
    def is_whole(self) -> bool:
        """Whether the message has a body, not only a header section."""
        return self._content is not None or self._new_body is not None

    def forget(self) -> None:
        """Drop the cached copy of the whole message after policy has read it."""
        self._raw = None

    @property
    def new_body(self) -> bytes | None:
        """The replacement body, unstuffed; None if the body is not replaced."""
        return self._new_body

    async def take_apart(self) -> None:
        """Parse a long header section in a thread, so that it does not block the event loop."""
        if self._fields is None and len(self._head) > _INLINE:
            fields, by_name = await in_thread(ThreadPool.CONTENT, lambda: taken_apart(self._head))
            self._fields, self._by_name = [*self._above, *fields], None if self._above else by_name

    def _named(self, name: str) -> list[Field]:
        """Return the fields with this name (case-insensitive), top to bottom."""
        if self._by_name is None:
            self._by_name = named(self._parsed())
        return self._by_name.get(name.lower(), [])

    def _parsed(self) -> list[Field]:
        if self._fields is None:
            self._fields = [*self._above, *parse(self._head)]
        return self._fields

    # ------------------------------------------------------------ edits

    def add_header(self, name: str, body: str, *, folded: bool = False) -> Field:
        """Add a field above the others, and return it; if `folded`, in lines of the preferred length."""
        added = Field(name, written(name, body, PREFERRED_LINE if folded else LONGEST_LINE))
        if self._fields is None and self._head[:1] not in {b" ", b"\t"}:
            self._above.insert(0, added)
            self._edited()
            return added
        fields = self._parsed()
        # A line that begins with a blank would continue a field above it.
        at = next((at for at, each in enumerate(fields) if each.raw[:1] not in {b" ", b"\t"}), len(fields))
        fields.insert(at, added)
        if self._by_name is not None:
            self._by_name.setdefault(name.lower(), []).insert(0, added)
        self._edited()
        return added

    def append_header(self, name: str, body: str) -> None:
        """Add a field below the others."""
        added = Field(name, written(name, body))
        self._parsed().append(added)
        if self._by_name is not None:
            self._by_name.setdefault(name.lower(), []).append(added)
        self._edited()

    def delete_one_header(self, name: str, number: int) -> None:
        """Remove the `number`th field with this name, counted from 0 at the top."""
        self._remove(name, self._named(name)[number : number + 1])

    def delete_header(self, name: str) -> None:
        """Remove every field with this name (case-insensitive)."""
        self._remove(name, self._named(name))

    def delete_where(self, name: str, unwanted: Callable[[str], bool]) -> None:
        """Remove the fields with this name (case-insensitive) whose bodies are unwanted."""
        if self._clearly_lacks(name):
            return
        self._remove(name, [field for field in self._named(name) if unwanted(field.body)])

    def delete(self, field: Field) -> None:
        """Remove one field, if it is still there."""
        if self._fields is None:
            self._above = [each for each in self._above if each is not field]
            self._edited()
        else:
            self._remove(field.name, [field])

    def _remove(self, name: str, fields: Sequence[Field]) -> None:
        """Remove these fields, all of this name. The index stays: to make it again may take 15 ms."""
        gone = {id(field) for field in fields}
        if gone:
            self._fields = [field for field in self._parsed() if id(field) not in gone]
            if self._by_name is not None:
                self._by_name[name.lower()] = [field for field in self._named(name) if id(field) not in gone]
            self._edited()

    def change_header(self, name: str, number: int, body: str) -> None:
        """Replace the body of the `number`th field with this name, counted from 0 at the top."""
        same = self._named(name)
        if number < len(same):
            changed = same[number]
            was_folded = changed.raw.count(b"\n") > 1  # then its lines are kept short, too
            changed.raw = written(changed.name, body, PREFERRED_LINE if was_folded else LONGEST_LINE)
            self._edited()

    def mark(self) -> tuple[list[Field], bool]:
        """Return the present fields, for `go_back`."""
        return list(self._parsed()), self.head_changed

    def go_back(self, mark: tuple[list[Field], bool]) -> None:
        """Undo all additions and removals of fields since `mark`."""
        fields, changed = mark
        self._fields, self._by_name = list(fields), None
        self._edited()
        self.head_changed = changed

    def replace_body(self, body: bytes) -> None:
        """Replace everything after the header section's empty line.

        Every line break becomes CRLF, and the last line gets one: a bare CR or LF from a script could end the
        message for another server (SMTP smuggling).
        """
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        self._new_body = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
        self._raw = None

    def _edited(self) -> None:
        self.head_changed = True
        self._raw = None


def is_binary(parameters: Mapping[str, str | None]) -> bool:
    """Whether a message may contain any octets, so that it needs BDAT (RFC 3030 section 3)."""
    return (parameters.get("BODY") or "").upper() == "BINARYMIME"
