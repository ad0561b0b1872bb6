"""Dates in header fields, and the current date (RFC 5260)."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from sieve.library import sieve_function
from sieve.phases import Need
from sieve.rfc5228.state import state_of
from sieve.rfc5228.tests import bodies, positive
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError

_ZONE = re.compile(r"([+-])([0-9]{2})([0-9]{2})\Z")
_LEAP = re.compile(r"([0-9]:[0-5][0-9]):60(?![0-9])")
"""A leap second (RFC 5322, 3.3). Python's dates do not have it, so it is read as the second before."""

_MODIFIED_JULIAN = datetime(1858, 11, 17, tzinfo=UTC).toordinal()


def _zone(moment: datetime) -> str:
    return moment.strftime("%z")[:5]


_PARTS: dict[str, Callable[[datetime], str]] = {
    "year": lambda moment: f"{moment.year:04}",
    "month": lambda moment: f"{moment.month:02}",
    "day": lambda moment: f"{moment.day:02}",
    "date": lambda moment: f"{moment.year:04}-{moment.month:02}-{moment.day:02}",
    "julian": lambda moment: str(moment.toordinal() - _MODIFIED_JULIAN),
    "hour": lambda moment: f"{moment.hour:02}",
    "minute": lambda moment: f"{moment.minute:02}",
    "second": lambda moment: f"{moment.second:02}",
    "time": lambda moment: f"{moment.hour:02}:{moment.minute:02}:{moment.second:02}",
    "iso8601": lambda moment: moment.isoformat(timespec="seconds").replace("+00:00", "Z"),
    "std11": email.utils.format_datetime,
    "zone": _zone,
    "weekday": lambda moment: str(moment.isoweekday() % 7),
}


def _shifted(moment: datetime, zone: str | None, *, original: bool) -> datetime:
    """Convert to the given zone, keep the original zone, or use the server's (RFC 5260, 4.1)."""
    if original:
        return moment
    return moment.astimezone(None if zone is None else zone_of(zone))


def zone_of(text: str) -> timezone:
    """Return a time zone.

    Raises:
        ScriptError: it is not an offset such as `+0100`.
    """
    offset = _ZONE.match(text)
    if offset is None:
        raise ScriptError(reasons.not_a_zone(text))
    minutes = (int(offset[2]) * 60 + int(offset[3])) * (-1 if offset[1] == "-" else 1)
    try:
        return timezone(timedelta(minutes=minutes))
    except ValueError:
        raise ScriptError(reasons.not_a_zone(text)) from None


def _part(moment: datetime, name: str) -> str:
    made = _PARTS.get(name.lower())
    if made is None:
        raise ScriptError(reasons.unknown_date_part(name, _PARTS))
    return made(moment)


@sieve_function(
    dialect="rfc5228",
    extension="date",
    needs=Need.HEADERS,
    choices={"date_part": tuple(_PARTS)},
    checks={"zone": zone_of, "index": positive},
    exclusive=(("zone", "originalzone"),),
    only_with={"last": "index"},
)
def date(
    frame: Frame,
    header_name: str,
    date_part: str,
    *,
    zone: str | None = None,
    originalzone: bool = False,
    index: int | None = None,
    last: bool = False,
) -> tuple[str, ...]:
    """Compare a part of the date in a field. In `Received`, the date follows the last semicolon (RFC 5260, 4)."""
    for body in bodies(frame, (header_name,), index or 1, last=last):
        text = body.rpartition(";")[2].strip()[:200]
        moment = _moment(_LEAP.sub(r"\1:59", text))
        if moment is not None and date_part.lower() == "second" and _LEAP.search(text):
            return ("60",)
        try:
            return () if moment is None else (_part(_shifted(moment, zone, original=originalzone), date_part),)
        except OverflowError:
            return ()
    return ()


def _moment(text: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@sieve_function(dialect="rfc5228", extension="date", choices={"date_part": tuple(_PARTS)}, checks={"zone": zone_of})
def currentdate(frame: Frame, date_part: str, *, zone: str | None = None) -> str:
    """Compare a part of the current date (RFC 5260, 5)."""
    state = state_of(frame)
    if state.now is None:
        state.now = frame.host.now()
    return _part(_shifted(datetime.fromtimestamp(state.now, UTC), zone, original=False), date_part)
