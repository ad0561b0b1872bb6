"""Messages of `ringback config init` about answers, and about what it could not read from another server's file."""

from __future__ import annotations


def nothing_given(what: str, flag: str) -> str:
    """Input ended before a question was answered that has no default."""
    return f"no answer to `{what}`: write {flag}"


def every_domain() -> str:
    """`*` as a domain."""
    return "`*` takes mail for every domain, which is an open relay: list your own domains"


def every_client(network: str) -> str:
    """`0.0.0.0/0` as a network."""
    return f"{network} lets every client send to any domain, which is an open relay: list your own networks"


def not_a_domain(text: str) -> str:
    """An address, a URL or a leading dot instead of a domain."""
    return f"{text} is not a domain: write it as example.com, and its subdomains as *.example.com"


def not_printable(text: str) -> str:
    """A line break or another control character within an answer."""
    return f"{text!r} has a character that cannot be printed: leave it out"


def unreadable(what: str, reason: str) -> str:
    """A part of the other server's file that a plain file does not tell."""
    return f"{what}: {reason}. Add its items by hand"


def not_excluded(what: str, item: str) -> str:
    """`!192.0.2.1` within a list of networks."""
    return f"{what} excludes {item}. Ringback's list cannot exclude networks, so check that the others are not too wide"


def loopback_left_out(what: str, networks: str) -> str:
    """This machine's own addresses, which another server trusts."""
    return (
        f"{what} has this machine, {networks}. It is not in Relay_Hosts yet, so that Ringback verifies the senders of "
        "test mail from here. If programs here send mail to other domains through port 25, add it before "
        "Ringback takes that port"
    )


def looked_up(server: str, domains: str) -> str:
    """The other server delivers the mail itself, so it is the next hop."""
    return (
        f"{server} delivers mail for {domains} itself, so it is the next hop, at its present address. Before Ringback "
        "takes port 25, move it to another address, such as 127.0.0.1:2526, and write that here (docs/behind-it.md)"
    )


def not_by_smtp(server: str, domain: str, transport: str) -> str:
    """A transport that is no SMTP: a mailbox, a pipe, LMTP."""
    return (
        f"{server} delivers {domain} by {transport}, which is not SMTP. The file has no next hop of its own for it: "
        f"mail for it goes to the same server as the other mail"
    )


def smarthost(server: str, where: str) -> str:
    """A smarthost is for mail that goes out, not for the mail of one's own domains."""
    return f"{server} sends mail for other domains to {where}, which is not the next hop of your own mail"


def by_exchangers(host: str) -> str:
    """Postfix looks up the exchangers of a host without brackets."""
    return (
        f"Postfix looks up the exchangers (MX) of {host}. Ringback connects to the host; to look them up, write "
        f'Routes = ( "smtp://{host}?type=mx" ) instead of Gateway'
    )


def exists(path: str) -> str:
    """The file is there already."""
    return f"{path} exists: name another file, or write --force, which keeps the old one as {path}.old"


def cannot_write(path: str, reason: str) -> str:
    """The file or its folder cannot be written."""
    return f"cannot write {path}: {reason}. Name another file: ringback config init ecelerity.conf"
