"""The table: every metric of Ringback. Its order is also the layout of a block and the order of the reference page."""

from __future__ import annotations

from proxy.events.table import EVENTS
from proxy.metrics.deciders import LIMITS
from proxy.metrics.metric import OTHER, SPARE, Label, Layout, Merge
from proxy.options.schemes import KINDS

SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)
"""Buckets of most durations."""

LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

MESSAGE_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)

SIZES = (1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20)

# ---- labels

LISTENER = Label("listener", most=16)
UPSTREAM = Label("upstream", most=32)
SCRIPT = Label("script", most=32)
CERTIFICATE = Label("certificate", most=16)
DATASOURCE = Label("datasource", most=16)
ZONE = Label("zone", most=32)
WORKER = Label("worker", most=257)

COMMAND = Label(
    "phase", ("connect", "ehlo", "starttls", "auth", "xclient", "mailfrom", "rcptto", "data", "each_rcpt", OTHER)
)
"""The phase of a command; `other` is RSET, NOOP, VRFY, HELP, QUIT and anything that is not a command."""

CLASS = Label("class", ("2xx", "3xx", "4xx", "5xx"))
REFUSED = Label("class", ("4xx", "5xx"))
SOURCE = Label(
    "source",
    ("script", "smtp_cbv", "limit", "access", "authentication", "tls", "conntrol", "mail_loop", "spf_v1", "dnsbl",
     "iprev", "dmarc", "arc", "dkim_validate", "greylist", "python", "upstream", "protocol", "outbox", "list",
     "operator", "shutdown", "ringback", OTHER),
)  # fmt: skip
"""The table of `proxy.metrics.deciders` says which word belongs to which source; a module counts under its type."""

LIMIT = Label("limit", (*LIMITS, OTHER))
ENDED = Label("ended", ("quit", "timeout", "client_gone", "shutdown", "failed", "refused", "health_check"))
STATE = Label("state", ("idle", "busy", "content"))
OUTCOME = Label("outcome", ("relayed", "refused", "deferred", "discarded", "lost"))
PHASE = Label("phase", ("accept", "connect", "ehlo", "mailfrom", "rcptto", "data", "each_rcpt", "spool", OTHER))
PART = Label("part", ("script", "dns", "callback", "upstream", "total"))
STATUS = Label("status", ("pass", "fail", "transient", "error"))
REMEMBERED = Label("remembered", ("true", "false"))
STEP = Label("phase", ("mailfrom", "rcptto", "data", "dot"))
TROUBLE = Label("reason", ("unreachable", "refused_us", "lost", "busy", "tls"))
RECORD = Label("type", ("A", "AAAA", "MX", "PTR", "TXT", "NS", OTHER))
LISTING = Label("result", ("listed", "not_listed", "error", "unanswered", "off"))
ANSWER = Label("result", ("ok", "nxdomain", "nodata", "servfail", "timeout"))
ASKED = Label("result", ("hit", "pending", "ok", "failed"))
SIDE = Label("side", ("client", "upstream"))
VERSION = Label("version", ("TLSv1.2", "TLSv1.3", OTHER))
RESULT = Label("result", ("ok", "failed"))
MECHANISM = Label("mechanism", ("PLAIN", "LOGIN", OTHER))
LOGIN = Label("result", ("ok", "failed", "limited", "unverified"))
RUN = Label("result", ("pass", "refused", "discarded", "failed"))
METHOD = Label("method", ("auth", "iprev", "spf", "sender-id", "dkim", "dmarc", "arc", "dnswl", OTHER))
GREYLISTED = Label("result", ("new", "early", "passed", "known_client", "whitelisted", "unavailable"))
FOUND = Label("result", ("pass", "fail", "softfail", "neutral", "none", "policy", "temperror", "permerror", OTHER))
STORE = Label("store", tuple(KINDS))
OPERATION = Label("operation", ("read", "write"))
REASON = Label("reason", ("died", "hung", "not_started"))
ROLE = Label("role", ("supervisor", "worker", "keeper", "control"))
EVENT = Label("level event", tuple(f"{level} {event.name}" for event in EVENTS.values() for level in event.levels))

# ---- metrics

LAYOUT = Layout()

SCRIPT_COUNTER = LAYOUT.counter(
    "ringback_script_counter_total",
    f"What scripts count, by the names they chose: the first {SPARE} names, the rest in `{OTHER}`.",
    Label("counter", most=SPARE + 1),
)

SESSIONS = LAYOUT.counter("ringback_sessions_total", "Sessions that ended, by reason.", LISTENER, ENDED)
OPEN_SESSIONS = LAYOUT.gauge(
    "ringback_sessions",
    "Open sessions: waiting for the client (idle), for Ringback (busy), or within a message (content). Updated every "
    "second.",
    LISTENER,
    STATE,
)
CONNECTIONS = LAYOUT.gauge("ringback_connections", "Open connections of clients.")
COMMANDS = LAYOUT.counter(
    "ringback_commands_total", "Replies to clients; the reply to a message is in phase data.", LISTENER, COMMAND, CLASS
)
REFUSALS = LAYOUT.counter(
    "ringback_refusals_total", "Rejected commands and messages, by what decided.", COMMAND, SOURCE, REFUSED
)
MESSAGES = LAYOUT.counter("ringback_messages_total", "Messages, by outcome.", OUTCOME)
MESSAGE_SIZE = LAYOUT.histogram("ringback_message_size_bytes", "Size of messages as received.", SIZES)
MESSAGE_TIME = LAYOUT.histogram("ringback_message_seconds", "From MAIL to the reply to the message.", MESSAGE_SECONDS)
PHASES = LAYOUT.histogram(
    "ringback_phase_seconds",
    "Time in a phase (a message's time is in its last phase): all of policy (total), and within it callbacks, DNS for "
    "scripts, and the rest (script). The wait of a whole message for the next hop (upstream, in phase data) is not in "
    "total.",
    SECONDS,
    PHASE,
    PART,
)

CALLBACKS = LAYOUT.counter(
    "ringback_callbacks_total", "Answers of callbacks, and whether they came from the cache.", STATUS, REMEMBERED
)
CALLBACK_TIME = LAYOUT.histogram("ringback_callback_seconds", "Duration of probes.", SECONDS, STATUS)
IN_FLIGHT = LAYOUT.gauge("ringback_callbacks_in_flight", "Probes in progress.")
BREAKERS = LAYOUT.gauge("ringback_callback_breakers_open", "Exchangers that are not probed because they rejected us.")
CACHE_LOOKUPS = LAYOUT.counter("ringback_callback_cache_lookups_total", "Lookups of verdicts in memory.")
CACHE_HITS = LAYOUT.counter("ringback_callback_cache_hits_total", "Lookups that found a valid verdict.")
CACHE_EVICTIONS = LAYOUT.counter(
    "ringback_callback_cache_evictions_total", "Verdicts dropped from memory because it was full."
)
CACHE_ENTRIES = LAYOUT.gauge("ringback_callback_cache_entries", "Verdicts in memory.")

UP = LAYOUT.gauge(
    "ringback_upstream_up", "Whether a next hop accepts connections, as far as is known.", UPSTREAM, merge=Merge.UP
)
POOLED = LAYOUT.gauge("ringback_upstream_connections", "Connections to a next hop.", UPSTREAM)
POOLED_IDLE = LAYOUT.gauge(
    "ringback_upstream_connections_idle", "Connections to a next hop that no transaction uses.", UPSTREAM
)
POOL_LIMIT = LAYOUT.gauge(
    "ringback_upstream_connections_limit",
    "The maximum number of connections to a next hop, for all workers together.",
    UPSTREAM,
    merge=Merge.MOST,
)
POOL_WAITING = LAYOUT.gauge("ringback_upstream_waiting", "Transactions that wait for a connection.", UPSTREAM)
UPSTREAM_REPLIES = LAYOUT.counter("ringback_upstream_replies_total", "Replies of a next hop.", UPSTREAM, STEP, CLASS)
CONNECT_TIME = LAYOUT.histogram(
    "ringback_upstream_connect_seconds", "From connecting to the end of EHLO and TLS.", SECONDS, UPSTREAM
)
UPSTREAM_ERRORS = LAYOUT.counter(
    "ringback_upstream_errors_total", "Failures of a next hop, for which clients get 451.", UPSTREAM, TROUBLE
)

DATASOURCE_QUERIES = LAYOUT.counter(
    "ringback_datasource_queries_total",
    "Datasource queries: answered from the cache (hit), joined to the same query in progress (pending), or sent.",
    DATASOURCE,
    ASKED,
)

QUERIES = LAYOUT.counter("ringback_dns_queries_total", "Queries to name servers.", RECORD, ANSWER)
CACHE_LOOKUPS = LAYOUT.counter("ringback_dns_cache_lookups_total", "Look-ups in the cache of recent DNS answers.")
CACHE_HITS = LAYOUT.counter(
    "ringback_dns_cache_hits_total", "Look-ups that found an answer in that cache, or joined a query in progress."
)
QUERY_TIME = LAYOUT.histogram("ringback_dns_seconds", "Time to a clear answer, or to giving up.", SECONDS, RECORD)

DNSBL_ANSWERS = LAYOUT.counter(
    "ringback_dnsbl_answers_total",
    "What zones said about addresses and names, including cached answers.",
    ZONE,
    LISTING,
)

LIMIT_HITS = LAYOUT.counter("ringback_limit_hits_total", "Commands rejected because of a limit.", LIMIT)
TRACKED = LAYOUT.gauge("ringback_limit_tracked_clients", "Client networks that rate limits remember.")

HANDSHAKES = LAYOUT.counter("ringback_tls_handshakes_total", "TLS handshakes.", SIDE, VERSION, RESULT)
EXPIRY = LAYOUT.gauge(
    "ringback_tls_certificate_expiry_timestamp_seconds",
    "When the certificate in a file expires.",
    CERTIFICATE,
    merge=Merge.MOST,
)
AUTHENTICATIONS = LAYOUT.counter("ringback_authentications_total", "Logins of clients.", MECHANISM, LOGIN)

GREYLIST = LAYOUT.counter("ringback_greylist_total", "Attempts that greylisting judged.", GREYLISTED)
EVIDENCE = LAYOUT.counter(
    "ringback_authentication_results_total",
    "Results of sender checks, in the terms of RFC 8601.",
    METHOD,
    FOUND,
)

SCRIPT_RUNS = LAYOUT.counter("ringback_script_runs_total", "Runs of a script, by what it decided.", SCRIPT, RUN)
SCRIPT_TIME = LAYOUT.histogram(
    "ringback_script_seconds", "Duration of a script's runs, including waits.", SECONDS, SCRIPT
)

STORE_UP = LAYOUT.gauge("ringback_store_up", "Whether a store works.", STORE, merge=Merge.UP)
STORE_TIME = LAYOUT.histogram("ringback_store_seconds", "Duration of a store's operations.", SECONDS, STORE, OPERATION)
LETTERS = LAYOUT.gauge("ringback_outbox_messages", "Ringback's own messages that are waiting.", merge=Merge.MOST)
OLDEST = LAYOUT.gauge(
    "ringback_outbox_oldest_timestamp_seconds",
    "When the oldest message in the outbox was created; 0 if the outbox is empty.",
    merge=Merge.MOST,
)

WORKERS = LAYOUT.gauge("ringback_workers", "Workers that are serving.")
RESTARTS = LAYOUT.counter("ringback_worker_restarts_total", "Processes that were replaced.", REASON)
LAG = LAYOUT.histogram(
    "ringback_event_loop_lag_seconds",
    "How late a process's event loop runs, measured every second.",
    LAG_SECONDS,
)
LOGGED = LAYOUT.counter("ringback_log_events_total", "Events in the log.", EVENT)
LINES_DROPPED = LAYOUT.counter(
    "ringback_log_lines_dropped_total", "Lines that were lost because the log's reader did not keep up."
)
TRACE_DROPPED = LAYOUT.counter(
    "ringback_trace_events_dropped_total", "Rows of `tail` and `trace` that a slow viewer did not get."
)

CPU = LAYOUT.counter(
    "ringback_process_cpu_seconds_total", "Processor time of the processes of a role.", ROLE, scale=1_000_000
)

RELOADED_AT = LAYOUT.gauge(
    "ringback_config_last_reload_success_timestamp_seconds", "When the configuration was loaded.", merge=Merge.MOST
)
RELOAD_WORKED = LAYOUT.gauge(
    "ringback_config_last_reload_successful", "Whether the last reload succeeded.", merge=Merge.MOST
)

DIFFERS = LAYOUT.gauge(
    "ringback_config_differs",
    "Settings made at the console that differ from the configuration file.",
    merge=Merge.MOST,
)

# ---- for ourselves

PID = LAYOUT.gauge("pid", "The process.", hidden=True)
WORKER_UP = LAYOUT.gauge("worker_up", "Whether a worker serves and answers, by its number.", WORKER, hidden=True)
BEAT = LAYOUT.gauge("beat", "The supervisor's last turn, in nanoseconds of CLOCK_MONOTONIC.", hidden=True)
LISTENS = LAYOUT.gauge("listens", "Whether workers serve the configuration.", hidden=True)
STOPS = LAYOUT.gauge("stops", "Whether the supervisor stops.", hidden=True)
