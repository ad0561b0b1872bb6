"""What a text lists, and what a line of an rbldnsd file means (rbldnsd(8))."""

from __future__ import annotations

import ipaddress
import random
from pathlib import Path

import pytest

from proxy.lists.networks import EXCLUDED, Gathered, NotANetwork, blocks, read_rbldnsd
from proxy.lists.table import NOT_LISTED, Table, packed


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("127.0.0", "127.0.0.0/24"),
        ("127.16/12", "127.16.0.0/12"),
        ("127/24", "127.0.0.0/24"),
        ("10/8", "10.0.0.0/8"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
    ],
)
def test_a_network_is_read_as_people_write_it(text: str, network: str) -> None:
    ((bits, start, length),) = blocks(text)
    kind = ipaddress.IPv4Network if bits == 32 else ipaddress.IPv6Network
    assert str(kind((start, length))) == network


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("127.0.0.1-255", "127.0.0.1", "127.0.0.255"),
        ("127-127.0.0", None, None),
        ("127.16.0.0-127.31.255.255", "127.16.0.0", "127.31.255.255"),
        ("127.16.0-127.31.255", "127.16.0.0", "127.31.255.255"),
        ("127.16-127.31", "127.16.0.0", "127.31.255.255"),
        ("127.16-31", "127.16.0.0", "127.31.255.255"),
        ("127.16.0-31", "127.16.0.0", "127.16.31.255"),
        ("0.0.0.0-255.255.255.255", "0.0.0.0", "255.255.255.255"),
        ("10-12", "10.0.0.0", "12.255.255.255"),
        ("192.0.2.3-192.0.2.9", "192.0.2.3", "192.0.2.9"),
    ],
)
def test_a_range_is_the_blocks_that_make_it_up(text: str, first: str | None, last: str | None) -> None:
    if first is None:
        with pytest.raises(NotANetwork):
            blocks(text)
        return
    assert last is not None
    wanted = list(ipaddress.summarize_address_range(ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)))
    assert [ipaddress.ip_network((start, length)) for _, start, length in blocks(text)] == wanted


@pytest.mark.parametrize(
    "text",
    ["", "x", "10", "256.0.0.1", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/x", "1.2.3.4.5", "192.0.2.9-192.0.2.3",
     "1.2-1.2.3.4", "2001:db8::/129", "2001::db8::1", "10.0.0.1-", "-10.0.0.1", "mail.example.com", "٣.0.0.1"],
)  # fmt: skip
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(NotANetwork):
        blocks(text)


FILE = """\
# a comment
; another

$SOA 3600 ns.example. admin.example. 0 600 300 86400 300
$TTL 300
$1 See http://bl.example/
:127.0.0.2:Listed $
192.0.2.1
192.0.2.2 # with a comment
192.0.2.3:127.0.0.3:Own text: $
192.0.2.4 only text: with a colon
192.0.2.5:7:short
192.0.2.6 :127.0.0.6:
192.0.2.7 $1$ for details
192.0.2.8 :9
!192.0.2.100-110
192.0.2.0/24:127.0.0.24:the network
:127.0.0.40:Another default
198.51.100.0/24
2001:db8::1 :127.0.0.61:six
::1
nonsense here
10.0.0.1garbage
$DATASET generic proxies
www A 127.0.0.8
203.0.113.1 A 127.0.0.8
$DATASET ip4set others
203.0.113.9
"""


def read(text: str, want: str) -> tuple[Table, Gathered]:
    gathered = Gathered()
    read_rbldnsd(text.splitlines(), want, gathered)
    kept = Gathered(values=gathered.values, skipped=gathered.skipped, first_skipped=gathered.first_skipped)
    return Table(memoryview(b"".join(packed(gathered)))), kept


def asked(table: Table, address: str) -> str | None:
    number = table.find(address)
    return None if number == NOT_LISTED else table.value(number)


@pytest.mark.parametrize(
    ("address", "a", "text"),
    [
        ("192.0.2.1", "127.0.0.2", "Listed $"),
        ("192.0.2.2", "127.0.0.2", "Listed $"),
        ("192.0.2.3", "127.0.0.3", "Own text: $"),
        ("192.0.2.4", "127.0.0.2", "only text: with a colon"),
        ("192.0.2.5", "127.0.0.7", "short"),
        ("192.0.2.6", "127.0.0.6", ""),
        ("192.0.2.7", "127.0.0.2", "See http://bl.example/$ for details"),
        ("192.0.2.8", "127.0.0.9", "Listed $"),
        ("192.0.2.50", "127.0.0.24", "the network"),
        ("192.0.2.99", "127.0.0.24", "the network"),
        ("192.0.2.100", None, None),
        ("192.0.2.110", None, None),
        ("192.0.2.111", "127.0.0.24", "the network"),
        ("198.51.100.255", "127.0.0.40", "Another default"),
        ("2001:db8::1", "127.0.0.61", "six"),
        ("::1", "127.0.0.40", "Another default"),
        ("::2", None, None),
        ("203.0.113.1", None, None),
        ("203.0.113.9", "127.0.0.2", ""),
        ("203.0.113.8", None, None),
    ],
)
def test_a_line_of_an_rbldnsd_file_lists(address: str, a: str | None, text: str | None) -> None:
    for want, wanted in (("a", a), ("txt", text)):
        assert asked(read(FILE, want)[0], address) == wanted


def test_lines_that_are_no_networks_are_counted() -> None:
    _, gathered = read(FILE, "a")
    assert gathered.skipped == 2
    assert gathered.first_skipped == "line 22: nonsense here"


def test_a_base_template_frames_the_texts_and_a_range_may_be_too_large() -> None:
    lines = ["$= Blocked: $= (see the site)", "$MAXRANGE4 /16", "10.0.0.0/8", "10.1.0.0/16 spam", "10.2.0.0/16 =as is"]
    table, gathered = read("\n".join(lines), "txt")
    assert asked(table, "10.1.0.1") == "Blocked: spam (see the site)"
    assert asked(table, "10.2.0.1") == "as is"
    assert asked(table, "10.3.0.1") is None
    assert gathered.skipped == 1


def test_an_exclusion_wins_over_the_same_network_whatever_the_order() -> None:
    for lines in (["10.0.0.0/8", "!10.0.0.0/8", "10.1.0.0/16"], ["10.1.0.0/16", "!10.0.0.0/8", "10.0.0.0/8"]):
        table, _ = read("\n".join(lines), "a")
        assert asked(table, "10.2.0.1") is None
        assert asked(table, "10.1.0.1") == "127.0.0.2"


def test_the_most_specific_of_random_networks_decides_as_a_search_of_all_says() -> None:
    chance = random.Random(7)  # noqa: S311 - not for secrets
    for bits in (32, 128):
        gathered, networks = Gathered(), []
        for n in range(300):
            length = chance.choice((0, 8, 9, 12, 16, 24, 31, 32, 64, 65, 100, 128)[: 8 if bits == 32 else 12])
            start = (chance.getrandbits(16) << (bits - 16)) | chance.getrandbits(8) << (bits - 40 if bits > 40 else 0)
            network = ipaddress.ip_network((start >> (bits - length) << (bits - length), length))
            number = EXCLUDED if n % 7 == 0 else gathered.number(f"v{n}")
            gathered.add(str(network), number)
            networks.append((network, number, f"v{n}"))
        table = Table(memoryview(b"".join(packed(gathered))))
        for network, _, _ in networks:
            for each in (network[0], network[-1], network[0] - 1 if int(network[0]) else network[0]):
                holding = [one for one in networks if each in one[0]]
                best = max(holding, key=lambda one: (one[0].prefixlen, one[1]), default=None)
                wanted = None if best is None or best[1] == EXCLUDED else best[2]
                assert asked(table, str(each)) == wanted


def test_neighbours_of_a_list_without_values_join(tmp_path: Path) -> None:
    gathered = Gathered(keeps_values=False)
    for n in range(256):
        gathered.add(f"192.0.2.{n}", gathered.number(str(n)))
    pieces = packed(gathered)
    path = tmp_path / "x"
    path.write_bytes(b"".join(pieces))
    table = Table.mapped(path)
    assert table.about["columns"][5] == 1
    assert table.networks == 256
    assert asked(table, "192.0.2.200") == ""
    assert asked(table, "192.0.3.0") is None


@pytest.mark.parametrize(
    "line", [f"192.0.2.1 :{'9' * 5000}:x", f"$MAXRANGE4 {'9' * 5000}", f"$MAXRANGE4 /{'9' * 5000}"]
)
def test_a_number_of_thousands_of_digits_does_not_stop_the_reading(line: str) -> None:
    gathered = Gathered()
    read_rbldnsd([line, "192.0.2.2"], "a", gathered)
    assert len(gathered) in {1, 2}
