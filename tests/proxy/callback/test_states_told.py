"""A breaker and a storm: one event when it begins, one when it ends."""

from __future__ import annotations

from structlog.testing import capture_logs

from proxy.callback.limits.budgets import Breakers, Storms
from proxy.options.throttle import Throttle


def test_a_breaker_tells_when_it_opens_and_when_it_closes() -> None:
    now = [1000.0]
    breakers = Breakers(60.0, lambda: now[0])
    with capture_logs() as log:
        breakers.good("192.0.2.1")
        for _ in range(3):
            breakers.bad("192.0.2.1")
        now[0] += 61
        assert breakers.lets("192.0.2.1")
        breakers.good("192.0.2.1")
        breakers.good("192.0.2.1")
    assert [(each["event"], each["address"], each["times"]) for each in log] == [
        ("breaker_opened", "192.0.2.1", 1),
        ("breaker_closed", "192.0.2.1", 1),
    ]


def test_a_storm_tells_when_it_begins_and_when_it_is_over() -> None:
    now = [1000.0]
    storms = Storms(Throttle(3, 60), lambda: now[0])
    with capture_logs() as log:
        for number in range(6):
            storms.note("forged.test", f"user{number}", f"192.0.{number}.1")
        assert storms.rages("forged.test")
        now[0] += 61
        assert not storms.rages("forged.test")
        assert not storms.rages("forged.test")
    assert [each["event"] for each in log] == ["forgery_storm", "forgery_storm_over"]
