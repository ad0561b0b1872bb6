"""A schema such as the proxy hands in, for the tests of the language."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import model_validator

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec, Schema
from config.schema.values import Bytes, ConfigPath, DomainPatterns, Endpoint, FileMode, Network, Seconds
from config.scopes.listeners import Listeners


class Core(Options):
    esmtp_listener: Listeners = option((), doc="Where to listen.", reloadable=False)
    hostname: str | None = option(None, doc="The name of this server.")
    relay_domains: DomainPatterns = option(DomainPatterns(), doc="Domains that mail is taken for.")
    relay_hosts: tuple[Network, ...] = option((), doc="Clients that may send anywhere.")
    gateway: Endpoint | None = option(None, doc="The server that mail is handed to.")
    remote_smtp_port: int = option(25, ge=1, le=65535, doc="The port of that server.")
    nameservers: tuple[Endpoint, ...] = option((), doc="DNS servers; none means the system's.")
    connect_timeout: Seconds = option(30, ge=0.1, doc="How long connecting may take.")
    max_message_size: Bytes = option(0, ge=0, aliases=("message_size",), doc="The largest message; 0 is no limit.")
    idle_time: Seconds = option(300, ge=0, doc="How long a client may be silent.")
    tls: Literal["no", "ifavailable", "required"] = option("no", doc="Whether to encrypt towards the server.")
    generate_bounces: bool = option(default=True, doc="A switch.")
    file_mode: FileMode = option(0o660, doc="Permissions of a socket.")
    spoolbase: ConfigPath | None = option(None, doc="A folder.")
    message_expiration: Seconds = option(604800, ge=0, doc="How long a message is tried.")
    max_outbound_connections: int = option(32, ge=1, doc="Connections to one server.")
    require_ehlo: bool = option(default=False, doc="Whether EHLO must come first.")
    always_allow: bool = option(default=False, doc="Whether to skip the checks.")
    smtp_extensions: tuple[str, ...] = option((), doc="Extensions that are offered.")
    tls_key: ConfigPath | None = option(None, doc="The private key.", scopes=("listen",))
    alias_schemes: tuple[str, ...] = option((), doc="A list of words.")


class Callback(Options):
    phase: Literal["mailfrom", "rcptto"] | None = option(None, doc="When it runs by itself.")
    mailfrom: str = option("", doc="The sender that it shows.")
    map: Mapping[str, str] = option(default_factory=dict, doc="Domains to ask in the place of others.")
    port: int = option(25, ge=1, le=65535, doc="The port of the servers that it asks.")
    timeout: Seconds = option(25, ge=1, le=300, doc="How long a whole probe may take.")
    allow_networks: tuple[Network, ...] = option((), doc="Networks that may be probed besides the global ones.")
    max_probes: int = option(1000, ge=1, doc="Probes at once.")
    max_probes_per_mx: int = option(4, ge=1, doc="Probes at once of one server.")

    @model_validator(mode="after")
    def _one_server_is_no_more_than_all(self) -> Self:
        if self.max_probes_per_mx > self.max_probes:
            raise ValueError("max_probes_per_mx is above max_probes")
        return self


class Scripts(Options):
    mailfrom_phase1: ConfigPath | None = option(None, doc="The site's script at MAIL.")
    rcptto_phase1: ConfigPath | None = option(None, doc="The site's script at RCPT.")
    core_hook: ConfigPath | None = option(None, aliases=("hook:core_x",), doc="A hook's script.")


class Strict(Options):
    server: Endpoint = option(doc="It must be set.")


SCHEMA = Schema(
    core=Core,
    modules=(
        ModuleSpec("smtp_cbv", Callback, summary="Asks the sender's server."),
        ModuleSpec("sieve", Scripts, ("Validate validate/sieve", "Module generic/sieve"), ignored=("debug_level",)),
        ModuleSpec("ds_core", Strict, ("Module datasource/ds_core",)),
    ),
)
