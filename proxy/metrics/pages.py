"""The reference page docs/metrics.md, made from the table and from what the control process adds."""

from __future__ import annotations

from proxy.metrics.metric import OTHER, Kind, Label, Metric
from proxy.metrics.table import LAYOUT

_HEAD = """\
# Metrics

This page is generated from `proxy/metrics/`. [Metrics and health](operating.md#metrics-and-health) says how to read
them.

Counters never fall, even if a process is replaced or a reload removes what they count. They begin at 0 when the service
starts. Label values come from the sets below. `listener`, `upstream`, `script` and `certificate` are as the
configuration names them; what has no place of its own is `other`. No label has an address, a domain, a client or a
text.

| metric | type | labels | meaning |
|---|---|---|---|
"""

ADDED = (
    ("ringback_build_info", "gauge", "`version` `python`", "The program; always 1."),
    ("ringback_config_info", "gauge", "`digest`", "The configuration in force: a digest of its files; always 1."),
    ("ringback_worker_up", "gauge", "`worker`", "Whether a worker serves and answers, by its number."),
    ("ringback_drained_connections", "gauge", "",
     "Connections to workers of earlier configurations, which finish their sessions."),
    ("ringback_processes", "gauge", "`role`", "Processes."),
    ("ringback_process_resident_memory_bytes", "gauge", "`role`",
     "Memory of a role's processes; shared memory is counted once for each."),
    ("ringback_process_open_fds", "gauge", "`role`", "Open files of a role's processes."),
    ("ringback_process_max_fds", "gauge", "`role`", "Maximum number of open files of a role's processes."),
    ("ringback_process_threads", "gauge", "`role`", "Threads."),
    ("ringback_process_start_time_seconds", "gauge", "`role`", "When the oldest process of the role was started."),
    ("process_start_time_seconds", "gauge", "", "When the service was started."),
)  # fmt: skip
"""What the control process reads elsewhere."""


def page() -> str:
    """Return docs/metrics.md."""
    shown = [each for each in LAYOUT.metrics if not each.hidden]
    rows = [_row(each) for each in shown]
    rows += [f"| `{name}` | {kind} | {labels} | {doc} |\n" for name, kind, labels, doc in ADDED]
    return "".join([_HEAD, *rows, "\n## Labels\n\n| label | values | of |\n|---|---|---|\n", *_labels(shown)])


def _row(metric: Metric) -> str:
    labels = " ".join(f"`{name}`" for name in metric.label_names)
    borders = ", ".join(f"{each:.12g}" for each in metric.borders)
    buckets = f" Buckets: {borders}." if metric.kind is Kind.HISTOGRAM else ""

    return f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.doc}{buckets} |\n"


def _labels(metrics: list[Metric]) -> list[str]:
    users: dict[Label, list[str]] = {}
    for metric in metrics:
        for label in metric.labels:
            users.setdefault(label, []).append(f"`{metric.name}`")
    return [f"| `{label.name}` | {_values(label)} | {', '.join(names)} |\n" for label, names in users.items()]


def _values(label: Label) -> str:
    if label.most:
        return f"at most {label.most - 1}, and `{OTHER}`"
    if len(label.names) > 1:
        return "as in [Events](events.md)"
    return " ".join(f"`{value}`" for value in label.values)
