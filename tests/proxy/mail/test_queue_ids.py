"""The queue id in a next hop's reply, in the forms that mail servers use."""

from __future__ import annotations

import pytest

from proxy.mail.queue_ids import queue_id_of

REPLIES = {
    "postfix": (b"2.0.0 Ok: queued as 4ZrNPf1bKkz2xyz", "4ZrNPf1bKkz2xyz"),
    "exim": (b"OK id=1qAbCd-0001Ab-2C", "1qAbCd-0001Ab-2C"),
    "exchange": (
        b"2.6.0 <x@y.test> [InternalId=12345678901234, Hostname=EX1.y.test] Queued mail for delivery", "12345678901234",
    ),
    "sendmail": (b"2.0.0 3BV0abCd012345 Message accepted for delivery", "3BV0abCd012345"),
    "opensmtpd": (b"2.0.0 1a2b3c4d Message accepted for delivery", "1a2b3c4d"),
    "momentum": (b"2.0.0 OK 3F/12-01234-ABCDEF56", "3F/12-01234-ABCDEF56"),
    "amavis": (b"2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as ABCDEF", "ABCDEF"),
    "none": (b"2.0.0 Thank you", ""),
    "empty": (b"", ""),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "queue_id"), REPLIES.values(), ids=REPLIES)
def test_the_queue_id_is_found_whoever_replies(reply: bytes, queue_id: str) -> None:
    assert queue_id_of(reply) == queue_id
