"""What we said is no word of the exchanger's, however it echoes it; and what it says itself stays."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.callback.classify import Classifier, Words
from proxy.callback.echo import MOST_READ, Said, foreign, unsaid, unsaid_text
from proxy.callback.verdict import Status
from proxy.mail.replies import Reply

QUOTED = '"x spamhaus"@victim.example'
"""The address of the report: its local part names a block list."""

FAIL = (Status.FAIL, "no_such_user")
CLASSIFIER = Classifier()

FORMS = {
    "quoted": r'550 5.1.1 <"x spamhaus"@victim.example> User unknown',
    "unquoted": "550 5.1.1 <x spamhaus@victim.example> User unknown",
    "other case": "550 5.1.1 <X SPAMHAUS@Victim.Example> User unknown",
    "escaped blank": r"550 5.1.1 <x\ spamhaus@victim.example> User unknown",
    "escaped quotes": r"550 5.1.1 <\"x spamhaus\"@victim.example> User unknown",
    "escaped at": r"550 5.1.1 <x\ spamhaus\@victim.example> User unknown",
    "percent": "550 5.1.1 <%22x%20spamhaus%22@victim.example> User unknown",
    "percent, all of it": "550 5.1.1 %3C%22x%20spamhaus%22%40victim%2Eexample%3E User unknown",
    "plus for the blank": "550 5.1.1 see http://help.example/?rcpt=x+spamhaus%40victim.example User unknown",
    "xtext": "550 5.1.1 <+22x+20spamhaus+22@victim.example> User unknown",
    "quoted-printable": "550 5.1.1 =?utf-8?q?=22x_spamhaus=22=40victim=2Eexample?= User unknown",
    "HTML": "550 5.1.1 &lt;&quot;x spamhaus&quot;@victim.example&gt; User unknown",
    "HTML by number": "550 5.1.1 &#60;&#34;x&#32;spamhaus&#x22;&#64;victim&#46;example&#62; User unknown",
    "hexadecimal": r"550 5.1.1 <\x22x\x20spamhaus\x22@victim.example> User unknown",
    "octal": r"550 5.1.1 <\042x\040spamhaus\042@victim.example> User unknown",
    "no blank": "550 5.1.1 <x_spamhaus@victim.example> User unknown",
    "at in words": "550 5.1.1 x spamhaus at victim.example: User unknown",
    "at in brackets": "550 5.1.1 x spamhaus (at) victim.example: User unknown",
    "at with hyphens": "550 5.1.1 x spamhaus-at-victim.example: User unknown",
    "percent, twice": "550 5.1.1 %2522x%2520spamhaus%2522%2540victim.example User unknown",
    "without brackets": "550 5.1.1 x spamhaus@victim.example... User unknown",
    "local part in quotes": "550 5.1.1 no such user 'x spamhaus' here",
    "local part alone": "550 5.1.1 x spamhaus: User unknown",
    "local part in the sentence": "550 5.1.1 User x spamhaus unknown",
    "both": "550 5.1.1 <x spamhaus@victim.example>: User x spamhaus unknown in victim.example",
    "cut in the domain": '550 5.1.1 <"x spamhaus"@vict... User unknown',
    "cut in the local part": "550 5.1.1 <x spamhau... User unknown",
    "folded before the domain": "550-5.1.1 <x spamhaus@\n550 5.1.1 victim.example> User unknown",
    "folded at the blank": "550-5.1.1 <x\n550 5.1.1 spamhaus@victim.example> User unknown",
    "folded within a word": "550-5.1.1 <x spamhaus@vict\n550 im.example> User unknown",
    "twice": "550-5.1.1 <x spamhaus@victim.example>\n550 5.1.1 User unknown: x spamhaus@victim.example",
}
"""How exchangers say that there is no such address."""


def reply_of(text: str) -> Reply:
    lines = text.split("\n")
    return Reply(int(lines[0][:3]), tuple(line[4:].encode() for line in lines))


@pytest.mark.parametrize("form", FORMS)
def test_an_echoed_address_is_no_word_of_the_exchangers(form: str) -> None:
    answer = reply_of(FORMS[form])
    assert CLASSIFIER.recipient(answer, QUOTED) == FAIL
    assert not CLASSIFIER.is_block(" ".join(line.decode() for line in answer.lines), QUOTED)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        pytest.param("bob@spamhaus-x.example", "5.1.1 User unknown at spamhaus-x.example", id="domain"),
        pytest.param("bob@mail.spamhaus-x.example", "5.1.1 User unknown at spamhaus-x.example", id="domain-above"),
        pytest.param("bob@spamhaus-x.example", "5.1.1 User unknown at mx.SPAMHAUS-X.example", id="host-below"),
        pytest.param(
            "bob@xn--spamhaus-bcher-psb.example", "5.1.1 User unknown at spamhaus-b\u00fccher.example", id="u"
        ),
        pytest.param(
            "bob@xn--spamhaus-bcher-psb.example", "5.1.1 User unknown at spamhaus-b??cher.example", id="ascii"
        ),
        pytest.param("bob+spamhaus@v.example", "5.1.1 <bob@v.example> User unknown", id="tag-removed"),
        pytest.param("b\u00fc.spamhaus@v.example", "5.1.1 <b??.spamhaus@v.example> User unknown", id="not-ascii"),
        pytest.param("b\u00fc.spamhaus@v.example", "5.1.1 <b%C3%BC.spamhaus@v.example> User unknown", id="octets"),
        pytest.param(
            "b\u00fc.spamhaus@v.example", "5.1.1 <b\u00c3\u00bc.spamhaus@v.example> User unknown", id="latin-1"
        ),
        pytest.param("\uff53pamhaus@v.example", "5.1.1 <spamhaus@v.example> User unknown", id="compatible"),
        pytest.param("sp\u00e1mhaus@v.example", "5.1.1 <spamhaus@v.example> User unknown", id="without-marks"),
        pytest.param('"a\\"spamhaus"@v.example', '5.1.1 <a"spamhaus@v.example> User unknown', id="quoted-pair"),
        pytest.param("spamhaus@v.example", "5.1.1 spamhaus User unknown", id="alone"),
        pytest.param("sp\\amhaus@v.example", "5.1.1 User unknown <sp\\amhaus@v.example>", id="backslash"),
    ],
)
def test_every_part_of_the_address_may_be_echoed(address: str, text: str) -> None:
    assert CLASSIFIER.recipient(Reply(550, (text.encode(),)), address) == FAIL
    assert not CLASSIFIER.is_block(text, address)


@pytest.mark.parametrize(
    "text",
    [
        "5.1.1 mx.spamhaus.test: user unknown",
        "5.1.1 user unknown (MX.Spamhaus.test)",
        "5.1.1 <by rbl@probe.test> unknown user",
    ],
    ids=["our-name", "our-name-in-capitals", "our-sender"],
)
def test_our_name_and_our_sender_are_no_words_of_the_exchangers_either(text: str) -> None:
    said = Said("bob@v.example", "mx.spamhaus.test", ("rbl@probe.test",))
    assert CLASSIFIER.recipient(Reply(550, (text.encode(),)), said) == FAIL
    assert not CLASSIFIER.is_block(text, said)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        pytest.param("ip.blocked@v.example", "mailbox ip.blocked unknown", id="two-words"),
        pytest.param("x-blocked@v.example", "IP blocked", id="our-half-of-a-phrase"),
        pytest.param('"block.list"@v.example', "blocklist unknown", id="put-together"),
        pytest.param("xspamhausx@v.example", "no spamhaus here", id="a-piece"),
        pytest.param("\uff53\uff50\u00e1mhaus@v.example", "no spamhaus here", id="other-letters"),
        pytest.param("your.ip.has.been.blocked@v.example", "your IP has been blocked", id="a-sentence"),
    ],
)
def test_no_word_that_we_said_opens_a_breaker_wherever_it_stands(address: str, words: str) -> None:
    assert CLASSIFIER.is_block(words.replace("unknown", ""), "bob@v.example") or "unknown" in words
    assert not CLASSIFIER.is_block(words, address)


def test_an_operators_rule_reads_the_exchangers_own_words_alone() -> None:
    classifier = Classifier(Words("blocked go away\n"))
    assert classifier.is_block("5.7.1 go away", "bob@v.example")
    assert not classifier.is_block("5.1.1 <go away@v.example> unknown", '"go away"@v.example')


def test_a_null_sender_that_the_address_names_is_none_that_the_exchanger_refuses() -> None:
    answer = Reply(550, (b"5.1.1 null sender: user unknown",))
    assert CLASSIFIER.is_about_null_sender(answer, "bob@v.example")
    assert not CLASSIFIER.is_about_null_sender(answer, '"null sender"@v.example')


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("bob@v.example", "5.7.1 <bob@v.example>: blocked by spamhaus"),
        ("user@v.example", "5.1.1 user unknown"),
        ("unknown@v.example", "5.1.1 user unknown"),
        ("a@v.example", "5.1.1 a mailbox of that name is not here"),
        ("5.1.1@v.example", "5.1.1 no such user"),
        ("bob@v.example", "5.1.1 bob.smith is unknown, and malice"),
        ("bob@v.example", "5.1.1 <bob@elsewhere.example> is unknown"),
        ("blocked@v.example", "5.1.1 <blocked@v.example> does not exist or blocked or full"),
    ],
    ids=["policy", "user", "unknown", "article", "code", "longer", "elsewhere", "ordinary-word"],
)
def test_the_exchangers_own_words_stay(address: str, text: str) -> None:
    assert unsaid_text(text, address) == text.replace(f"<{address}>", "<<recipient>>")


def test_the_end_of_a_reply_beyond_the_bound_is_not_read() -> None:
    assert unsaid(Reply(550, (b"x" * MOST_READ + b" spamhaus",)), "bob@v.example").lines == (b"x" * MOST_READ,)


@given(st.text(max_size=80), st.text(max_size=70), st.text(max_size=40))
def test_any_address_and_any_text_have_an_answer(text: str, local_part: str, domain: str) -> None:
    said = Said(f"{local_part}@{domain}", "ringback.test", ("probe@ringback.test",))
    assert "spamhaus" not in foreign(f"{text} spamhaus", Said("spamhaus@v.example"))
    assert isinstance(foreign(text, said), str)


@given(st.binary(max_size=60), st.text('abc"\\ @%+.\udcff\u00fc', max_size=30))
def test_octets_that_are_no_text_are_read_all_the_same(line: bytes, local_part: str) -> None:
    assert unsaid(Reply(550, (line.replace(b"\n", b""),)), f"{local_part}@v.example").code == 550


def test_a_long_address_and_a_long_reply_cost_little() -> None:
    def seconds(length: int) -> float:
        address = f"{'%-' * (length // 2)}@{'a.' * (length // 2)}test"
        unsaid_text("a", address)  # compiled once
        took = []
        for _ in range(5):
            began = time.thread_time()
            unsaid_text("%-" * (MOST_READ // 2), address)
            took.append(time.thread_time() - began)
        return min(took)

    assert seconds(240) < max(0.005, 6 * seconds(60))


@pytest.mark.parametrize(
    ("address", "echo"),
    [
        ("sp\u00e4mhaus@victim.example", "spamhaus@victim.example"),
        ("sp\u00e5mhaus@victim.example", "SPAMHAUS@VICTIM.EXAMPLE"),
        ("\uff53\uff50\uff41\uff4d\uff48\uff41\uff55\uff53@victim.example", "spamhaus@victim.example"),
        ("\U0001d4c8orbs@victim.example", "sorbs"),
        ("bob@sp\u00e4mhaus.example", "bob@spamhaus.example"),
        ("bob@xn--spmhaus-6wa.example", "bob in spamhaus.example"),
    ],
    ids=["mark", "ring", "wide", "script", "domain", "a-label"],
)
def test_a_letter_that_the_exchanger_simplifies_opens_no_breaker(address: str, echo: str) -> None:
    assert not CLASSIFIER.is_block(f"5.1.1 {echo}: User unknown", Said(address))


@pytest.mark.parametrize("echo", ["<>  refused", '"<> ..." rejected'], ids=["cut", "dots"])
def test_brackets_within_an_address_are_no_null_sender(echo: str) -> None:
    answer = Reply(550, (f"5.7.1 {echo}".encode(),))
    assert not CLASSIFIER.is_about_null_sender(answer, Said('"<> rejected"@victim.example'))
    assert CLASSIFIER.is_about_null_sender(Reply(550, (b"5.7.1 <> refused",)), Said("bob@victim.example"))


@pytest.mark.parametrize("longer", ["user@example.com.elsewhere.example", "user@example.com-elsewhere.example"])
def test_a_longer_domain_is_not_the_one_that_was_asked_about(longer: str) -> None:
    said = Said("user@example.com")
    assert unsaid_text(f"<{longer}>: User unknown", said) == f"<{longer}>: User unknown"
    assert CLASSIFIER.recipient(Reply(550, (f"5.1.1 <{longer}>: User unknown".encode(),)), said)[0] is Status.ERROR
