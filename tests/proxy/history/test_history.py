"""The history's files: what they keep, in how much room, for how long, and whatever happens to the disk."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from proxy.base.lines import printable
from proxy.history import files, persons, story
from proxy.history.addresses import Addresses
from proxy.history.search import Found, search
from proxy.history.settings import HistorySettings
from proxy.history.writer import Batch, Writer
from tests.support.histories import (
    CLIENT,
    NOW,
    drawn,
    line,
    mail_lines,
    refusal_line,
    session_id,
    session_line,
    settings,
    write,
)
from tests.support.waiting import BOUND

DAY = 86400.0
A, B = session_id(1), session_id(2)


def found(kept: HistorySettings, subject: str, **how: Any) -> Found:
    return search(kept.folder, subject, kept.addresses(), **how)


def text(kept: HistorySettings, subject: str, **how: Any) -> str:
    return "\n".join(line for each in found(kept, subject, **how).stories for line in story.told(each))


def octets(kept: HistorySettings) -> int:
    return sum(each.octets for each in files.files_in(kept.folder))


# ---------------------------------------------------------------- room


@pytest.mark.parametrize("per_session", [1, 20])
def test_a_message_takes_at_most_a_kilobyte_on_average(tmp_path: Path, per_session: int) -> None:
    kept = settings(tmp_path)
    write(kept, *drawn(4000, per_session=per_session))
    assert octets(kept) / 4000 <= 1024


def test_a_further_recipient_takes_at_most_200_octets(tmp_path: Path) -> None:
    sizes = []
    for number in (1, 11):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(settings(folder), *drawn(2000, only=number))
        sizes.append(octets(settings(folder)))
    assert (sizes[1] - sizes[0]) / 2000 / 10 <= 200


# ---------------------------------------------------------------- finding


@pytest.mark.parametrize(
    "subject",
    ["a@sender.test", "A@Sender.test", "b@example.com", A, "4F2Q7z1Xy2z3", "<1.2@client.test>", "1.2@client.test",
     "192.0.2.7"],
)  # fmt: skip
@pytest.mark.parametrize("hashed", [False, True], ids=["plain", "hashed"])
def test_a_message_is_found_by_all_its_names(tmp_path: Path, subject: str, *, hashed: bool) -> None:
    kept = settings(tmp_path, hashed=hashed)
    other = mail_lines(B, sender="x@y.test", recipients=["z@y.test"], queue_id="Q", message_id="")
    write(kept, *mail_lines(A), session_line(A), *other, session_line(B, client="192.0.2.8", helo="other.test"))
    told = text(kept, subject)
    assert "was relayed" in told
    assert "127.0.0.1:25 accepted it (next hop 127.0.0.1:25). Its queue id there is 4F2Q7z1Xy2z3." in told
    assert A in told
    if subject != "192.0.2.7":  # both sessions came from it
        assert B not in told
    assert ("a@sender.test" in told) is not hashed


def test_a_refused_recipient_names_who_decided_and_the_reply(tmp_path: Path) -> None:
    script = tmp_path / "policy.siv"
    script.write_text('if true {\n  ec_action 550 "no";\n}\n')
    kept = settings(tmp_path)
    write(kept, refusal_line(A, "c@example.com", decided_by=f"script {script}:2", reply="550 5.7.1 no"),
          refusal_line(A, "d@example.com"))  # fmt: skip
    told = text(kept, "c@example.com")
    assert f"The script decided: {script}:2\n" in told
    assert '  ec_action 550 "no";' in told
    assert 'Reply to the client at RCPT TO: "550 5.7.1 no"' in told
    assert "d@example.com" not in told
    assert "it goes on, or the server was killed" in told


def test_a_callback_that_decided_long_ago_is_told(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    probe = {"address": "a@sender.test", "sender": "", "status": "fail", "reason": "unknown_user", "stage": "rcpt",
             "code": 550, "text": "5.1.1 no a here", "exchanger": "mx.sender.test", "ip": "192.0.2.25", "tls": False,
             "seconds": 0.2}  # fmt: skip
    called = {"callback_status": "fail", "callback_reason": "unknown_user", "callback_text": "550 5.1.1 no a here"}
    write(kept, line("probe", NOW - 3600, **probe))
    write(kept, refusal_line(A, "c@example.com", decided_by="smtp_cbv", **called), first=1)
    told = text(kept, "c@example.com")
    assert "A callback asked mx.sender.test [192.0.2.25] about <a@sender.test>" in told
    assert 'It replied to RCPT TO: "5.1.1 no a here"' in told
    assert 'The callback answered fail (unknown_user): "550 5.1.1 no a here"' in told
    assert "Decided by smtp_cbv, a module." in told


def test_a_refused_command_is_found_by_the_address_in_it(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    fate = {"phase": "mailfrom", "disposition": "refused", "decided_by": "protocol", "code": 501, "enhanced": "5.1.7",
            "reply": "501 5.1.7 Bad sender", "upstream": ""}  # fmt: skip
    who = {"client": "192.0.2.7", "helo": "x", "tls": "", "cipher": "", "user": ""}
    refused = {"session": A, "transaction": f"{A}.1", **who, "command": "MAIL", "argument": "FROM:<q@sender.test> X"}
    write(kept, line("refused", **refused, **fate))
    assert '"MAIL FROM:<q@sender.test> X" was refused.' in text(kept, "q@sender.test")


def test_older_days_are_searched_and_since_leaves_them_out(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    write(kept, refusal_line(A, "c@example.com", NOW - 2 * DAY), now=NOW - 2 * DAY)
    write(kept, refusal_line(B, "c@example.com"), first=1)
    assert len(files.files_in(tmp_path)) == 2
    assert [each.session["id"] for each in found(kept, "c@example.com").stories] == [A, B]
    assert [each.session["id"] for each in found(kept, "c@example.com", since=NOW - DAY).stories] == [B]


def test_another_subject_with_the_same_number_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.history.keys.keys_of", lambda texts: [7] * len(texts))
    monkeypatch.setattr("proxy.history.search.key_of", lambda text: 7)  # noqa: ARG005
    kept = settings(tmp_path)
    write(kept, refusal_line(A, "c@example.com"), *mail_lines(B, recipients=["d@example.com"], sender="e@f.test"))
    assert [each.session["id"] for each in found(kept, "c@example.com").stories] == [A]


def test_a_file_can_be_read_while_it_is_written_and_after_a_crash(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    writer, confirmed = Writer(kept, lambda: NOW), _Confirmed()
    writer.put(Batch(1, 0, [refusal_line(A, "c@example.com")], confirmed))
    confirmed.wait(0)
    assert "550 5.1.1" in text(kept, "c@example.com")
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for each in tmp_path.glob("history-*"):
        (crashed / each.name).write_bytes(each.read_bytes())
    writer.close()
    assert "550 5.1.1" in text(settings(crashed), "c@example.com")


class _Confirmed:
    """Waits for a batch without sleeping."""

    def __init__(self) -> None:
        from queue import SimpleQueue  # noqa: PLC0415

        self._queue: SimpleQueue[int] = SimpleQueue()

    def __call__(self, number: int) -> None:
        self._queue.put(number)

    def wait(self, number: int) -> None:
        while self._queue.get(timeout=BOUND) != number:
            pass


def test_only_the_owner_can_read_a_file(tmp_path: Path) -> None:
    write(settings(tmp_path, hashed=True), *mail_lines(A))
    for each in tmp_path.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each


# ---------------------------------------------------------------- privacy


def test_hashed_files_have_no_address_in_any_place(tmp_path: Path) -> None:
    kept, anna = settings(tmp_path, hashed=True), "anna.secret@sender.test"
    who = {"client": "192.0.2.7", "helo": "x", "tls": "", "cipher": "", "user": "anna.login@sender.test"}
    reply = f"550 5.1.1 bert.secret: unknown, ask <{anna}>"
    fate = {"phase": "mailfrom", "disposition": "refused", "decided_by": "protocol", "code": 550, "enhanced": "",
            "reply": "550 no", "upstream": ""}  # fmt: skip
    asked = [["callback", anna]]
    probe = {
        "address": anna, "sender": "own.secret@x.test", "status": "fail", "reason": "", "stage": "rcpt", "code": 550,
        "text": f"{anna} unknown", "exchanger": "mx", "ip": "192.0.2.1", "tls": False, "seconds": 1,
    }  # fmt: skip
    write(
        kept,
        *mail_lines(A, sender=anna, recipients=["bert.secret@example.com"], message_id=f"<{anna}>", reply=reply),
        refusal_line(A, "carl.secret@example.com", reply='550 carl.secret has no mailbox, "carl.secret"@example.com'),
        line("refused", session=A, transaction=f"{A}.1", **who, command="MAIL", argument="FROM:<dora.secret@x.test>",
             **fate),
        line("script", session=A, phase="data", text=f"seen {anna}"),
        line("dialogue", session=A, lines=[f"MAIL FROM:<{anna}>", "550 anna.secret is unknown"]),
        line("answers", session=A, transaction=f"{A}.1", dropped=0, asked_outside=asked),
        line("probe", **probe),
        session_line(A),
    )  # fmt: skip
    octets = b"".join(each.read_bytes() for each in tmp_path.glob("history-*.db*"))
    assert b"secret" not in octets
    assert b"anna.login" not in octets
    for address in (
        "anna.secret@sender.test",
        "bert.secret@example.com",
        "carl.secret@example.com",
        "dora.secret@x.test",
    ):
        assert found(kept, address).stories, address


CYRILLIC = "\u0438\u0432\u0430\u043d\u0441\u0435\u043a\u0440\u0435\u0442\u043d\u044b\u0439" * 3


@pytest.mark.parametrize(
    "address",
    [
        f"{CYRILLIC}@x.test",
        f'"{CYRILLIC} y"@x.test',
        "secret[anna]@x.test",
        "secret@[x-tag:y]",
        "secret",
        "secret(a)b@x.test",
        "secret" * 40,
    ],
    ids=["long in escapes", "quoted", "brackets", "odd literal", "without a domain", "comment", "cut"],
)  # fmt: skip
def test_hashed_files_have_no_part_of_an_odd_address_from_a_command(tmp_path: Path, address: str) -> None:
    kept = settings(tmp_path, hashed=True)
    escaped = printable(address.encode() if "\u0438" in address else address)
    fate = {"phase": "mailfrom", "disposition": "refused", "decided_by": "protocol", "code": 501, "enhanced": "",
            "reply": "501 no", "upstream": ""}  # fmt: skip
    probe = {"address": "a@x.test", "conversation": f"3 C: MAIL FROM:<>\n5 C: RCPT TO:<{escaped}>\n9 S: 550 no"}
    write(
        kept,
        line("refused", session=A, transaction="", **CLIENT, command="MAIL", argument=f"FROM:<{escaped}>", **fate),
        line("refused", session=A, transaction="", **CLIENT, command="RCPT", argument=f"to: {escaped}", **fate),
        line("refused", session=A, transaction="", **CLIENT, command="VRFY", argument=escaped, **fate),
        line("dialogue", session=A, lines=[f"C: MAIL FROM:<{escaped}>", f"C: rcpt to: {escaped}", "S: 501 no"]),
        line("dialogue", session=A, lines=[f"C: VRFY {escaped}", f"C: EXPN <{escaped}>"]),
        line("probe_dialogue", **probe),
        session_line(A),
    )
    octets = b"".join(each.read_bytes() for each in tmp_path.glob("history-*.db*"))
    assert escaped[:6].encode() not in octets.replace(b"\\\\", b"\\")
    assert b"501 no" in octets
    assert b"RCPT TO:" in octets


def test_an_address_with_another_alphabet_has_one_hash_everywhere() -> None:
    addresses, address = Addresses(b"k" * 32), printable(f"{CYRILLIC}@x.test")
    assert addresses.within(f"550 <{address}> unknown") == f"550 <{addresses.of(address)}> unknown"


def test_a_key_that_was_not_written_whole_is_never_used(tmp_path: Path) -> None:
    kept = settings(tmp_path, hashed=True)
    (tmp_path / "history.key").touch(mode=0o600)  # the disk was full after the file was made
    with structlog.testing.capture_logs():
        write(kept, *mail_lines(A))
    with pytest.raises(OSError, match="octets"):
        kept.addresses()
    assert found_files(tmp_path) == []


def found_files(folder: Path) -> list[str]:
    return [each.name for each in folder.glob("history-*.db")]


def test_a_disk_that_is_full_while_the_key_is_made_leaves_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("proxy.history.settings.os.write", full)
        with pytest.raises(OSError, match="No space"):
            settings(tmp_path, hashed=True).addresses(create=True)
    assert list(tmp_path.iterdir()) == []
    made = settings(tmp_path, hashed=True).addresses(create=True)
    assert made.mark == settings(tmp_path, hashed=True).addresses().mark
    assert [stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()] == [0o600]


def test_a_single_recipient_is_kept_with_its_message_and_told_apart_from_it(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    write(kept, *mail_lines(A), session_line(A))
    (told,) = found(kept, "b@example.com").stories
    assert [(each["kind"], each.get("address")) for each in told.items] == [
        ("transactions", None), ("recipients", "b@example.com"),
    ]  # fmt: skip
    assert "Recipient <b@example.com>: as the message." in text(kept, A)


@pytest.mark.parametrize("apart", [False, True], ids=["with others between", "at once"])
def test_a_single_recipient_with_another_fate_than_its_message_is_told_once(tmp_path: Path, *, apart: bool) -> None:
    kept = settings(tmp_path)
    message, recipient = mail_lines(A)
    recipient = recipient.replace(b'"relayed"', b'"discarded"').replace(b"upstream 127.0.0.1:25", b"policy")
    write(kept, message, *(mail_lines(B) if apart else ()), recipient)
    told = text(kept, A)
    assert "Mail from <a@sender.test> to <b@example.com> was discarded." in told
    assert "as the message" not in told


def test_a_recipient_that_comes_after_other_mail_is_told_once(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    message, recipient = mail_lines(A)
    write(kept, message, *mail_lines(B), recipient)
    (told,) = found(kept, A).stories
    assert [each["kind"] for each in told.items] == ["transactions", "recipients"]


def test_a_session_goes_on_in_the_file_after_the_control_process_was_killed(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    write(kept, *mail_lines(A), *mail_lines(B), session_line(B))
    write(kept, *mail_lines(A, 2), session_line(A), first=1)
    (told,) = found(kept, A).stories
    assert [each["number"] for each in told.items if each["kind"] == "transactions"] == [1, 2]
    assert told.session["ended"] == "quit"


def test_a_callback_that_ends_after_its_session_belongs_to_it(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    probe = {"address": "a@sender.test", "sender": "", "status": "pass", "reason": "", "stage": "rcpt", "code": 250,
             "text": "ok", "exchanger": "mx.sender.test", "ip": "192.0.2.25", "tls": False, "seconds": 0.2}  # fmt: skip
    write(kept, refusal_line(A, "c@example.com"), session_line(A), line("probe", session=A, **probe))
    (told,) = found(kept, A).stories
    assert "probes" in {each["kind"] for each in told.items}


def test_events_that_the_history_does_not_keep_leave_nothing(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    with structlog.testing.capture_logs() as logged:
        write(kept, line("upstream_lost", session=A, upstream="u", reason="r"), line("stopping", sessions=1, now=True))
    assert logged == []
    assert found(kept, A).stories == []


def test_a_change_from_plain_to_hashed_begins_a_file_of_its_own(tmp_path: Path) -> None:
    write(settings(tmp_path), refusal_line(A, "c@example.com"))
    write(hashed := settings(tmp_path, hashed=True), refusal_line(B, "c@example.com"), first=1)
    assert len(files.files_in(tmp_path)) == 2
    assert {each.session["id"] for each in found(hashed, "c@example.com").stories} == {A, B}
    assert [each.name for each in found(settings(tmp_path), "c@example.com").other_key] != []


@pytest.mark.parametrize("hashed", [False, True], ids=["plain", "hashed"])
def test_a_forgotten_address_is_nowhere(tmp_path: Path, *, hashed: bool) -> None:
    kept = settings(tmp_path, hashed=hashed)
    address = "anna.secret@sender.test"
    lines = ["MAIL FROM:<anna.secret@sender.test>"]
    write(kept, *mail_lines(A, sender=address), refusal_line(A, address), session_line(A),
          line("dialogue", session=A, lines=lines), line("script", session=A, phase="data", text=f"Seen {address}"),
          *mail_lines(B, sender="x@y.test"))  # fmt: skip
    rows = list(persons.rows_about(tmp_path, address, kept.addresses()))
    assert sum(len(row["events"]) for row in rows) >= 4
    kept_name = kept.addresses().of(address).encode()
    assert persons.forget(tmp_path, address, kept.addresses()) > 0
    assert list(persons.rows_about(tmp_path, address, kept.addresses())) == []
    octets = b"".join(each.read_bytes() for each in tmp_path.glob("history-*.db*"))
    assert kept_name not in octets
    assert "was relayed" in text(kept, "b@example.com")


@pytest.mark.parametrize("address", [printable("\u00c9va.secret@x.test"), '"eva secret"@x.test', "eva.\\secret@x.test"])
def test_a_forgotten_address_is_nowhere_in_events_however_it_is_written(tmp_path: Path, address: str) -> None:
    kept = settings(tmp_path)
    argument = {"command": "MAIL", "argument": f"FROM:<{address}> SIZE=1", "reply": f"550 {address}"}
    fate = {"phase": "mailfrom", "disposition": "refused", "decided_by": "protocol", "code": 550, "enhanced": ""}
    write(kept, line("refused", session=A, transaction="", **CLIENT, **argument, **fate, upstream=""),
          line("script", session=A, phase="data", text=f"Seen {address}"),
          line("answers", session=A, transaction=f"{A}.1", dropped=0, asked_outside=[["callback", address]]),
          *mail_lines(A, sender=address, reply=f"250 <{address.upper()}> ok"), session_line(A))  # fmt: skip
    assert persons.forget(tmp_path, address, kept.addresses()) > 0
    assert b"secret" not in b"".join(each.read_bytes() for each in tmp_path.glob("history-*.db*")).lower()
    assert "250 <(forgotten)> ok" in text(kept, "b@example.com")


@pytest.mark.parametrize("hashed", [False, True], ids=["plain", "hashed"])
def test_a_forgotten_single_recipient_is_nowhere_and_its_message_stays(tmp_path: Path, *, hashed: bool) -> None:
    kept = settings(tmp_path, hashed=hashed)
    write(kept, *mail_lines(A, recipients=["bert.secret@example.com"]))
    name = kept.addresses().of("bert.secret@example.com").encode()
    assert persons.forget(tmp_path, "bert.secret@example.com", kept.addresses()) > 0
    assert name not in b"".join(each.read_bytes() for each in tmp_path.glob("history-*.db*"))
    (told,) = found(kept, A).stories
    assert [each["kind"] for each in told.items] == ["transactions"]


# ---------------------------------------------------------------- time, size, faults


def test_files_are_removed_when_their_days_are_over_for_so_long(tmp_path: Path) -> None:
    kept = settings(tmp_path, retention=2 * DAY)
    for number, days in enumerate((5, 3, 1)):
        write(settings(tmp_path, retention=0), refusal_line(A, "c@x.test"), now=NOW - days * DAY, first=number)
    broken = tmp_path / "history-2026-11-01.db.corrupt-1"
    broken.write_bytes(b"x")
    write(kept, refusal_line(A, "c@x.test"), first=9)
    assert [(NOW - each.ends) // DAY for each in files.files_in(tmp_path)] == [0, -1]


def test_what_cannot_be_removed_keeps_no_other_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = settings(tmp_path)
    for day in (20, 19, 18):
        write(kept, *mail_lines(A, at=NOW - day * DAY), now=NOW - day * DAY, source=day)
    (tmp_path / "history-2026-01-01.db").mkdir()  # not ours
    oldest, unlink = min(tmp_path.glob("history-2026-11-*.db")), Path.unlink

    def removed(path: Path, **how: Any) -> None:
        if path == oldest:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, **how)

    monkeypatch.setattr(Path, "unlink", removed)
    with structlog.testing.capture_logs() as logged:
        write(kept, *mail_lines(B), source=99)
    assert [each.path for each in files.files_in(tmp_path) if each.path != oldest] == [
        files.file_of(tmp_path, files.day_of(NOW)).path
    ]
    assert [each["event"] for each in logged] == ["history_unavailable"]
    assert (tmp_path / "history-2026-01-01.db").is_dir()


def test_the_oldest_files_go_if_there_is_too_much(tmp_path: Path) -> None:
    for number, days in enumerate((3, 2, 1)):
        write(settings(tmp_path), *drawn(300), now=NOW - days * DAY, first=number)
    most = octets(settings(tmp_path)) // 2
    write(settings(tmp_path, most_octets=most), refusal_line(A, "c@x.test"), first=9)
    left = files.files_in(tmp_path)
    assert [(NOW - each.ends) // DAY for each in left] == [0, -1]


def test_a_full_day_keeps_refusals_and_says_what_it_left_out(tmp_path: Path) -> None:
    write(settings(tmp_path), *drawn(3000, per_session=3000))
    kept = settings(tmp_path, most_octets=int(octets(settings(tmp_path)) * 0.98))
    clock = iter(range(1000))
    writer, confirmed = Writer(kept, lambda: NOW + next(clock)), _Confirmed()
    writer.put(Batch(2, 0, [*mail_lines(A, queue_id="X"), refusal_line(B, "c@example.com")], confirmed))
    confirmed.wait(0)
    writer.put(Batch(2, 1, [refusal_line(B, "d@example.com")], confirmed))
    confirmed.wait(1)
    writer.close()
    assert found(kept, "x").stories == []
    assert "550 5.1.1" in text(kept, "c@example.com")
    gaps = found(kept, B).gaps
    assert [sum(gap[name] for gap in gaps) for name in ("details", "accepted", "others", "refusals")] == [1, 1, 0, 0]
    assert {gap["reason"] for gap in gaps} == {"History_Size is reached"}


def test_a_batch_that_is_sent_again_changes_nothing_even_after_midnight(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    midnight = files.files_in(tmp_path)
    assert midnight == []
    write(kept, *mail_lines(A), source=5, first=3)
    write(kept, *mail_lines(A), source=5, first=3)
    write(kept, *mail_lines(A), source=5, first=3, now=NOW + DAY)
    (told,) = found(kept, A).stories
    assert [each["kind"] for each in told.items] == ["transactions", "recipients"]


def test_two_control_processes_write_two_files(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    old, new, confirmed = Writer(kept, lambda: NOW), Writer(kept, lambda: NOW), _Confirmed()
    old.put(Batch(1, 0, [refusal_line(A, "c@example.com")], confirmed))
    confirmed.wait(0)
    new.put(Batch(2, 1, [refusal_line(B, "c@example.com")], confirmed))
    confirmed.wait(1)
    for each in (old, new):
        each.close()
    assert {each.session["id"] for each in found(kept, "c@example.com").stories} == {A, B}
    assert len(files.files_in(tmp_path)) == 2


def _garbage(path: Path) -> None:
    octets = path.read_bytes()
    path.write_bytes(octets[:100] + b"garbage!" * ((len(octets) - 100) // 8))


def test_a_broken_file_is_set_aside_and_the_day_goes_on(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    write(kept, *drawn(100))
    _garbage(next(tmp_path.glob("history-*.db")))
    with structlog.testing.capture_logs() as logged:
        write(kept, refusal_line(A, "c@example.com"), source=2)
    assert [each["event"] for each in logged] == ["store_set_aside"]
    assert "550 5.1.1" in text(kept, "c@example.com")
    assert list(tmp_path.glob("history-*.corrupt-*"))


def test_a_disk_that_fails_is_one_warning_and_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.history.writer.PAUSE_SECONDS", 0.0)
    kept, clock = settings(tmp_path), iter(range(1000))
    fails: Callable[..., Any] = _fails
    with structlog.testing.capture_logs() as logged:
        writer, confirmed = Writer(kept, lambda: NOW + next(clock)), _Confirmed()
        with monkeypatch.context() as broken:
            broken.setattr("proxy.history.rows.Rows.write", fails)
            for number in range(2):
                writer.put(Batch(1, number, [refusal_line(A, "c@example.com")], confirmed))
                confirmed.wait(number)
        writer.put(Batch(1, 2, [refusal_line(B, "c@example.com")], confirmed))
        confirmed.wait(2)
        writer.close()
    assert [each["event"] for each in logged] == ["history_unavailable", "history_gap", "history_recovered"]
    assert logged[0]["reason"] == "database or disk is full"
    looked = found(kept, "c@example.com")
    assert [each.session["id"] for each in looked.stories] == [B]
    assert [(each["refusals"], each["reason"]) for each in looked.gaps] == [(2, "the history could not be written")]


def _fails(*_: object) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


def test_a_line_that_is_none_of_ours_costs_no_other(tmp_path: Path) -> None:
    kept = settings(tmp_path)
    with structlog.testing.capture_logs() as logged:
        write(kept, b"{", b"[]", line("message", session=A), refusal_line(A, "c@example.com"))
    assert [each["event"] for each in logged] == ["history_line_malformed"] * 3
    assert "550 5.1.1" in text(kept, "c@example.com")


def test_a_line_that_no_file_takes_costs_its_batch_and_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.history.writer.PAUSE_SECONDS", 0.0)
    kept = settings(tmp_path)
    odd = mail_lines(A)[0].replace(b'"size":4096', b'"size":' + b"9" * 19)
    with structlog.testing.capture_logs() as logged:
        writer, confirmed = Writer(kept, lambda: NOW), _Confirmed()
        for number, each in enumerate((odd, refusal_line(B, "c@example.com"))):
            writer.put(Batch(1, number, [each.rstrip()], confirmed))
            confirmed.wait(number)
        writer.close()
    assert logged[0]["event"] == "history_unavailable"
    assert [each.session["id"] for each in found(kept, "c@example.com").stories] == [B]


def test_another_programs_file_is_left_alone(tmp_path: Path) -> None:
    path = files.file_of(tmp_path, files.day_of(NOW)).path
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    kept = settings(tmp_path)
    write(kept, refusal_line(A, "c@example.com"))
    assert path.read_bytes() == before
    looked = found(kept, "c@example.com")
    assert looked.stories
    assert [each for each, _ in looked.unreadable] == [path]


def test_an_address_stays_as_it_is_without_a_key() -> None:
    plain = Addresses()
    assert plain.of("a@b") == "a@b"
    assert plain.within("x <a@b>") == "x <a@b>"
