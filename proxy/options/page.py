"""The options of the page: where it is served, and who may see it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

from pydantic import model_validator

from config.schema.options import Options, option
from config.schema.values import ConfigPath, Network
from proxy.options.names import HostText, PageListenerValue


class PageOptions(Options):
    """What a configuration says about the page."""

    web_listener: tuple[PageListenerValue, ...] = option(
        (),
        doc="Addresses, such as `127.0.0.1:9026`, of the web page that shows what the server does. `ringback page` "
        "prints a link to log in. Beyond loopback it needs Web_TLS_Certificate and Web_Password_File. Default: none.",
        scopes=(),
    )
    web_hosts: tuple[HostText, ...] = option(
        (),
        doc="Names under which browsers reach Web_Listener, besides its addresses, `localhost`, Hostname and this "
        "machine's name. A request with another Host is refused.",
        scopes=(),
    )
    web_tls_certificate: ConfigPath | None = option(
        None,
        doc="PEM file with the page's certificate and its chain. If set, the addresses of Web_Listener that are not on "
        "loopback speak HTTPS.",
        scopes=(),
    )
    web_tls_key: ConfigPath | None = option(
        None, doc="PEM file with the key of Web_TLS_Certificate. Default: the same file.", secret=True, scopes=()
    )
    web_password_file: ConfigPath | None = option(
        None,
        doc="File of the users who may log in to the page with a password; `ringback password USER` makes a line for "
        "it. Clients that are not on loopback can log in only with a password.",
        scopes=(),
    )
    web_role: Literal["read", "read_mail", "operate"] = option(
        "read_mail",
        doc="What users with a password may do. `read`: only numbers. `read_mail`: also addresses, dialogues and "
        "reasons. `operate`: they may also end sessions and drain next hops.",
        scopes=(),
    )
    web_plain_networks: tuple[Network, ...] = option(
        (),
        doc="Networks whose clients are treated as if they were on loopback. This is for containers, which see their "
        "host's browsers under a bridge's address. If Web_Listener has no TLS, all other clients are refused.",
        scopes=(),
    )

    @property
    def page_is_refused(self) -> str:
        """Why the page cannot be served as configured; empty if it can."""
        far = [str(each) for each in self.web_listener if not ip_address(each.host).is_loopback]
        if not far or (self.web_plain_networks and self.web_tls_certificate is None):
            return ""
        missing = [
            name
            for name, value in (
                ("Web_TLS_Certificate", self.web_tls_certificate),
                ("Web_Password_File", self.web_password_file),
            )
            if value is None
        ]
        if not missing:
            return ""
        return f"Web_Listener {far[0]} is not on loopback: set {' and '.join(missing)}, or listen on 127.0.0.1"

    @model_validator(mode="after")
    def _is_not_open_to_strangers(self) -> PageOptions:
        if self.page_is_refused:
            raise ValueError(self.page_is_refused)
        return self
