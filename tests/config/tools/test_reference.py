"""The generated tables."""

from config.schema.momentum import catalogue
from config.schema.options import Options, option
from config.schema.specs import ModuleSpec, Schema
from config.schema.values import Seconds
from config.tools.reference import differences_table, options_table, reference


class Core(Options):
    idle_time: Seconds = option(90, doc="How long | a client may be silent.", ge=1, le=600)
    gateway: str = option(doc="Where mail goes.", aliases=("smarthost",), reloadable=False)
    listen_limit: int | None = option(None, doc="A limit.", unit="sessions", ge=0)
    delivery_method: str = option("ESMTP", doc="How.", scopes=("domain",))


class Probe(Options):
    words: tuple[str, ...] = option(("a b", "c"), doc="Words.", le=None)


SCHEMA = Schema(core=Core, modules=(ModuleSpec("probe", Probe, summary="Asks.", ignored=("debug_level",)),))


def test_the_options_of_a_stanza_are_one_table() -> None:
    assert options_table(Core, scopes=True) == (
        "| Option | Takes | Default | Also set in | Reload | Meaning |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| `idle_time` | a duration, 1 to 600 | `90` | esmtp_listener, listen, peer | yes "
        "| How long \\| a client may be silent. |\n"
        "| `gateway`, `smarthost` | a text | must be set | binding, binding_group, domain | restart "
        "| Where mail goes. |\n"
        "| `listen_limit` | a whole number, at least 0 (sessions) |  |  | yes | A limit. |\n"
        "| `delivery_method` | a text | `ESMTP` | domain | yes | How. |\n"
    )


def test_the_page_has_the_global_options_each_module_and_the_differences() -> None:
    page = reference(SCHEMA)
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## Global options",
        "## probe",
        "## Defaults that differ between Momentum 2.2 and 4.x",
    ]
    assert (
        '## probe\n\nAsks.\n\n`probe "NAME" { … }`, or in the 2.2 dialect `Validate validate/probe NAME { … }`.\n\n'
        "| Option | Takes | Default | Reload | Meaning |\n"
        "| --- | --- | --- | --- | --- |\n"
        '| `words` | a list, each item a text | `( "a b" c )` | yes | Words. |\n\n'
        "Accepted, not acted on: `debug_level`.\n"
    ) in page


def test_every_default_that_differs_is_listed_with_the_one_in_force() -> None:
    rows = differences_table(SCHEMA).splitlines()[2:]
    assert "| `idle_time` | `0` | `300` | `90` |" in rows
    assert "| `delivery_method` | `SMTP` | `ESMTP` | `ESMTP` |" in rows
    assert "| `listen_backlog` | `5` | `500` | `500` |" in rows
    assert "| `max_resident_messages` | `16384` | `32768` | not acted on |" in rows
    assert len(rows) == sum(
        None not in (known.default_22, known.default_4x) and known.default_22 != known.default_4x
        for known in catalogue().options.values()
    )


def test_the_catalogue_knows_scopes_and_defaults_of_both_lines() -> None:
    known = catalogue()
    assert known.options["gateway"].scopes == {"global", "binding_group", "binding", "domain"}
    assert (known.options["message_size"].default_22, known.options["message_size"].default_4x) == ("", None)
    assert known.scopes["domain"] == {"global", "binding_group", "binding"}
    assert known.scopes["topology"] == {"cluster"}
    assert "smtp_cbv" in known.modules


def test_a_number_shows_what_0_means() -> None:
    class Numbers(Options):
        patience: Seconds = option(5.0, doc="Patience.", unit="seconds", zero="no limit")
        port: int = option(25, doc="Port.", ge=1, le=65535, zero="refused")

    page = options_table(Numbers)
    assert "| a duration (seconds); 0 is no limit |" in page
    assert "| a whole number, 1 to 65535; 0 is refused |" in page
