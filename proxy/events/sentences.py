"""The sentence that a person reads for each event, on a console and in the journal.

A name in braces is a field. If an event has a disposition, a sentence of its own may follow its name.
"""

from __future__ import annotations

_MAIL = {
    "session": "{client} disconnected after {messages} messages ({ended})",
    "message relayed": 'Message from <{sender}> for {recipients} was relayed to {taken_by}, which said "{reply}"',
    "message discarded": "Message from <{sender}> for {recipients} was discarded by {decided_by}",
    "message lost": "{client} left before it got a reply to its message from <{sender}> for {recipients}",
    "message": 'Message from <{sender}> for {recipients} was {disposition} by {decided_by}: "{reply}"',
    "recipient relayed": "Mail from <{sender}> for <{recipient}> was relayed to {taken_by}",
    "recipient discarded": "Mail from <{sender}> for <{recipient}> was discarded by {decided_by}",
    "recipient lost": "No message arrived for <{recipient}> from <{sender}>",
    "recipient": 'Recipient <{recipient}> of <{sender}> was {disposition} by {decided_by}: "{reply}"',
    "refused": '{command} of {client} was {disposition} by {decided_by}: "{reply}"',
    "authentication": "Sender checks of {transaction}: {results}",
    "dialogue": "{client} was rejected after {lines}",
    "probe_dialogue": "The callback about <{address}>: {conversation}",
    "headers": "Header section of {transaction}: {text}",
    "answers": "Policy's queries in phase {phase}: {asked_outside}",
    "health_checks": "{checks} health checks in the last minute",
    "tls_failed": "The TLS handshake with {client} failed: {reason}",
    "proxy_header_refused": "The connection from {client} has no valid PROXY header: {reason}",
    "authenticated": '{client} logged in as "{user}"',
    "authentication_failed": '{client} sent a wrong password for "{user}"',
    "authentication_limited": '{client} sent too many wrong passwords; the one for "{user}" was not checked',
    "credentials_unverified": "A password could not be checked: {reason}",
    "password_kind_refused": 'The login of "{user}" was rejected: {reason}',
    "password_file_loaded": "Password file {path} was loaded; it has {users} users",
    "password_file_unusable": "Password file {path} cannot be used: {reason}",
}

_CALLBACKS = {
    "probe": 'Callback about <{address}>: {status} ({reason}) at stage {stage}; {exchanger} said "{text}"',
    "shadow": "The callback about <{address}> would have returned {status} ({reason})",
    "callbacks": "Callbacks in the last minute: {asked} queries",
    "callbacks_in_memory": "Callback verdicts are kept in memory only: {reason}",
    "breaker_opened": "Exchanger {address} rejected us {times} times; it is not probed for {seconds} s",
    "breaker_closed": "Exchanger {address} may be probed again: {reason}",
    "domain_not_probed": "Domain {domain} is not probed for {seconds} s",
    "forgery_storm": "Forgery storm: {domain} is not probed for {seconds} s",
    "forgery_storm_over": "The forgery storm against {domain} is over",
    "probe_failed": "The probe of <{address}> failed because of a fault in Ringback",
}

_POLICY = {
    "script": "Script says: {text}",
    "counter": "Script counts {counter}",
    "script_failed": "Script {script} failed: {reason}",
    "greylisted": "Greylisting deferred mail from <{sender}> to <{recipient}> for {wait} s",
    "shadowed": '{validator} would have decided at {phase}: {disposition} "{reply}"',
    "dnsbl_listed": "{zone} lists {listed} ({answer}, weight {weight})",
    "dnsbl_zone_off": "Zone {zone} is not used: {reason}",
    "dnsbl_zone_on": "Zone {zone} is used again",
    "dnsbl_zone_error": "Zone {zone} refuses our queries: {reason}",
    "listed": "The client is in list {list} as {network}, added by {operator}: {reason}",
    "list_changed": "Entry {network} of list {list} was {change} ({operator}: {reason})",
    "list_loaded": "List {list} was loaded: {networks} networks",
    "list_not_loaded": "List {list} cannot be loaded: {reason}",
    "bounce_rules_not_read": "The bounce rules cannot be reloaded: {reason}",
    "list_redefined": "List {list} was redefined with different settings",
    "lists_not_read": "The operators' lists cannot be read from {path}: {reason}",
    "handler_failed": "Hook {hook} of {validator} failed: {reason}",
    "validator_failed": "Module {validator} failed in phase {phase}: {reason}",
}

_DATASOURCES = {
    "datasource_down": "Datasource {datasource}: {server} is down: {reason}",
    "datasource_up": "Datasource {datasource}: {server} answers again",
    "datasource_failed": "A query to datasource {datasource} failed: {reason}",
}

_UPSTREAM = {
    "upstream_unreachable": "Next hop {upstream} cannot be reached: {reason}",
    "upstream_down": "Next hop {upstream} is down: {reason}",
    "upstream_up": "Next hop {upstream} is up again",
    "upstream_lost": "The connection to next hop {upstream} was lost: {reason}",
    "upstream_refused_us": 'Next hop {upstream} rejected Ringback at {step}: "{reply}"',
    "upstream_tls_failed": "The TLS handshake with next hop {upstream} failed: {reason}",
    "upstream_unresolved": "Next hop {host} does not resolve: {reason}",
    "recipients_of_different_upstreams": "A script gave one message to recipients with different next hops",
    "xforward_refused": "The next hop rejected XFORWARD: {reason}",
    "copy_refused": 'The next hop rejected added recipient <{recipient}>: "{reply}"',
}

_HISTORY = {
    "history_unavailable": "The history in {folder} cannot be written: {reason}",
    "history_recovered": "The history in {folder} can be written again",
    "history_gap": "The history lacks {refusals} refusals, {accepted} accepted messages, {details} of their recipients "
    "and sessions, and {others} other events from {first} to {last}: {reason}",
    "history_line_malformed": "A fault in Ringback: an event did not fit into the history: {reason}",
}

_OUTBOX = {
    "outbox_committed": "{deliveries} generated messages were stored",
    "outbox_delivered": "Generated message {letter} for <{recipient}> was delivered",
    "outbox_deferred": 'Generated message {letter} for <{recipient}> will be retried in {seconds} s: "{reply}"',
    "outbox_failed": 'Generated message {letter} for <{recipient}> could not be delivered: "{reply}"',
    "outbox_full": "The outbox in {folder} is full",
    "outbox_unavailable": "The outbox in {folder} cannot be used: {reason}",
    "letters_dropped": "{letters} generated messages were not sent, because they would answer automatic mail",
    "letters_loop": "A message that was forwarded {hops} times was rejected as a loop",
}

_STORE = {
    "store_unavailable": "Store {store} is not available: {reason}",
    "store_recovered": "Store {store} works again after {seconds} s",
    "throttle_unchanged": "Throttle {name} stays at {limit}, although a script asked for {wanted}",
    "counting_alone": "{store} does not count for this process: {reason}",
    "counting_together": "{store} counts for this process again, after {operations} operations without it",
    "counting_store_evicts": "Redis may forget counts: its maxmemory-policy is {policy}",
    "counting_read": "Read {entries} counts from {path}",
    "counting_not_read": "Cannot read counts from {path}: {reason}",
    "counting_not_written": "Cannot write counts to {path}: {reason}",
    "store_set_aside": "Store file {path} was broken and is now {aside}: {reason}",
}

_SERVICE = {
    "listening": "Ringback listens on {addresses} and relays to {upstream}",
    "serving": "All {workers} workers are serving",
    "stopping": "A worker is stopping; {sessions} sessions are running",
    "stopped": "A worker has stopped",
    "supervisor_stopping": "Ringback is stopping; {workers} workers are running",
    "supervisor_stopped": "Ringback has stopped",
    "supervisor_late": "The supervisor woke {seconds} s late",
    "config_differs": "{settings} console settings are in use: the running configuration differs from its file",
    "config_as_in_file": "The last console setting was undone: the running configuration matches its file",
    "steering_unanswered": "The supervisor could not answer the control process: {reason}",
    "reloaded": "A new configuration took effect",
    "reload_rejected": "The new configuration was rejected; the old one stays in use",
    "configuration_warning": "Configuration warning: {message}",
    "configuration_warnings_left_out": "{count} more configuration warnings were not logged",
    "cannot_listen": "Ringback cannot listen: {reason}",
    "open_files": "{limit} files may be open; the configuration needs {wanted}",
    "certificate_loaded": "Certificate {certificate} was reloaded",
    "certificate_unusable": "Certificate {certificate} cannot be used: {reason}",
    "library_message": "{library} says: {text}",
    "log_file_unusable": "Log file {path} cannot be opened: {reason}",
    "log_event_failed": "Events are lost, because of a fault in Ringback",
    "log_observer_failed": "The history gets no more events from this process, because of a fault in Ringback",
    "log_dropped": "{count} log lines were lost",
}

_PROCESSES = {
    "worker_started": "Worker {worker} started with process id {pid}",
    "worker_ended": "Worker {worker} ended as requested",
    "worker_died": "Worker {worker} died with status {status} after {seconds} s",
    "worker_waits": "Worker {worker} will be restarted in {seconds} s",
    "worker_hangs": "Worker {worker} has hung for {seconds} s and will be killed",
    "worker_stuck": "Worker {worker} did not start serving within {seconds} s and will be killed",
    "worker_recovered": "Worker {worker} seemed to hang but continues",
    "worker_not_started": "Worker {worker} cannot be started: {reason}",
    "worker_failed": "A fault in Ringback ended a worker",
    "keeper_started": "The keeper started with process id {pid}",
    "keeper_ended": "The keeper ended as requested",
    "keeper_died": "The keeper died with status {status} after {seconds} s",
    "keeper_waits": "The keeper will be restarted in {seconds} s",
    "keeper_hangs": "The keeper has hung for {seconds} s and will be killed",
    "keeper_recovered": "The keeper seemed to hang but continues",
    "keeper_not_started": "The keeper cannot be started: {reason}",
    "keeper_handed_over": "The old keeper has handed over and finishes {probes} probes",
    "keeper_took_over": "The new keeper took over {verdicts} verdicts",
    "keeper_not_handed_over": "The old keeper did not hand over: {reason}",
    "keeper_resumed": "The old keeper continues",
    "keeper_silent": "The keeper does not answer; {waiting} queries are waiting",
    "keeper_answers": "The keeper answers again; {unanswered} queries got no answer",
    "keeper_link_malformed": "A connection between Ringback's processes failed: {reason}",
    "keeper_link_unread": "A Ringback process stopped reading; the connection will be reopened",
    "page_login": '{client} logged in to the page as "{user}"',
    "page_login_failed": '{client} sent a wrong password for "{user}" to the page',
    "page_failed": "A fault in Ringback: the page could not answer {path}",
    "control_started": "The control process started with process id {pid}",
    "control_ended": "The control process ended as requested",
    "control_died": "The control process died with status {status} after {seconds} s",
    "control_waits": "The control process will be restarted in {seconds} s",
    "control_hangs": "The control process has hung for {seconds} s and will be killed",
    "control_recovered": "The control process seemed to hang but continues",
    "control_not_started": "The control process cannot be started: {reason}",
    "control_part_failed": "Part {part} of the control process failed at {step}",
    "control_link_malformed": "The control process cannot read what a process sent: {reason}",
    "console_command": '{user} at the console: "{command}" ({outcome})',
    "console_refused": "{user} (process {pid}) may not use the console",
    "console_unavailable": "The console cannot be used: {reason}",
    "console_failed": 'Console command "{command}" failed',
    "question_failed": 'A process could not answer "{question}"',
    "control_door_failed": "The control process cannot accept a connection: {reason}",
    "keeper_door_failed": "The keeper cannot accept a connection: {reason}",
}

_FAULTS = {
    "command_failed": "A fault in Ringback: command {command} failed",
    "reception_failed": "A fault in Ringback: the reception of a message failed",
    "session_failed": "A fault in Ringback: a session failed",
    "task_failed": "A fault in Ringback: task {task} of {owner} failed",
}

SENTENCES = (
    _MAIL
    | _CALLBACKS
    | _POLICY
    | _DATASOURCES
    | _UPSTREAM
    | _HISTORY
    | _OUTBOX
    | _STORE
    | _SERVICE
    | _PROCESSES
    | _FAULTS
)
