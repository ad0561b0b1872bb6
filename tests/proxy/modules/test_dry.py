"""Runs that change nothing, `explain` and trials: whatever a script can do or ask, their hosts decide about it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from proxy.cli.trial import TrialHost
from proxy.modules.sieve_policy import dry
from sieve import host, shared

HARMLESS = {
    "sender", "recipients", "message", "vctx_conn", "vctx_mess", "content", "transaction", "now", "random",
    "edits", "envelope",  # of a session that there is not
    "mail",  # letters leave only with a message that is accepted
    "bounce_rules",  # of the configuration
    "listed_links",  # of a message, and there is none
    "spool_space",  # of a folder
    "renew",  # of `NoDuplicates`, which remembers nothing
}  # fmt: skip
"""What a dry run may do as a session does."""


TRIED = {"connection", "counters", "duplicates", "lists", "resolve"}
"""What a trial, `ringback sieve run`, really asks: services of its own, and DNS."""


def _members(protocol: type) -> set[str]:
    return {name for each in protocol.__mro__ for name in vars(each) if not name.startswith("_")}


def test_the_dry_host_decides_about_each_thing_that_a_script_may_ask() -> None:
    assert sorted(_members(host.FullHost) - vars(dry.DryHost).keys() - HARMLESS) == [], "see dry.py"


def test_the_trial_decides_about_each_thing_that_a_script_may_ask() -> None:
    assert sorted(_members(host.FullHost) - vars(TrialHost).keys() - HARMLESS - TRIED) == [], "see proxy/cli/trial.py"


@pytest.mark.parametrize(
    ("protocol", "part"),
    [
        (host.ConnectionView, dry.DryConnection), (host.Control, dry.DryControl), (shared.Lists, dry.DryLists),
        (shared.Datasources, dry.DryDatasources), (shared.Duplicates, dry.DryDuplicates),
    ],
)  # fmt: skip
def test_what_may_wait_is_not_done_as_in_a_session(protocol: Any, part: type) -> None:
    waiting = {
        name for name in _members(protocol)
        if inspect.iscoroutinefunction(each := vars(protocol).get(name))
        or (inspect.isfunction(each) and "Awaitable" in str(each.__annotations__.get("return", "")))
    }  # fmt: skip
    assert sorted(waiting - vars(part).keys() - HARMLESS) == [], "see dry.py"
