"""Questions about the datasources of a worker: cache statistics, and flushing a cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.base.log import printable
from proxy.datasource.sources import Datasources, UnknownDatasource
from proxy.server.answering import Question, Unanswerable


def questions(sources: Datasources) -> dict[str, Question]:
    """Return the questions."""

    def flush(given: Mapping[str, Any]) -> int:
        try:
            return sources.flush(str(given["name"]))
        except UnknownDatasource as unknown:
            raise Unanswerable(printable(str(unknown), 500)) from None

    return {"ds_stats": lambda _given: sources.stats(), "ds_flush": flush}
