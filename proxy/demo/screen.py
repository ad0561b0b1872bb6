"""The demo's output: Screen draws the world, each sample, the summary and the next steps.

It prints what it is given and decides nothing. Remote lines are printed as plain text, never as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from proxy.demo.client import HELO
from proxy.demo.mailhost import AcceptedMessage
from proxy.demo.samples import CAUTIOUS, OURS, SILENT, STAFF, Check, Sample
from proxy.demo.timeline import Event, PeerRole
from proxy.demo.world import DOMAINS, PROBE_PATIENCE, DemoWorld

HUES = {
    PeerRole.CLIENT: "cyan",
    PeerRole.NAMESERVER: "magenta",
    PeerRole.EXCHANGER: "yellow",
    PeerRole.UPSTREAM: "green",
    PeerRole.RINGBACK: "bold",
}

ARROWS, PLAIN_ARROWS = ("─▸", "◂─"), ("->", "<-")
"""To the right and to the left; the plain ones for terminals that have only ASCII."""

WIDEST_PARTIES = max(len(f"  Ringback -> {domain.exchanger}") for domain in DOMAINS)

MOST_SHOWN = 4096
"""Bytes of a message that are shown."""

REPLY_STYLES = {"2": "green", "3": "green", "4": "yellow", "5": "bold red"}
"""By the first digit of a reply."""

STRANGER = f"phantom@{STAFF}"

WAYS = (
    (f"dave@{STAFF}", "exists: delivered"),
    (STRANGER, "does not: 550 from address not reachable"),
    (f"rita@{CAUTIOUS}", "greylisted: delivered"),
    (f"erin@{SILENT}", f"silence: delivered after {PROBE_PATIENCE} seconds"),
    ("", "a bounce: delivered without a probe"),
)
"""Senders that no sample has used, so nothing about them is cached, and the result of their mail."""


COURTESIES = "From here on greetings, EHLO and QUIT are left out."


class Screen:
    """Draws on one console; times are shown since the beginning of a sample."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._console = console
        self._arrows = PLAIN_ARROWS if console.options.ascii_only else ARROWS

    def world(self, world: DemoWorld) -> None:
        """Show who takes part and where each one listens."""
        cast = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
        for heading in ("who", "listens on", "manners"):
            cast.add_column(heading)
        manners = (
            "knows its users, refuses others",
            "greylists unknown servers",
            "takes connections, says nothing",
        )
        cast.add_row(Text("Ringback", "bold"), _endpoint(world.address), "runs the ecelerity.conf that ships")
        for domain, manner in zip(DOMAINS, manners, strict=True):
            where = _endpoint((domain.address, world.exchanger_port))
            cast.add_row(Text(domain.exchanger, HUES[PeerRole.EXCHANGER]), where, manner)
        where = _endpoint(("127.0.0.1", world.upstream_port))
        cast.add_row(Text("upstream", HUES[PeerRole.UPSTREAM]), where, "the next hop: accepts everything")
        where = _endpoint(("127.0.0.1", world.nameserver_port))
        cast.add_row(Text("DNS", HUES[PeerRole.NAMESERVER]), where, "knows the three domains")
        self._console.print(Padding(Text("Ringback demo: all servers run on this machine", "bold"), (1, 0, 0, 1)))
        self._console.print(cast)

    def sample(self, number: int, sample: Sample, events: Sequence[Event]) -> None:
        """Show a sample's title, its story, and the dialogue of all parties; the first one in full."""
        self._console.print(Rule(Text(f" {number}. {sample.title} ", "bold"), align="left", style="dim"))
        self._console.print(Padding(Text(sample.story), (0, 2, 1, 2)))
        shown = events if number == 1 else [each for each in events if not each.routine]
        self._console.print(Padding(self._dialogue(shown, since=events[0].at if events else 0.0), (0, 0, 0, 2)))
        if number == 1:
            self._console.print(Padding(Text(COURTESIES, "dim italic"), (1, 0, 0, 2)))

    def delivery(self, delivery: AcceptedMessage) -> None:
        """Show a message as the upstream received it."""
        sender = delivery.sender or "<>"
        title = f"what the upstream received: {sender} to {', '.join(delivery.recipients)}"
        content = Text(_visible(_beginning(delivery.content)))
        panel = Panel(
            content, title=Text(_visible(title)), title_align="left", border_style=HUES[PeerRole.UPSTREAM], expand=False
        )
        self._console.print(Padding(panel, (1, 0, 0, 2)))

    def verdict(self, checks: Sequence[Check]) -> None:
        """Show which expectations held."""
        lines = [
            Text.assemble(("  ok  ", "bold green") if each.held else ("wrong ", "bold red"), each.sentence)
            for each in checks
        ]
        self._console.print(Padding(Group(*lines), (1, 0, 1, 2)))

    def summary(self, results: Sequence[tuple[Sample, Sequence[Check]]]) -> None:
        """Show all samples with their verdicts in one table."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
        for heading in ("", "sample", "verdict"):
            table.add_column(heading)
        for sample, checks in results:
            wrong = [each.sentence for each in checks if not each.held]
            mark = Text("wrong", "bold red") if wrong else Text("ok", "bold green")
            table.add_row(mark, Text(sample.title), Text("; ".join(wrong) or checks[0].sentence))
        self._console.print(Rule(Text(" Results ", "bold"), align="left", style="dim"))
        self._console.print(table)

    def by_hand(self, world: DemoWorld) -> None:
        """Show how to send mail to the demo's servers, which keep running."""
        host, port = world.address
        ways = Table(box=None, padding=(0, 2), show_header=False)
        for sender, fate in WAYS:
            ways.add_row(Text(_angled(sender)), Text(fate))
        self._say("See all of this in a browser, each session step by step:")
        self._commands(world.link())
        self._say("The link works once, within ten minutes. For another one:")
        self._commands(f"{_own_command()} page -c {world.configuration}")
        self._console.print()
        self._say("Now you. Ringback stays up on ", (f"{host}:{port}", "bold"), ". Try one of these senders:")
        self._console.print(Padding(ways, (1, 0, 1, 2)))
        self._say("The first mail of each makes a probe; then its answer is remembered.")
        self._console.print()
        self._say("With swaks:")
        self._commands(f"swaks --server {host}:{port} --from {STRANGER} --to {OURS}")
        self._say("By hand, with telnet or nc:")
        self._commands(
            f"telnet {host} {port}        (or: nc -C {host} {port})",
            f"EHLO {HELO}",
            f"MAIL FROM:<{STRANGER}>",
        )
        self._say("Or ask an exchanger yourself, in another terminal:")
        self._commands(f"{_own_command()} probe {STRANGER} -c {world.configuration}")
        self._say("What happens appears below. ", ("Ctrl-C", "bold"), " ends it all.")
        self._console.print()

    def live(self, event: Event) -> None:
        """Show one event as it happens."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, min_width=WIDEST_PARTIES)
        grid.add_column(overflow="fold")
        grid.add_row(self._parties(event), _words(event))
        self._console.print(Padding(grid, (0, 0, 0, 2)))

    def trouble(self, text: str) -> None:
        """Show a line of the server's log that reports an error."""
        self._console.print(Text(text, "red"))

    def ended(self) -> None:
        """Say that everything has stopped."""
        self._console.print(Text("\nEverything is stopped.", "dim"))

    def _say(self, *parts: str | tuple[str, str]) -> None:
        self._console.print(Padding(Text.assemble(*parts), (0, 0, 0, 1)))

    def _commands(self, *lines: str) -> None:
        """Show lines to copy: whole, however narrow the terminal is."""
        text = Text("\n".join(("", *(f"    {line}" for line in lines), "")), "bold cyan")
        self._console.print(text, soft_wrap=True)

    def _dialogue(self, events: Sequence[Event], since: float) -> RenderableType:
        """Return the events as lines: time, direction, text."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(justify="right", style="dim", no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for event in events:
            grid.add_row(f"{(event.at - since) * 1000:.0f} ms", self._parties(event), _words(event))
        return grid

    def _parties(self, event: Event) -> Text:
        """Return the direction of an event. The side that connected is always on the left."""
        hue, (right, left) = HUES[event.role], self._arrows
        if event.role is PeerRole.RINGBACK:
            return Text("  Ringback", hue)
        if event.role is PeerRole.CLIENT:
            return Text(f"{event.peer} {left if event.to_peer else right} Ringback", hue)
        return Text(f"  Ringback {right if event.to_peer else left} {event.peer}", hue)


def _words(event: Event) -> Text:
    """Return what was said; replies are coloured by their class, remarks stand out from speech."""
    if event.role is PeerRole.RINGBACK:
        return Text(event.text, HUES[event.role])
    if not event.spoken:
        return Text(f"({_visible(event.text)})", "italic dim")
    is_reply = event.to_peer == (event.role is PeerRole.CLIENT)
    if event.role is PeerRole.NAMESERVER or not is_reply:
        return Text(_visible(event.text))
    return Text(_visible(event.text), REPLY_STYLES.get(event.text[:1], ""))


def _visible(text: str) -> str:
    """Return foreign text with control characters escaped, so that no message can drive the terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )


def _beginning(content: bytes) -> str:
    """Return a message's first lines, as many as fit a screen."""
    text = content[:MOST_SHOWN].decode("utf-8", "backslashreplace").replace("\r\n", "\n").expandtabs().rstrip()
    left_out = len(content) - MOST_SHOWN
    return text if left_out <= 0 else f"{text}\n... and {left_out} bytes more"


def _own_command() -> str:
    """Return how a person calls `ringback` from where this one was called."""
    return sys.argv[0] if Path(sys.argv[0]).name == "ringback" else "ringback"


def _endpoint(address: tuple[str, int]) -> Text:
    return Text(f"{address[0]}:{address[1]}")


def _angled(sender: str) -> str:
    return f"<{sender}>"
