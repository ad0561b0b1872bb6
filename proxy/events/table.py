"""The table: every event that Ringback logs. A test compares it with the calls in the code."""

from __future__ import annotations

from proxy.events.event import Event

_DEBUG = ("debug",)
_WARNING = ("warning",)
_ERROR = ("error",)
_CLIENT = "session transaction client helo tls cipher user"
_DECISION = "phase disposition decided_by code enhanced reply"
_CALLBACK = "callback_status callback_reason callback_text"
_WHO = "session client user mechanism"
_LETTER = "letter purpose origin recipient upstream reply"
_KILLED = "worker pid state seconds stack"

_MAIL = (
    Event(
        "session", "a client connection ended",
        "session client via helo messages recipients=recipient_count errors seconds ended",
        metric="ringback_sessions_total", history=True,
    ),
    Event(
        "message", "the client got the reply to a message, or left before it (`lost`)",
        f"{_CLIENT} sender recipients recipient_count message_id size {_DECISION}"
        " upstream taken_by queue_id client_ms policy_ms callback_ms upstream_ms",
        optional=f"{_CALLBACK} authentication dmarc", metric="ringback_messages_total", history=True,
    ),
    Event(
        "recipient", "the fate of one RCPT TO: logged at once if it is rejected, otherwise when its transaction ends",
        f"{_CLIENT} sender recipient {_DECISION} upstream taken_by queue_id",
        optional=_CALLBACK, metric="ringback_refusals_total", history=True,
    ),
    Event(
        "refused", "a command that is neither RCPT nor a message was rejected; CONNECT is the greeting, "
        "and without a command nothing had asked for the reply, as at a time-out",
        f"{_CLIENT} command argument {_DECISION}",
        optional=_CALLBACK, metric="ringback_refusals_total", history=True,
    ),
    Event("authentication", "what sender checks found, once for each message",
          "session transaction results",
          metric="ringback_authentication_results_total", history=True),
    Event("dialogue", "what was said before a command was rejected, without passwords and messages; at most four per "
          "session, and 300 per minute and worker", "session client lines milliseconds", levels=_DEBUG,
          history=True),
    Event("headers", "a message's header section, with `History_Headers`", "session transaction text", levels=_DEBUG,
          history=True),
    Event("answers", "what a script or module asked, with `History_Answers`; `dropped` more were not kept",
          "session transaction phase asked_outside dropped", levels=_DEBUG, history=True),
    Event("health_checks", "connections of health checks, counted once a minute; they have no other events", "checks"),
    Event("tls_failed", "a client's TLS handshake failed", "session client reason",
          metric="ringback_tls_handshakes_total", history=True),
    Event("proxy_header_refused", "a load balancer's connection did not begin with a PROXY header that names a client",
          "session client reason", levels=_WARNING, history=True),
    Event("authenticated", "a client logged in; passwords are never logged", _WHO,
          metric="ringback_authentications_total", history=True),
    Event("authentication_failed", "a client's password was wrong", _WHO,
          metric="ringback_authentications_total", history=True),
    Event("authentication_limited", "a client's network had sent too many wrong passwords, so this one was not checked",
          _WHO, metric="ringback_limit_hits_total", history=True),
    Event("credentials_unverified", "a password could not be checked; the client gets 454", "session reason",
          levels=_ERROR),
    Event("password_kind_refused", "the stored password of a user has a form that is never accepted, such as MD5; the "
          "client gets 535", "session user reason", levels=_WARNING, history=True),
    Event("password_file_loaded", "the password file had changed and was reloaded at an AUTH", "path users"),
    Event("password_file_unusable",
          "the changed password file cannot be read or has an error; the previous content stays in use", "path reason",
          levels=_ERROR),
)  # fmt: skip

_CALLBACKS = (
    Event("probe", "a probe produced a verdict; cached answers are not logged",
          "address sender status reason stage code text exchanger ip tls=probe_tls seconds", optional="session",
          metric="ringback_callbacks_total", history=True),
    Event("probe_dialogue", "what Ringback and the exchanger said to each other, with the milliseconds since the probe "
          "began", "address conversation", optional="session", levels=_DEBUG, history=True),
    Event("shadow", "with `enforce = false`: the callback's verdict, which was not applied",
          "session address status reason text", history=True),
    Event("callbacks", "a minute after a callback was asked, and at exit: the number of questions, and the answers "
          "since the previous line by status, reason and whether they were cached", "asked answers"),
    Event("callbacks_in_memory", "State_Directory is not writable, so verdicts are lost when the process ends",
          "reason"),
    Event("breaker_opened", "an exchanger rejected us, `times` in a row; it is not probed for `seconds`",
          "address times seconds", levels=_WARNING, metric="ringback_callback_breakers_open"),
    Event("breaker_closed", "an exchanger that had rejected us `times` in a row talks to us again",
          "address times reason", metric="ringback_callback_breakers_open"),
    Event("domain_not_probed",
          "a domain's exchanger rejected us three times in a row; the domain is not probed for a day",
          "domain seconds", levels=_WARNING),
    Event("forgery_storm",
          "many client networks use unknown senders of the domain; it is not probed for `seconds`", "domain seconds",
          levels=_WARNING),
    Event("forgery_storm_over", "a storm is over; logged when the domain is next asked about",
          "domain seconds"),
    Event("probe_failed", "a fault in Ringback; the answer is transient", "address", levels=_ERROR),
)  # fmt: skip

_POLICY = (
    Event("greylisted", "greylisting deferred a first or an early attempt",
          "session transaction client sender recipient known_as first_attempt wait",
          metric="ringback_greylist_total", history=True),
    Event("script", "a script called `ec_log`", "session phase text", history=True),
    Event("counter", "a script's action was counted", "session phase counter code",
          metric="ringback_script_counter_total"),
    Event("script_failed", "a run-time error in a script", "session script reason", optional="line", levels=_ERROR,
          metric="ringback_script_runs_total", history=True),
    Event("shadowed", "with `shadow MODULE on` at the console: what the module decided, which was not applied",
          "session validator phase disposition reply", history=True),
    Event("dnsbl_listed", "a zone lists the client or a name from its mail; logged once for each in a session",
          "session zone listed answer weight allow", metric="ringback_dnsbl_answers_total", history=True),
    Event("dnsbl_zone_off", "a zone's test entries are wrong, or it does not answer, so it is not used until they are "
          "correct; checked every hour, and every minute while it does not answer", "zone reason", levels=_WARNING),
    Event("dnsbl_zone_on", "a zone that was off works again", "zone"),
    Event("dnsbl_zone_error", "a zone answered that it does not serve us (127.255.255.0/24); logged once an hour",
          "zone reason", levels=_WARNING),
    Event("listed", "a client is in a list: this entry, which `operator` added at the console, refused it, or a script "
          "found it", "session list network reason operator", history=True),
    Event("list_changed", "an entry of a list was added at the console, removed, or has ended (`change`)",
          "list network change seconds reason operator", history=True),
    Event("list_loaded", "a list that a script defines was built from its source", "list networks seconds skipped "
          "first_skipped"),
    Event("list_not_loaded", "a list cannot be loaded; it stays as it was", "list reason", levels=_ERROR),
    Event("bounce_rules_not_read", "the rules of bounce_classifier have errors, or cannot be read; the old ones stay "
          "in use", "reason", levels=_ERROR),
    Event("list_redefined", "a script defines a list differently than before; the new definition replaces the old one",
          "list", levels=_WARNING),
    Event("lists_not_read", "the file of the operators' entries cannot be read; the lists begin without entries",
          "path reason", levels=_ERROR),
    Event("handler_failed", "a hook of a Python handler raised an exception or returned something that is not a reply; "
          "the client gets 451, or the reply of `handle_exception`", "session validator hook reason", levels=_ERROR,
          history=True),
    Event("validator_failed", "a module timed out or failed; its `on_error` option decided",
          "session validator phase reason", levels=_ERROR, history=True),
)  # fmt: skip

_DATASOURCES = (
    Event("datasource_down", "a server of a datasource cannot be reached, or does not answer in time: it is not used "
          "for 1 second, then 2, up to 30", "datasource server reason", levels=_ERROR, history=True),
    Event("datasource_up", "a server of a datasource that was down answers again", "datasource server", history=True),
    Event("datasource_failed", "a query has no result; scripts find the reason in `datasource_error`. The same reason "
          "is logged once a minute", "datasource reason", levels=_WARNING,
          metric="ringback_datasource_queries_total", history=True),
)  # fmt: skip

_UPSTREAM = (
    Event("upstream_unreachable", "the next hop is unreachable or rejects Ringback's connection; clients get 451",
          "upstream reason", optional="session", levels=_ERROR, metric="ringback_upstream_errors_total"),
    Event("upstream_down", "no address of the next hop works; logged with the first of several `upstream_unreachable`",
          "upstream reason", optional="session", levels=_ERROR, metric="ringback_upstream_up", history=True),
    Event("upstream_up", "a next hop that was down works again", "upstream address", optional="session",
          metric="ringback_upstream_up", history=True),
    Event("upstream_lost", "the connection to the next hop was lost during a transaction; the client gets 451",
          "session upstream reason", levels=_WARNING, metric="ringback_upstream_errors_total"),
    Event("upstream_refused_us", "the next hop's reply is about Ringback and not about the mail; the client gets 451. "
          "If `reply` names Ringback as the client, it shows which restriction to lift for Ringback's address",
          "session upstream step reply", levels=_ERROR, metric="ringback_upstream_errors_total"),
    Event("upstream_tls_failed", "the TLS handshake with the next hop failed; the session continued without TLS, as "
          "`tls_ifavailable_fallback` allows", "upstream address reason", optional="session", levels=_WARNING,
          metric="ringback_tls_handshakes_total"),
    Event("upstream_unresolved", "one of several next-hop names does not resolve now; the others are tried",
          "host reason", optional="session", levels=_WARNING),
    Event("recipients_of_different_upstreams", "a script gave one message to recipients with different next hops, or "
          "to several LMTP recipients; the client gets 451", "session", levels=_ERROR),
    Event("xforward_refused", "the next hop rejected XFORWARD; the message is still relayed, because XFORWARD is not "
          "`required`", "session reason", levels=_WARNING),
    Event("copy_refused", "after the message, the next hop rejected a recipient that a script had added",
          "session recipient reply", levels=_WARNING, history=True),
)  # fmt: skip

_OUTBOX = (
    Event("outbox_committed", "generated messages were stored; the outbox now holds `letters`, together `octets`",
          "session deliveries letters octets", metric="ringback_outbox_messages"),
    Event("outbox_delivered", "the next hop accepted a generated message", _LETTER, history=True),
    Event("outbox_deferred", "a generated message was not accepted; it is retried in `seconds`", f"{_LETTER} seconds",
          levels=_WARNING, history=True),
    Event("outbox_failed", "a generated message could not be delivered, and Ringback gave up", f"{_LETTER} reported",
          levels=_WARNING, history=True),
    Event("outbox_full",
          "Outbox_Size or Outbox_Letters is reached; mail that would create another letter gets 452",
          "folder letters octets", levels=_ERROR),
    Event("outbox_unavailable",
          "the outbox cannot be read or written; mail that needs it gets 451, and letters are delivered later",
          "folder reason", levels=_ERROR),
    Event("letters_dropped", "a script created messages from a Ringback letter that came back, or answers to automatic "
          "mail (`Auto-Submitted`); they were not sent", "session letters", levels=_WARNING),
    Event("letters_loop", "a message with ten `X-Ringback-Letter` fields was rejected before another letter was "
          "created from it", "session hops", levels=_WARNING),
)  # fmt: skip

_STORE = (
    Event("store_unavailable", "a store fails; state is kept in the process's memory until `store_recovered`",
          "store reason", levels=_WARNING, metric="ringback_store_up"),
    Event("store_recovered", "a store works again", "store seconds operations_in_memory", metric="ringback_store_up"),
    Event("throttle_unchanged", "a script created a throttle that already exists with other numbers; the old numbers "
          "stay", "name=throttle limit=throttle_limit wanted=throttle_limit", levels=_WARNING),
    Event("counting_alone", "Script_Store, or the keeper, does not answer: until `counting_together`, this process "
          "counts by itself, or refuses to count, as On_Store_Error says", "store reason", levels=_WARNING),
    Event("counting_together", "Script_Store or the keeper answers again; meanwhile this process counted `operations`",
          "store operations"),
    Event("counting_store_evicts", "Redis may forget keys, and so counts, when its memory is full; set its "
          "maxmemory-policy to noeviction", "policy", levels=_WARNING),
    Event("counting_read", "the counts from before the restart were read", "path entries"),
    Event("counting_not_read", "the file with the counts from before the restart cannot be read", "path reason",
          levels=_WARNING),
    Event("counting_not_written", "the file of counts cannot be written; Ringback tries again", "path reason",
          levels=_WARNING),
    Event("store_set_aside", "a store's file was broken; Ringback renamed it and created a new one",
          "path aside reason", levels=_WARNING),
)  # fmt: skip

_SERVICE = (
    Event("listening", "the server starts", "addresses upstream"),
    Event("serving", "all workers are serving for the first time", "workers"),
    Event("stopping", "a worker begins to stop", "sessions now"),
    Event("stopped", "a worker has stopped"),
    Event("supervisor_stopping", "a signal reached the supervisor", "workers now"),
    Event("supervisor_stopped", "the last worker has ended"),
    Event("supervisor_late", "the supervisor woke `seconds` late because the machine stalled or was overloaded; no "
          "worker is killed for this", "seconds", levels=_WARNING),
    Event("reloaded", "a new configuration took effect on SIGHUP", "warnings workers",
          metric="ringback_config_last_reload_successful"),
    Event("reload_rejected", "the configuration has errors or its build hangs, an address cannot be bound, or a worker "
          "did not start; the old configuration stays in use", "diagnostics", levels=_ERROR,
          metric="ringback_config_last_reload_successful"),
    Event("config_differs", "settings made at the console are in use, so the running configuration differs from its "
          "file; a "
          "reload or a restart drops them", "settings=count", levels=_WARNING, metric="ringback_config_differs"),
    Event("config_as_in_file", "the last setting made at the console was undone",
          metric="ringback_config_differs"),
    Event("steering_unanswered", "the control process ended before the supervisor could answer its request for the "
          "console", "reason", levels=_WARNING),
    Event("configuration_warning", "at the start and at a reload: a warning that `ringback check` also prints, with "
          "its place, the `text` of that line, and a `hint`; the `diagnostic` `not_enforced` is about what Momentum "
          "would enforce", "message", optional="file line column text hint diagnostic",
          levels=_WARNING),
    Event("configuration_warnings_left_out", "`count` more warnings were not logged", "count", levels=_WARNING),
    Event("cannot_listen", "an address cannot be bound; the server exits with status 69", "reason", levels=_ERROR),
    Event("open_files", "at the start: the file descriptor limit, raised as far as possible, and the number that the "
          "configuration needs; a warning if the limit is lower", "limit wanted", levels=("info", "warning")),
    Event("certificate_loaded", "the TLS certificate files had changed and were reloaded at a STARTTLS", "certificate"),
    Event("certificate_unusable", "the changed certificate or key cannot be read; the previous one stays in use",
          "certificate reason", levels=_ERROR),
    Event("library_message", "a library that Ringback uses warns", "library text", levels=("warning", "error")),
    Event("log_file_unusable", "Log_File cannot be opened. At SIGUSR1, the log continues in the old file; otherwise "
          "it goes to standard error", "path reason", levels=_ERROR),
    Event("log_event_failed", "a fault in Ringback: events of one kind could not be written, and are lost",
          levels=_ERROR),
    Event("log_observer_failed", "a fault in Ringback: the history gets no more of this process's events",
          levels=_ERROR),
    Event("log_dropped", "the last line of a process: `count` lines were lost because the log's reader did not keep "
          "up, or its disk was full", "count", levels=_WARNING, metric="ringback_log_lines_dropped_total"),
)  # fmt: skip

_HISTORY = (
    Event("history_unavailable", "the history cannot be written; mail is not affected, and missing events are counted",
          "folder reason", levels=_WARNING),
    Event("history_recovered", "the history can be written again", "folder", levels=_WARNING),
    Event("history_gap", "events are missing in the history, from `first` to `last`",
          "reason first last details accepted others refusals", levels=_WARNING),
    Event("history_line_malformed", "a fault in Ringback: an event did not fit into the history", "reason",
          levels=_ERROR),
)  # fmt: skip

_PROCESSES = (
    Event("worker_started", "the supervisor started a worker", "worker pid"),
    Event("worker_ended", "a worker ended because the supervisor stopped it", "worker pid seconds"),
    Event("worker_died", "a worker ended unexpectedly; it is replaced", "worker pid status seconds", levels=_ERROR,
          metric="ringback_worker_restarts_total"),
    Event("worker_waits", "the replacement starts in `seconds`, because previous ones died quickly; clients wait",
          "worker seconds", levels=_WARNING),
    Event("worker_hangs", "a worker's event loop did not run for Worker_Timeout, so the worker is killed", _KILLED,
          levels=_ERROR, metric="ringback_worker_restarts_total"),
    Event("worker_stuck", "a worker was not serving 30 s after its start and is killed", _KILLED, levels=_ERROR,
          metric="ringback_worker_restarts_total"),
    Event("worker_recovered",
          "a worker that seemed to hang continued while its `stack` was being read; it is not killed",
          "worker pid stack", levels=_WARNING),
    Event("worker_not_started", "the system cannot start a process", "worker reason", levels=_ERROR),
    Event("worker_failed", "a fault in Ringback ended the worker", levels=_ERROR),
    Event("keeper_started", "the keeper serves", "worker pid"),
    Event("keeper_ended", "the keeper exited when told to", "worker pid seconds"),
    Event("keeper_died", "as `worker_died`, for the keeper; meanwhile new senders get `transient (keeper)`",
          "worker pid status seconds", levels=_ERROR, metric="ringback_worker_restarts_total"),
    Event("keeper_waits", "as `worker_waits`, for the keeper", "worker seconds", levels=_WARNING),
    Event("keeper_hangs", "as `worker_hangs`, for the keeper", f"{_KILLED} serves", levels=_ERROR),
    Event("keeper_recovered", "as `worker_recovered`, for the keeper", "worker pid stack", levels=_WARNING),
    Event("keeper_not_started", "as `worker_not_started`, for the keeper", "worker reason", levels=_ERROR),
    Event("keeper_handed_over", "on a reload, the old keeper has handed everything over to the new one, and finishes "
          "its `probes`", "probes"),
    Event("keeper_took_over", "on a reload, the new keeper has taken over the old keeper's state", "verdicts probes"),
    Event("keeper_not_handed_over",
          "on a reload, the old keeper did not answer, so the new one begins with what the store has", "reason",
          levels=_WARNING),
    Event("keeper_resumed", "the keeper of a rejected configuration ended, and the old one continues",
          levels=_WARNING),
    Event("keeper_silent", "the keeper does not answer a worker; `waiting` queries are open", "waiting",
          levels=_WARNING),
    Event("keeper_answers", "the keeper answers a worker again; `unanswered` queries got no answer", "unanswered"),
    Event("keeper_link_malformed", "a fault in Ringback: a connection between its processes failed and is opened again",
          "reason", optional="peer", levels=_ERROR),
    Event("keeper_link_unread", "a fault in Ringback: a process does not read; the connection is opened again",
          "peer octets", levels=_ERROR),
    Event("keeper_door_failed", "a fault in Ringback: the keeper cannot take a connection", "reason", levels=_ERROR),
    Event("page_login", "a login to the page with a password", "client user"),
    Event("page_login_failed", "a wrong password at the page", "client user", levels=_WARNING),
    Event("page_failed", "a fault in Ringback: the page could not answer a request", "path", levels=_ERROR),
    Event("control_started", "the control process was started; mail never waits for it", "worker pid"),
    Event("control_ended", "the control process exited when told to: at a stop, and at a reload, which starts another",
          "worker pid seconds"),
    Event("control_died", "as `worker_died`, for the control process; mail is not affected",
          "worker pid status seconds",
          levels=_ERROR, metric="ringback_worker_restarts_total"),
    Event("control_waits", "as `worker_waits`, for the control process", "worker seconds", levels=_WARNING),
    Event("control_hangs", "as `worker_hangs`, for the control process; also if it does not end when told to",
          f"{_KILLED} serves", levels=_ERROR, metric="ringback_worker_restarts_total"),
    Event("control_recovered", "as `worker_recovered`, for the control process", "worker pid stack", levels=_WARNING),
    Event("control_not_started", "as `worker_not_started`, for the control process", "worker reason", levels=_ERROR),
    Event("control_part_failed", "a part of the control process does not work; its other parts and mail are not "
          "affected", "part step", levels=_ERROR),
    Event("control_link_malformed", "a fault in Ringback: the control process cannot read what another one sent",
          "reason", optional="peer", levels=_ERROR),
    Event("console_command", "an operator changed something at the console, or tried to without permission",
          "user=operator command=console_command reason outcome", history=True),
    Event("console_refused", "a local user who may not use the console connected to its socket", "user=operator pid",
          levels=_WARNING, history=True),
    Event("console_unavailable", "the socket of `ringback console` and `ringback status` cannot be used; mail goes on",
          "reason", levels=("info", "error")),
    Event("console_failed", "a fault in Ringback: a command of the console failed", "command=console_command",
          levels=_ERROR),
    Event("question_failed", "a fault in Ringback: a process could not answer the console", "question",
          levels=_ERROR),
    Event("control_door_failed", "a fault in Ringback: the control process cannot take a connection", "reason",
          levels=_ERROR),
)  # fmt: skip

_FAULTS = (
    Event("command_failed", "a fault in Ringback; the client gets no worse than 451. Please report it with the log "
          "line", "session command", levels=_ERROR, history=True),
    Event("reception_failed", "the same, while a message was being received", "session", levels=_ERROR, history=True),
    Event("session_failed", "the same, outside a command; the session ends", "session", levels=_ERROR, history=True),
    Event("task_failed", "the same, in a task", "task owner", levels=_ERROR),
)  # fmt: skip

GROUPS = {
    "Sessions and mail": _MAIL,
    "Callbacks": _CALLBACKS,
    "Policy": _POLICY,
    "Datasources": _DATASOURCES,
    "Next hops": _UPSTREAM,
    "Ringback's own messages": _OUTBOX,
    "Stores": _STORE,
    "The service": _SERVICE,
    "The history": _HISTORY,
    "Processes": _PROCESSES,
    "Faults": _FAULTS,
}
EVENTS = {event.name: event for group in GROUPS.values() for event in group}
