"""From what the history has to the steps of a ladder: who spoke, who decided, by which line, and when."""

from __future__ import annotations

from pathlib import Path

from proxy.history.addresses import Addresses
from proxy.history.search import search
from proxy.page.drawing import ladder_of
from proxy.page.ladder import Ladder, Step
from proxy.page.visible import LONGEST, visible
from tests.support.histories import CLIENT, NOW, line, mail_lines, refusal_line, session_line, settings, write
from tests.support.pages import HOSTILE

SESSION = "1p5qk300000-1f3a"
SCRIPT = """# policy
($rv) = smtp_callback_verify "${from}";
if ec_test :is "${rv}" "fail" {
  ec_action 550 "from address not reachable";
}
"""
CONVERSATION = """\
2 S: 220 mx.sender.test ESMTP
2 C: EHLO mx.example.com
3 S: 250-mx.sender.test
3 S: 250-SIZE 1000
3 S: 250 8BITMIME
3 C: MAIL FROM:<>
4 S: 250 Ok
4 C: RCPT TO:<a@sender.test>
9 S: 550 5.1.1 no such user"""


def probe(at: float, **fields: object) -> list[bytes]:
    told = {
        "session": SESSION, "address": "a@sender.test", "sender": "", "status": "fail", "reason": "no_such_user",
        "stage": "rcpt", "code": 550, "text": "550 5.1.1 no such user", "exchanger": "mx.sender.test",
        "ip": "192.0.2.9", "tls": False, "seconds": 0.012,
    }  # fmt: skip
    return [line("probe", at, **{**told, **fields})]


def drawn(folder: Path, *lines: bytes) -> Ladder:
    write(settings(folder), *lines)
    (story,) = search(folder, SESSION, Addresses()).stories
    return ladder_of([story])


def words(ladder: Ladder) -> list[str]:
    return [f"{each.of}>{each.to or 'note'} {each.title or each.text}" for each in ladder.steps]


def refused(by: str, said: str = "550 from address not reachable") -> list[bytes]:
    about = {"session": SESSION, **CLIENT, "command": "MAIL", "argument": "FROM:<a@sender.test>"}
    fate = {"phase": "mailfrom", "disposition": "refused", "decided_by": by, "code": 550, "enhanced": "",
            "reply": said, "upstream": "", "taken_by": "", "queue_id": ""}  # fmt: skip
    called = {"callback_status": "fail", "callback_reason": "no_such_user", "callback_text": "550 5.1.1 no such user"}
    lines = ["S: 220 mx ESMTP", "C: EHLO client.test", "S: 250-mx", "S: 250 SIZE 0", "C: MAIL FROM:<a@sender.test>",
             f"S: {said}"]  # fmt: skip
    return [
        line("dialogue", NOW + 0.5, session=SESSION, client=CLIENT["client"], lines=lines),
        line("refused", NOW + 0.5, **about, **fate, **called),
    ]


def test_each_step_of_a_dialogue_has_its_milliseconds(tmp_path: Path) -> None:
    lines = ["S: 220 mx ESMTP", "C: EHLO client.test", "S: 250-mx", "S: 250 SIZE 0", "C: MAIL FROM:<a@sender.test>",
             "S: 550 no"]  # fmt: skip
    _, refusal = refused("protocol", "550 no")
    told = line("dialogue", NOW + 0.5, session=SESSION, client=CLIENT["client"], lines=lines,
                milliseconds=[1, 20, 21, 21, 400, 500])  # fmt: skip
    ladder = drawn(tmp_path, told, refusal, session_line(SESSION, seconds=0.6))
    assert [(each.text or each.title, each.ms, each.gap) for each in ladder.steps] == [
        ("connects", 0, 0),
        ("220 mx ESMTP", 1, 0),
        ("EHLO client.test", 20, 0),
        ("250 mx · SIZE 0", 21, 0),
        ("MAIL FROM:<a@sender.test>", 400, 379),
        (ladder.steps[5].text, 500, 100),
        ("550 no", 500, 0),
        ("QUIT", 600, 100),
    ]


def test_who_sent_a_message_is_a_note(tmp_path: Path) -> None:
    results = "spf=fail (domain of sender.test does not designate 192.0.2.1) smtp.mailfrom=a@sender.test"
    about = {"session": SESSION, "transaction": f"{SESSION}.1", "results": results}
    ladder = drawn(tmp_path, line("authentication", NOW + 0.3, **about), *refused("spf_v1"), session_line(SESSION))
    (note,) = [each for each in ladder.steps if each.title == "Who sent it"]
    assert (note.of, note.to, note.text) == ("ringback", "", results)
    assert "ringback>note spf_v1 decided" in words(ladder)


def test_a_listing_is_a_note(tmp_path: Path) -> None:
    about = {"zone": "bl.test", "listed": "192.0.2.1", "answer": "127.0.0.2", "weight": 3, "allow": False}
    listed = line("dnsbl_listed", NOW + 0.3, session=SESSION, **about)
    ladder = drawn(tmp_path, listed, *refused("dnsbl"), session_line(SESSION))
    (note,) = [each for each in ladder.steps if each.title == "Blocklist"]
    assert (note.of, note.to, note.text) == ("ringback", "", "bl.test lists 192.0.2.1 (127.0.0.2, weight 3)")


def test_a_refusal_shows_the_dialogue_the_callback_and_the_line_that_decided(tmp_path: Path) -> None:
    script = tmp_path / "policy.siv"
    script.write_text(SCRIPT)
    ladder = drawn(
        tmp_path, *probe(NOW + 0.4),
        line("probe_dialogue", NOW + 0.4, session=SESSION, address="a@sender.test", conversation=CONVERSATION),
        *refused(f"script {script}:4"), session_line(SESSION, seconds=0.5),
    )  # fmt: skip
    assert words(ladder) == [
        "client>ringback connects",
        "ringback>client 220 mx ESMTP",
        "client>ringback EHLO client.test",
        "ringback>client 250 mx · SIZE 0",
        "client>ringback MAIL FROM:<a@sender.test>",
        "ringback>note Callback",
        "exchanger>ringback 220 mx.sender.test ESMTP",
        "ringback>exchanger EHLO mx.example.com",
        "exchanger>ringback 250 mx.sender.test · SIZE 1000 · 8BITMIME",
        "ringback>exchanger MAIL FROM:<>",
        "exchanger>ringback 250 Ok",
        "ringback>exchanger RCPT TO:<a@sender.test>",
        "exchanger>ringback 550 5.1.1 no such user",
        "ringback>note Callback: fail (no such user)",
        f"ringback>note The script decided: {tmp_path.name}/policy.siv:4",
        "ringback>client 550 from address not reachable",
        "client>ringback QUIT",
    ]
    decision = next(each for each in ladder.steps if each.excerpt)
    assert decision.excerpt is not None
    assert [(each.number, each.decided) for each in decision.excerpt.lines] == [
        (2, False),
        (3, False),
        (4, True),
        (5, False),
    ]
    assert "ec_action 550" in decision.excerpt.lines[2].text
    assert "no such user" in decision.text
    assert (ladder.headline, ladder.tone, ladder.sender) == ("Refused at MAIL FROM", "refused", "a@sender.test")
    assert [lane for lane, _, _ in ladder.lanes] == ["client", "ringback", "exchanger"]
    assert [each.ms for each in ladder.steps if each.ms is not None] == sorted(
        each.ms for each in ladder.steps if each.ms is not None
    )
    assert not any(each.told for each in ladder.steps if each.text.startswith(("MAIL", "EHLO", "220", "550")))


def test_accepted_mail_is_told_from_the_result_and_marked(tmp_path: Path) -> None:
    recipients = [f"r{number}@example.com" for number in range(12)]
    ladder = drawn(tmp_path, *mail_lines(SESSION, recipients=recipients), session_line(SESSION))
    assert words(ladder)[-5:] == [
        "client>ringback the message <1.2@client.test>, 4096 octets",
        "ringback>upstream MAIL, RCPT and the message, 4096 octets",
        "upstream>ringback 250 2.0.0 Ok: queued as 4F2Q7z1Xy2z3",
        "ringback>client 250 2.0.0 Ok: queued as 4F2Q7z1Xy2z3",
        "client>ringback QUIT",
    ]
    assert "client>ringback RCPT TO: 4 more" in words(ladder)
    assert all(each.told for each in ladder.steps if each.text.startswith(("MAIL FROM", "RCPT TO", "EHLO")))
    assert (ladder.headline, ladder.fate) == ("Relayed", "relayed")
    assert ladder.stages[0].parts == [("client", 12), ("policy", 0), ("callback", 0), ("upstream", 3)]


def test_the_worst_fate_of_a_session_is_its_headline(tmp_path: Path) -> None:
    ladder = drawn(
        tmp_path, *mail_lines(SESSION), refusal_line(SESSION, "x@example.com", NOW + 1, number=2),
        *mail_lines(SESSION, number=3, at=NOW + 2), session_line(SESSION, seconds=3.0),
    )  # fmt: skip
    assert ladder.headline == "Refused at RCPT TO"
    assert "ringback>note The rules of SMTP decided" in words(ladder)


def test_a_remembered_callback_is_told_as_earlier(tmp_path: Path) -> None:
    fate = {"callback_status": "fail", "callback_reason": "no_such_user", "callback_text": ""}
    ladder = drawn(
        tmp_path, *probe(NOW - 60, session="another-1"),
        refusal_line(SESSION, "b@example.com", NOW, decided_by="smtp_cbv", **fate), session_line(SESSION),
    )  # fmt: skip
    earlier = next(each for each in ladder.steps if each.title == "Callback")
    assert earlier.text.endswith("The answer is from an earlier session.")
    assert earlier.ms is None


def test_a_script_that_is_gone_or_changed_is_said(tmp_path: Path) -> None:
    script = tmp_path / "policy.siv"
    script.write_text(SCRIPT)  # changed after NOW, which is a fixed moment in the past or future of this clock
    for place in (f"{script}:99", f"{tmp_path}/gone.siv:1", "no place", f"{script}:x", f"{tmp_path}:1", ""):
        folder = tmp_path / f"history-{abs(hash(place))}"
        folder.mkdir()
        ladder = drawn(folder, *refused(f"script {place}"), session_line(SESSION))
        assert not any(each.excerpt for each in ladder.steps), place


def test_long_waits_stand_out(tmp_path: Path) -> None:
    ladder = drawn(tmp_path, *mail_lines(SESSION, at=NOW + 5), session_line(SESSION, at=NOW + 5, seconds=5.0))
    assert max(each.gap for each in ladder.steps) >= 4000


def test_what_a_stranger_writes_is_visible() -> None:
    for each in HOSTILE:
        shown = visible(each)
        assert all(letter.isprintable() for letter in shown)
        assert visible(shown) == shown
    assert visible("J\u00fcrgen \u05d0\u05d1 \u65e5\u672c e\u0301") == "J\u00fcrgen \u05d0\u05d1 \u65e5\u672c e\u0301"
    assert visible("\x1b[31m\u202e\n") == "\\u{001b}[31m\\u{202e}\\u{000a}"
    assert len(visible("x" * 10 * LONGEST)) == LONGEST + 1
    assert visible(3) == 3


def test_an_arrow_knows_its_lanes() -> None:
    assert Step("client", to="ringback").between == Step("ringback", to="client").between == "client-ringback"
    assert Step("upstream", to="ringback").between == "ringback-upstream"
    assert (Step("upstream", to="ringback").towards, Step("ringback", to="exchanger").towards) == ("left", "right")
