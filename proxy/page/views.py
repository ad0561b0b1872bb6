"""The views: *now*, *live*, *why*, and one session as a ladder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from aiohttp import web

from proxy.history.search import Item, Story
from proxy.history.story import gaps_told
from proxy.page import errors
from proxy.page.charts import bar
from proxy.page.drawing import ladder_of_running, sender_in
from proxy.page.guard import ROLE
from proxy.page.ladder import TONES, Ladder
from proxy.page.overview import Overview
from proxy.page.rendering import Rendering
from proxy.page.routes import Role, links_for
from proxy.page.running import Running
from proxy.page.searching import Searching, Unsearchable
from proxy.page.streams import Parts, Streams, View

TIMES = {"": 0.0, "10m": 600.0, "1h": 3600.0, "1d": 86400.0, "7d": 7 * 86400.0}
"""How far back a search goes."""

_NOW_PARTS = ("health", "tiles", "traffic", "callbacks", "refusals", "limits", "upstreams", "workers", "certificates")
_RANKS = ("lost", "relayed", "discarded", "deferred", "refused")


class Views:
    """Answers requests of people who are logged in."""

    def __init__(
        self, overview: Overview, running: Running, searching: Searching, rendering: Rendering, streams: Streams
    ) -> None:
        self._overview, self._running, self._searching = overview, running, searching
        self._rendering, self._streams = rendering, streams
        self._now = {
            operates: View(lambda: overview.sampler.number, partial(self._parts_of_now, operates=operates))
            for operates in (False, True)
        }
        self._latest = View(
            lambda: (running.number, running.latest.number, overview.sampler.number), self._parts_of_live, running.look
        )

    # ------------------------------------------------------------ now and live

    async def home(self, _request: web.Request) -> web.Response:
        """Lead to the first view."""
        return web.Response(status=303, headers={"Location": "/now"})

    async def now(self, request: web.Request) -> web.Response:
        """Show the numbers."""
        return self._page(request, "now.html", parts=self._now[request[ROLE] >= Role.OPERATE].parts())

    async def live(self, request: web.Request) -> web.Response:
        """Show the sessions as they come."""
        await self._latest.look()
        return self._page(request, "live.html", parts=self._latest.parts(), history=self._searching.settings.on)

    async def stream_now(self, request: web.Request) -> web.StreamResponse:
        """Send what changes in the numbers."""
        return await self._streams.serve(request, self._now[request[ROLE] >= Role.OPERATE])

    async def stream_live(self, request: web.Request) -> web.StreamResponse:
        """Send what changes in the sessions."""
        return await self._streams.serve(request, self._latest)

    def _parts_of_now(self, *, operates: bool) -> Parts:
        values = {**self._overview.values(), "operates": operates}
        return {f"part-{name}": self._rendering.part("parts.html", name, values) for name in _NOW_PARTS}

    def _parts_of_live(self) -> Parts:
        values = {"sessions": self._running.sessions(), "states": self._overview.sampler.samples[-1].sessions}
        return {f"part-{name}": self._rendering.part("parts.html", name, values) for name in ("states", "rows")}

    # ------------------------------------------------------------ why

    async def why(self, request: web.Request) -> web.Response:
        """Search the history."""
        subject, since = request.query.get("q", "").strip(), request.query.get("since", "")
        values: dict[str, Any] = {"subject": subject, "since": since, "times": TIMES, "found": None, "problem": ""}
        status = 200
        if subject:
            try:
                found = await self._searching.about(subject, TIMES.get(since, 0.0))
            except Unsearchable as error:
                values["problem"], status = _told(error), 503
            else:
                stories = [_summary(each) for each in reversed(found.stories)]
                values |= {"found": found, "stories": stories, "gaps": list(gaps_told(found.gaps, 3))}
        else:
            values["recent"] = self._running.latest.sessions()[:8]
        return self._page(request, "why.html", status, **values)

    async def session(self, request: web.Request) -> web.Response:
        """Show one session as a ladder."""
        try:
            ladder = await self._searching.ladder(request.match_info["id"])
        except Unsearchable as error:
            return self._problem(request, _told(error), 503)
        if ladder is None:
            return self._problem(request, errors.NO_SESSION, 404)
        return self._page(request, "session.html", ladder=ladder, bars=_bars(ladder), running=None)

    async def running(self, request: web.Request) -> web.Response:
        """Show a session that runs, as far as it has come; one that has ended is in the history."""
        name = request.match_info["id"]
        details = await self._running.one(name)
        if details is None:
            return web.Response(status=303, headers={"Location": f"/session/{quote(name, safe='')}"})
        return self._page(request, "session.html", ladder=ladder_of_running(details), bars=[], running=details)

    # ------------------------------------------------------------ pages

    def _problem(self, request: web.Request, problem: str, status: int) -> web.Response:
        return self._page(request, "problem.html", status, problem=problem)

    def _page(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
        role, resource = request[ROLE], request.match_info.route.resource
        text = self._rendering.page(
            template,
            links=links_for(role, resource.canonical if resource is not None else ""),
            operates=role >= Role.OPERATE,
            **values,
        )
        return web.Response(text=text, status=status, content_type="text/html")

    @web.middleware
    async def explain(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Return a page that says why access is denied, or that nothing is there."""
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPConflict as refused:
            return self._problem(request, refused.text or "", 409)
        except web.HTTPForbidden:
            return self._problem(request, errors.NOT_YOURS, 403)
        except web.HTTPNotFound:
            if ROLE not in request:
                raise
            return self._problem(request, errors.NO_PAGE, 404)
        return response


def _told(error: Unsearchable) -> str:
    if error.busy:
        return errors.BUSY
    return errors.NO_FOLDER.format(reason=error.reason) if error.reason else errors.TOO_LONG


def _summary(story: Story) -> dict[str, Any]:
    """Return what a row of the search's result shows."""
    fates = [each for each in story.items if each.get("disposition")]
    worst = max(fates, key=lambda each: _rank(each["disposition"]), default=None)
    return {
        "id": story.session.get("id", ""),
        "at": story.session.get("at") or story.at,
        "client": story.session.get("client") or "",
        "helo": story.session.get("helo") or "",
        "fate": worst["disposition"] if worst else "",
        "tone": TONES.get(worst["disposition"], "") if worst else "",
        "reply": worst["reply"] if worst else "",
        "decided": worst["decided_by"] if worst else "",
        "sender": next((found for each in fates if (found := each.get("sender") or sender_in(each))), ""),
        "recipients": _recipients(story.items),
        "events": [each["event"].replace("_", " ") for each in story.items if each["kind"] == "notes"][:2],
    }


def _recipients(items: Sequence[Item]) -> list[str]:
    return list(dict.fromkeys(each["address"] for each in items if each["kind"] == "recipients"))


def _rank(fate: str) -> int:
    return _RANKS.index(fate) if fate in _RANKS else -1


def _bars(ladder: Ladder) -> list[dict[str, Any]]:
    return [
        {
            "message": each.message,
            "parts": each.parts,
            "svg": bar(each.parts, ", ".join(f"{name} {ms} ms" for name, ms in each.parts)),
            "total": sum(ms for _, ms in each.parts),
        }
        for each in ladder.stages
    ]
