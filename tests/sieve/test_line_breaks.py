"""Which octets have a line break that is not CRLF."""

from __future__ import annotations

import itertools
import re

from sieve.message.line_breaks import has_bare_line_break


def test_a_cr_or_lf_that_stands_alone_is_found_wherever_it_is() -> None:
    for length in range(7):
        for each in itertools.product(b"\r\nx", repeat=length):
            octets = bytes(each)
            alone = re.search(rb"\r(?!\n)|(?<!\r)\n", octets) is not None
            assert has_bare_line_break(octets) is alone, octets
