"""The character sets of mail, as a fixed table, so that a sender cannot choose any other Python codec.

Python's `decode` accepts any codec by name. Some codecs, such as punycode, take quadratic time and block all other
threads. Text is decoded in pieces, so that other threads can run in between.

Sources: the IANA registry of character sets, the WHATWG Encoding Standard's labels, and names that mail programs use.
"""

from __future__ import annotations

import codecs
import re
from functools import cache

PIECE = 1 << 13
"""Bytes decoded in one piece: under 1 ms for the slowest codec and the worst input."""

_LABELS = """
utf-8         utf8 unicode-1-1-utf-8 unicode-1-1-utf8 unicode11utf8 unicode20utf8 x-unicode20utf8 utf-8-bom utf8mb4
              iso-10646-utf-8
utf-7         utf7 unicode-1-1-utf-7 x-unicode-2-0-utf-7 csunicode11utf7
utf-16        utf16 unicode ucs-2 iso-10646-ucs-2 csunicode unicodefeff
utf-16-le     utf-16le utf16le unicodefffe
utf-16-be     utf-16be utf16be
utf-32        utf32 ucs-4 iso-10646-ucs-4 csucs4
utf-32-le     utf-32le
utf-32-be     utf-32be
ascii         us-ascii ansi_x3.4-1968 ansi_x3.4-1986 iso-ir-6 iso_646.irv:1991 iso646-us us ibm367 cp367 csascii
              646 7bit
cp1252        windows-1252 x-cp1252 ansi ms-ansi cswindows1252
iso-8859-1    latin1 latin-1 l1 iso8859-1 iso_8859-1 iso_8859-1:1987 iso-ir-100 ibm819 cp819 csisolatin1 iso88591
              8859_1 8bit binary
iso-8859-2    latin2 latin-2 l2 iso8859-2 iso_8859-2 iso_8859-2:1987 iso-ir-101 csisolatin2 iso88592
iso-8859-3    latin3 latin-3 l3 iso8859-3 iso_8859-3 iso_8859-3:1988 iso-ir-109 csisolatin3
iso-8859-4    latin4 latin-4 l4 iso8859-4 iso_8859-4 iso_8859-4:1988 iso-ir-110 csisolatin4
iso-8859-5    iso8859-5 iso_8859-5 iso_8859-5:1988 iso-ir-144 cyrillic csisolatincyrillic
iso-8859-6    iso8859-6 iso_8859-6 iso_8859-6:1987 iso-8859-6-i iso-8859-6-e iso-ir-127 ecma-114 asmo-708 arabic
              csisolatinarabic
iso-8859-7    iso8859-7 iso_8859-7 iso_8859-7:1987 iso-ir-126 elot_928 ecma-118 greek greek8 csisolatingreek
              sun_eu_greek
iso-8859-8    iso8859-8 iso_8859-8 iso_8859-8:1988 iso-8859-8-i iso-8859-8-e iso-ir-138 hebrew logical visual
              csisolatinhebrew
iso-8859-9    latin5 latin-5 l5 iso8859-9 iso_8859-9 iso_8859-9:1989 iso-ir-148 csisolatin5 turkish
iso-8859-10   latin6 latin-6 l6 iso8859-10 iso_8859-10:1992 iso-ir-157 csisolatin6
iso-8859-13   latin7 latin-7 l7 iso8859-13 csiso885913
iso-8859-14   latin8 latin-8 l8 iso8859-14 iso-ir-199 iso-celtic csiso885914
iso-8859-15   latin9 latin-9 l9 iso8859-15 iso_8859-15 csiso885915
iso-8859-16   latin10 l10 iso8859-16 iso-ir-226 csiso885916
cp1250        windows-1250 x-cp1250
cp1251        windows-1251 x-cp1251 win-1251
cp1253        windows-1253 x-cp1253
cp1254        windows-1254 x-cp1254
cp1255        windows-1255 x-cp1255
cp1256        windows-1256 x-cp1256
cp1257        windows-1257 x-cp1257
cp1258        windows-1258 x-cp1258
cp874         windows-874 dos-874
tis-620       tis620 tis620-0 tis620.2533 iso-8859-11 iso8859-11 iso-ir-166
koi8-r        koi8 koi koi8_r cskoi8r
koi8-u        koi8-ru koi8_u
koi8-t
mac-roman     macintosh mac x-mac-roman csmacintosh
mac-cyrillic  x-mac-cyrillic x-mac-ukrainian
mac-greek     x-mac-greek
mac-turkish   x-mac-turkish
mac-latin2    x-mac-ce x-mac-centraleurroman
cp437         ibm437 437 cspc8codepage437
cp737         ibm737
cp775         ibm775
cp850         ibm850 850 cspc850multilingual
cp852         ibm852 852
cp855         ibm855 855
cp857         ibm857 857
cp858         ibm858 ibm00858
cp860         ibm860
cp861         ibm861
cp862         ibm862 862 dos-862
cp863         ibm863
cp864         ibm864
cp865         ibm865
cp866         ibm866 866 csibm866
cp869         ibm869
gb18030       gb-18030 gb18030-2000
gbk           cp936 ms936 windows-936 x-gbk x-euc-cn
gb2312        gb_2312-80 gb_2312 gb2312-80 euc-cn euccn chinese csgb2312 csiso58gb231280 iso-ir-58 x-gb2312
hz            hz-gb-2312 hzgb
big5          big5-tw big-5 csbig5 cn-big5 x-x-big5
big5hkscs     big5-hkscs hkscs
cp950         windows-950 ms950
shift_jis     shift-jis sjis s_jis x-sjis ms_kanji csshiftjis
cp932         windows-31j windows-932 ms932 mskanji ms-kanji cswindows31j x-ms-cp932
euc_jp        euc-jp eucjp ujis u-jis x-euc-jp x-euc cseucpkdfmtjapanese
iso2022_jp_2  iso-2022-jp iso2022-jp csiso2022jp iso-2022-jp-1 iso-2022-jp-2 iso-2022-jp-3 iso-2022-jp-ext
              iso-2022-jp-2004 iso-2022-jp-ms cp50220 cp50221 x-iso-2022-jp jis
euc_kr        euc-kr euckr ks_c_5601 ks_c_5601-1987 ks_c_5601-1989 ks-c-5601 ksc5601 ksc_5601 ksx1001 ks_x_1001
              korean cseuckr iso-ir-149 csksc56011987
cp949         windows-949 ms949 uhc x-windows-949
johab         cp1361 ms1361
iso2022_kr    iso-2022-kr iso2022-kr csiso2022kr
viscii        csviscii
"""
"""One codec per line, then its names in the registry and in mail programs. Indented lines continue the line above."""

_SAME = re.compile(r"[^0-9a-z]+")
_ABSENT = frozenset({"viscii"})
"""Used in mail, but without a Python codec: decoded as UTF-8, like unknown names."""

_SHIFTED = frozenset({"hz", "iso2022_jp_2", "iso2022_kr", "utf-7"})
_WIDE = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})


_MARKED = {
    "utf-16": (codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE),
    "utf-32": (codecs.BOM_UTF32_BE, codecs.BOM_UTF32_LE),
}


def _plain(name: str) -> str:
    return _SAME.sub("-", name.lower()).strip("-")


@cache
def _codecs() -> dict[str, str]:
    """Return the codec for each name, with punctuation normalized."""
    found: dict[str, str] = {}
    for line in _LABELS.replace("\n  ", " ").split("\n"):
        if words := line.split():
            found.update(dict.fromkeys(map(_plain, words), words[0]))
    return found


def codec_of(name: str) -> str | None:
    """Return Python's name for a character set; None if mail does not use it or Python has no codec."""
    found = _codecs().get(_plain(name[:80]))
    return None if found in _ABSENT else found


def is_ascii_compatible(name: str) -> bool:
    """Tell whether octets below 0x80 are always ASCII in this set, so that ASCII text can be inserted."""
    found = codec_of(name)
    return found is not None and found not in _SHIFTED | _WIDE


def decoded(raw: bytes, name: str) -> str:
    """Decode text in a named character set. An unknown set is decoded as UTF-8; invalid octets become U+FFFD."""
    codec = codec_of(name) or "utf-8"
    table = _table(codec)
    if table is not None:
        return codecs.charmap_decode(raw, "replace", table)[0]
    if codec in _MARKED:
        raw, codec = _by_mark(raw, codec)
    text = _in_pieces(raw, codec)
    return _without_halves(text) if codec == "utf-7" else text


def _in_pieces(raw: bytes, codec: str) -> str:
    if len(raw) <= PIECE:
        return raw.decode(codec, "replace")
    decoder = codecs.getincrementaldecoder(codec)("replace")
    pieces = [decoder.decode(raw[at : at + PIECE]) for at in range(0, len(raw), PIECE)]
    return "".join([*pieces, decoder.decode(b"", final=True)])


def _without_halves(text: str) -> str:
    """Return text with U+FFFD for half a surrogate pair, which UTF-7 can hold and nothing can write again."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _by_mark(raw: bytes, codec: str) -> tuple[bytes, str]:
    """Return the text after its byte order mark and the matching codec; little-endian without a mark."""
    big, little = _MARKED[codec]
    if raw.startswith(big):
        return raw[len(big) :], f"{codec}-be"
    return raw.removeprefix(little), f"{codec}-le"


@cache
def _table(codec: str) -> str | None:
    """Return the 256 characters of a single-octet set; None for other sets.

    The table has a character for every octet. Python's own decoders run an error handler for each octet without one.
    """
    if codec in _SHIFTED | _WIDE or codec.startswith("utf"):
        return None
    every = [bytes([octet]).decode(codec, "replace") for octet in range(256)]
    one_each = bytes(range(256)).decode(codec, "replace")
    pairs = b"".join(bytes([first, second]) for first in range(0x81, 0xFF) for second in range(0x40, 0xFF))
    if len(one_each) != 256 or pairs.decode(codec, "replace") != "".join(every[octet] for octet in pairs):
        return None
    return "".join(every)
