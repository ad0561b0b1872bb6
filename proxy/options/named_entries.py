"""Lists of named things, as `config show` writes stanzas: `( [ name = users uri = … ] … )`."""

from __future__ import annotations

from collections.abc import Iterator

from config import naming
from config.diagnostics import Span
from config.errors import not_a
from config.language.nodes import Dictionary, List, Option, String, Value, Word
from config.schema.readers import ReadContext, Unreadable


def named_entries(
    value: Value, reading: ReadContext, kind: str, example: str, where: str
) -> Iterator[tuple[Word | String, list[Option], Span]]:
    """Yield the name, the other options and the place of each. If an option is repeated, the last one counts.

    Raises:
        Unreadable: an item is not a dictionary, or has no name.
    """
    for item in value.items if isinstance(value, List) else (value,):
        if not isinstance(item, Dictionary):
            raise Unreadable(not_a(kind, reading.name, item.span, f"write {example}"))
        inside = {
            each.key.text.lower(): Option(Word(each.key.text, each.key.span), each.value, each.span)
            for each in item.entries
        }
        name = inside.pop("name", None)
        named = name.value if name is not None else None
        if not isinstance(named, Word | String):
            raise Unreadable(naming.option_is_required("name", where, item.span))
        yield named, [*inside.values()], item.span
