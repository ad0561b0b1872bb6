"""`ringback docs`: the generated pages agree with the code, and a stale one is found."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from proxy.cli import application
from proxy.cli.documents import pages
from proxy.cli.grammar.tree import tree

DOCS = Path(__file__).parents[3] / "docs"
PAGES = pages(tree(application))


def docs(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(application, ["docs", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_pages_in_the_repository_are_those_of_the_code() -> None:
    assert docs("--check", DOCS) == (0, "", "")


def test_pages_are_written_where_they_are_missing_and_left_where_they_are_right(tmp_path: Path) -> None:
    assert docs(tmp_path) == (0, "".join(f"{tmp_path}/{each}: written\n" for each in PAGES), "")
    assert {
        str(each.relative_to(tmp_path)): each.read_text(encoding="utf-8")
        for each in tmp_path.rglob("*")
        if each.is_file()
    } == PAGES
    assert docs(tmp_path) == (0, "", "")
    assert docs("--check", tmp_path) == (0, "", "")


def test_a_stale_page_is_named_and_not_touched(tmp_path: Path) -> None:
    docs(tmp_path)
    page = tmp_path / "sieve.md"
    page.write_text("old", encoding="utf-8")
    assert docs("--check", tmp_path) == (1, f"{page}: stale; run `make docs`\n", "")
    assert page.read_text(encoding="utf-8") == "old"
    assert docs(tmp_path) == (0, f"{page}: written\n", "")
    assert page.read_text(encoding="utf-8") == PAGES["sieve.md"]


def test_both_pages_name_what_they_describe() -> None:
    text = PAGES
    assert "<!-- tables -->" not in text["configuration.md"]
    assert "upstream_hold" in text["configuration.md"].lower()
    assert "ec_set_routing_gateway" in text["sieve.md"]
