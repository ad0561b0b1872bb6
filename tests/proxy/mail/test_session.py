"""Session, Transaction, Path and the header section."""

from __future__ import annotations

import asyncio

import aiosmtpd.smtp
import pytest

from proxy.base.tasks import TaskOwner, spawn
from proxy.mail.address import parse_argument
from proxy.mail.session import NULL_PATH, Path, Recipient, Session, Transaction
from tests.support.worker import core

BOB = Path(b"bob@example.com", "bob", "example.com")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (Path(b"bob@example.com", "bob", "example.com"), "bob@example.com"),
        (Path(b"postmaster", "postmaster", ""), "postmaster"),
        (NULL_PATH, ""),
    ],
)
def test_a_paths_text_is_the_address(path: Path, text: str) -> None:
    assert path.text == text


def test_a_transaction_fills_aiosmtpds_attributes_too() -> None:
    transaction = Transaction()
    assert transaction.mail_from is None
    transaction.begin(Path(b"a@b.test", "a", "b.test"), {"SIZE": "1", "SMTPUTF8": None})
    transaction.add(Recipient(Path(b"bob@example.com", "bob", "example.com")))
    assert (transaction.mail_from, transaction.mail_options, transaction.smtp_utf8) == (
        "a@b.test",
        ["SIZE", "SMTPUTF8"],
        True,
    )
    assert transaction.rcpt_tos == ["bob@example.com"]


def test_a_transaction_from_the_null_sender_has_begun() -> None:
    transaction = Transaction()
    transaction.begin(NULL_PATH, {})
    assert transaction.mail_from == ""
    assert transaction.begun


async def test_session_and_transaction_keep_their_own_attributes_in_slots() -> None:
    session = Session(asyncio.get_running_loop(), ("192.0.2.1", 1), ("192.0.2.2", 25), core())
    for mine, theirs in (
        (session, aiosmtpd.smtp.Session(session.loop)),
        (session.transaction, aiosmtpd.smtp.Envelope()),
    ):
        made_when_read = {"rcpt_tos"}
        assert vars(mine).keys() == vars(theirs).keys() - made_when_read
        assert all(hasattr(mine, name) for name in vars(theirs))
        assert [name for name in type(mine).__slots__ if not hasattr(mine, name)] == []


async def test_settling_waits_for_all_that_was_begun_and_survives_what_failed() -> None:
    transaction, owner, done = Transaction(), TaskOwner("test"), []

    async def work(name: str) -> None:
        await asyncio.sleep(0)
        done.append(name)
        if name == "bad":
            raise RuntimeError(name)

    for name in ("one", "bad", "two"):
        transaction.pending.append(spawn(work(name), name=name, owner=owner))
    await transaction.settle()
    assert sorted(done) == ["bad", "one", "two"]
    assert transaction.pending == []


async def test_sessions_have_names_of_their_own_that_sort_by_time() -> None:
    loop = asyncio.get_running_loop()
    names = [Session(loop, ("192.0.2.1", 1), ("127.0.0.1", 25), core()).id for _ in range(1000)]
    assert len(set(names)) == 1000
    assert {len(each) for each in names} == {len(names[0])}
    assert [each[:8] for each in names] == sorted(each[:8] for each in names)


async def test_a_session_knows_its_client() -> None:
    session = Session(asyncio.get_running_loop(), ("2001:db8::1", 1234), ("::1", 25), core())
    assert session.client_ip == "2001:db8::1"
    assert session.can_relay is False


def test_what_few_recipients_have_is_kept_apart_and_the_others_have_the_usual_value() -> None:
    one, other = Recipient(BOB), Recipient(BOB, {"NOTIFY": "NEVER"})
    one.discarded_by, one.target, one.refusal = "", None, None
    assert one.apart is None
    assert (one.parameters, one.target, one.gateway, one.letters, one.reported) == ({}, None, "", (), False)
    assert one.destination is BOB
    other.gateway = "192.0.2.1"
    assert (other.destination.parameters, other.destination.gateway) == ({"NOTIFY": "NEVER"}, "192.0.2.1")
    assert other.destination == BOB
    other.gateway = ""
    assert other.destination.gateway == ""


@pytest.mark.parametrize(
    ("argument", "local_part", "text"),
    [
        ("TO:<Bob@Example.COM>", "Bob", "Bob@example.com"),
        ('TO:<"bob"@example.com>', "bob", "bob@example.com"),
        ('TO:<"a b"@example.com>', '"a b"', '"a b"@example.com'),
        ("TO:<b@[192.0.2.1]>", "b", "b@[192.0.2.1]"),
        ("TO:<@relay.test:bob@example.com>", "bob", "bob@example.com"),
        ("TO:<Postmaster>", "Postmaster", "Postmaster"),
        ("TO:<bob@ex\u00e4mple.com>", "bob", "bob@xn--exmple-cua.com"),
    ],
)
def test_what_follows_from_a_path_is_made_when_it_is_read(argument: str, local_part: str, text: str) -> None:
    path, _ = parse_argument(argument.encode(), b"TO:")
    assert (path.text, path.local_part) == (text, local_part)
    again, _ = parse_argument(argument.encode(), b"TO:")
    assert (again.local_part, again.text) == (local_part, text)
    assert again == path
    assert not hasattr(path, "anything")
