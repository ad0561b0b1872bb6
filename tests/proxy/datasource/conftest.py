"""The real servers, each started once, and how tests make sources."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.datasource.sources import Datasources
from proxy.options.datasource_uris import parse_uri
from proxy.options.datasources import DatasourceOptions
from tests.support.databases import MariaDb, Postgres, Slapd
from tests.support.servers import RedisServer

TABLE = (
    "create table users (name varchar(100), mail varchar(100), quota integer, note varchar(100));"
    "insert into users values ('joe', 'joe@example.com', 5, null), ('ann', 'ann@example.com', 7, 'x');"
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        server.sql(TABLE)
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    with MariaDb() as server:
        server.sql(TABLE)
        yield server


@pytest.fixture(scope="session")
def slapd() -> Iterator[Slapd]:
    with Slapd() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    path = tmp_path / "users.db"
    with sqlite3.connect(path) as handle:
        handle.executescript(TABLE)
    handle.close()
    return path


Make = Callable[..., Datasources]


@pytest.fixture
async def made() -> AsyncIterator[Make]:
    """Make datasources with one source, `d`; they are closed at the end."""
    every: list[Datasources] = []

    def make(*uris: str, **options: Any) -> Datasources:
        found = DatasourceOptions(name="d", uri=tuple(map(parse_uri, uris)), **options)
        every.append(Datasources([found]))
        return every[-1]

    yield make
    for each in every:
        await each.close()
