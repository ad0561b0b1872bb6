"""Lists of networks, defined from files and datasources, or filled by operators."""

from __future__ import annotations

from config.base.ip import read_address
from sieve.library import Soon, Value, sieve_function
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError, as_text
from sieve.shared import ListDefinition


@sieve_function(datasource="datasource")
def define_cidr(
    frame: Frame,
    name: Value,
    datasource: str | None = None,
    query: str | None = None,
    refresh: float | None = None,
) -> Soon[None]:
    """Define a list of networks, and wait until it is loaded for the first time.

    Repeating the same definition does nothing. With a name, a datasource and a query, the first column of the rows has
    the networks; the list is loaded again after `refresh` seconds, or only by `reload_cidr`. A hash has these keys:
    `cidrname`; `dstype`, which is `dslayer` (a datasource, with `cachename` and `query`) or `rbldnsd` (a file: `query`
    is its path with `?want=a` or `?want=txt`); `type`, which is `boolean` or `value`; `refresh` (1800 seconds; 0: only
    by `reload_cidr`); `cidr_column` and `value_column`, by name or number; `default_value`; `interpolate`: each `$` in
    a value becomes the IP address, and `$$` a dollar sign; `optimize`, which has no effect. The networks may be in any
    order: the most specific one wins. If the list cannot be loaded, that is logged, and the list stays as it was.
    """
    if isinstance(name, dict):
        given = {key.lower(): as_text(value) for key, value in name.items()}
    else:
        given = {"cidrname": as_text(name), "cachename": datasource or "", "query": query or ""}
        given["refresh"] = str(refresh or 0)
    return frame.host.lists.define(ListDefinition(given))


@sieve_function()
def check_cidr(frame: Frame, name: str, expected: str | None = None, *, ip: str | None = None) -> bool:
    """Tell whether an address, by default the client's, is in a list: `check_cidr "name" :ip "192.0.2.1"`.

    If the list has values, its own networks do not count; use `query_cidr`. A network that an operator has added to the
    list at the console (`list add`) counts in every list. `expected` is the old style: `if check_cidr "name" "true"`.
    """
    found = frame.host.lists.holds(name, _address(frame, ip))
    return found if expected is None else found == (expected.lower() == "true")


@sieve_function()
def query_cidr(frame: Frame, name: str, *, ip: str | None = None) -> str:
    """Return the value of the most specific network in a list that contains an address, by default the client's.

    If no network contains the address, it is the list's `default_value`. For a list without values it is `true` or
    `false`.
    """
    return frame.host.lists.value(name, _address(frame, ip))


@sieve_function()
async def reload_cidr(frame: Frame, name: str) -> None:
    """Load a list again, and wait until it is loaded. If that fails, it is logged, and the list stays as it was."""
    await frame.host.lists.reload(name)


@sieve_function()
def ec_list_reason(frame: Frame, name: str, *, ip: str | None = None) -> str:
    """Return why an operator has added an address, by default the client's, to a list; empty if it was not added.

    Momentum does not have this function. An entry without a reason gives `listed`.
    """
    return frame.host.lists.reason(name, _address(frame, ip))


def _address(frame: Frame, ip: str | None) -> str:
    if ip is None:
        return frame.host.connection.client.address
    address = ip.strip()
    try:
        read_address(address)
    except ValueError:
        raise ScriptError(reasons.not_an_ip_address(address)) from None
    return address
