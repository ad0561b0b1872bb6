"""From the 2.2 dialect to the dialect of 3.x and 4.x."""

from ipaddress import ip_address
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.diagnostics import render
from config.language.formatter import Unformattable
from config.loader import load
from config.settings import Settings
from config.tools.converter import convert
from tests.config.sample_schema import SCHEMA

CASES = Path(__file__).parents[2] / "spec" / "config"
GOOD = sorted(
    path
    for path in CASES.glob("*.conf")
    if not path.with_suffix(".expected").read_text(encoding="utf-8").startswith("no settings")
)
CLIENTS = [
    ip_address(text)
    for text in ("10.1.1.1", "10.1.2.3", "10.9.9.9", "192.0.2.1", "192.0.2.200", "2001:db8:1::5", "::1", "172.16.0.1")
]
INBOUND = (
    "idle_time",
    "require_ehlo",
    "always_allow",
    "relay_hosts",
    "smtp_extensions",
    "file_mode",
    "max_message_size",
)


def converted(text: str) -> str:
    return convert(dedent(text).lstrip("\n")).text


def expected(text: str) -> str:
    return dedent(text).lstrip("\n")


def loaded_from(folder: Path, text: str) -> Settings:
    path = folder / "main.conf"
    path.write_text(text, encoding="utf-8")
    loaded = load(path, SCHEMA)
    assert loaded.settings is not None, render(loaded.diagnostics)
    return loaded.settings


def in_force(settings: Settings) -> list[object]:
    """What each sample client of each listener gets."""
    return [
        (
            *(str(listener), listener.backlog, listener.concurrency, listener.enabled),
            *(settings.for_client(listener, client).value(name) for name in INBOUND),
        )
        for listener in settings.core.esmtp_listener
        for client in CLIENTS
    ]


def test_a_module_line_becomes_a_stanza_and_passive_becomes_enabled_false() -> None:
    assert converted(
        """
        # from the manual
        Validate validate/smtp_cbv smtp_cbv passive{  # needed by the script
              phase = "mailfrom"
        }

        Validate validate/sieve sieve {
          mailfrom_phase1 = "/path/to/myscript.siv"
        }
        Module generic/x "y z" <a="b" c=d> { }
        """
    ) == expected(
        """
        # from the manual
        smtp_cbv "smtp_cbv" {  # needed by the script
          enabled = false
          phase = "mailfrom"
        }

        sieve "sieve" {
          mailfrom_phase1 = "/path/to/myscript.siv"
        }
        x "y z" <a="b" c=d> { }
        """
    )


def test_a_listener_becomes_a_stanza_and_its_rules_become_peers() -> None:
    assert converted(
        """
        Esmtp_Listener = ( *:25,200~20 <status="enabled"> [  # outside
          10.1.0.0/16 = ( ALWAYS-ALLOW LOGIN continue )
          10.0.0.0/8 = ( personality [ idle_time = 60 ] relay_hosts ( 10.1.0.0/16 ) )
        ] [::1]:25 )
        """
    ) == expected(
        """
        # outside
        Esmtp_Listener {
          Listen "*:25" {
            listen_backlog = 200
            concurrency = 20
            enable = "enabled"
            Peer "10.1.0.0/16" {
              always_allow = true
              smtp_extensions = ( "AUTH LOGIN" )
            }
            Peer "10.0.0.0/8" {
              idle_time = 60
              relay_hosts = ( 10.1.0.0/16 )
            }
          }
          Listen "[::1]:25" { }
        }
        """
    )


def test_options_of_the_rfc2822_stanza_become_flat() -> None:
    assert (
        converted(
            """
        RFC2822 {
          Date_Header = ifneeded  # always
        }
        """
        )
        == "RFC2822_Date_Header = ifneeded  # always\n"
    )


def test_what_is_not_of_2_2_is_only_formatted() -> None:
    text = 'smtp_cbv "x" {\n  enabled = false\n}\nGateway = "a"\n'
    assert convert(text).text == text


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_the_converted_file_gives_the_same_settings(path: Path, tmp_path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "backslashreplace")
    before = loaded_from(tmp_path, text)
    after = loaded_from(tmp_path, convert(text, schema=SCHEMA).text)
    assert after.modules == before.modules
    assert in_force(after) == in_force(before)
    assert {name: value for name, value in after.core if name != "esmtp_listener"} == {
        name: value for name, value in before.core if name != "esmtp_listener"
    }


RULES = {
    "a wider rule that ends the search hides a narrower one": """
        10.0.0.0/8 = ( personality [ idle_time = 1 ] )
        10.1.0.0/16 = ( personality [ idle_time = 2 ] )""",
    "a wider rule that goes on gives way to a narrower one": """
        10.0.0.0/8 = ( personality [ idle_time = 1 require_ehlo = on ] continue )
        10.1.0.0/16 = ( personality [ idle_time = 2 ] )""",
    "a narrower rule keeps a wider one's options away": """
        10.1.0.0/16 = ( personality [ idle_time = 2 ] )
        10.0.0.0/8 = ( personality [ idle_time = 1 require_ehlo = on ] )
        0.0.0.0/0 = ( ALWAYS-ALLOW )""",
    "a narrower rule that goes on is overridden": """
        10.1.0.0/16 = ( personality [ idle_time = 2 require_ehlo = on ] continue )
        10.0.0.0/8 = ( personality [ idle_time = 1 ] continue )
        0.0.0.0/0 = ( limits [ idle_time = 9 ] )""",
    "the same network twice": """
        10.0.0.0/8 = ( personality [ idle_time = 2 require_ehlo = on ] continue )
        10.0.0.0/8 = ( personality [ idle_time = 1 ] )""",
    "networks apart": """
        10.0.0.0/8 = ( personality [ idle_time = 2 ] )
        192.0.2.0/24 = ( personality [ require_ehlo = on ] continue )
        192.0.2.200 = ( personality [ require_ehlo = off ] )
        2001:db8::/32 = ( XCLIENT )""",
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_rules_in_written_order_mean_the_same_as_peers(rules: str, tmp_path: Path) -> None:
    text = f"Idle_Time = 77\nESMTP_Listener = ( *:25 [ {rules} ] )\n"
    after = convert(text, schema=SCHEMA)
    assert after.diagnostics == ()
    assert in_force(loaded_from(tmp_path, after.text)) == in_force(loaded_from(tmp_path, text))


networks = st.sampled_from(
    ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24", "192.0.2.200", "2001:db8::/32", "::/0"]
)
properties = st.lists(
    st.sampled_from(
        [
            "ALWAYS-ALLOW",
            "XCLIENT",
            "relay_hosts ( 10.1.0.0/16 )",
            "personality [ idle_time = 1 ]",
            "limits [ idle_time = 2 ]",
            "personality [ require_ehlo = on ]",
            "personality [ require_ehlo = off idle_time = 3 ]",
            "continue",
        ]
    ),
    max_size=3,
    unique=True,
)
rule_lists = st.lists(st.tuples(networks, properties), max_size=5).map(
    lambda rules: "\n".join(f"{network} = ( {' '.join(words)} )" for network, words in rules)
)


@settings(max_examples=150, deadline=None)
@given(rule_lists)
def test_any_rules_in_written_order_mean_the_same_as_peers(
    tmp_path_factory: pytest.TempPathFactory, rules: str
) -> None:
    text = f"Require_EHLO = yes\nESMTP_Listener = ( *:25 <idle_time=5> [ {rules} ] )\n"
    folder = tmp_path_factory.getbasetemp()
    before = loaded_from(folder, text)
    after = loaded_from(folder, convert(text, schema=SCHEMA).text)
    assert in_force(after) == in_force(before)


def test_a_rule_for_no_network_leaves_the_listener_as_it_is() -> None:
    text = "ESMTP_Listener = ( *:25 [ example.com = ( ALWAYS-ALLOW ) ] )\n"
    after = convert(text)
    assert after.text == text
    assert [found.message for found in after.diagnostics] == [
        "`example.com` is a name; only addresses are allowed here"
    ]


def test_a_rule_that_cannot_be_kept_apart_without_a_default_is_warned_of() -> None:
    text = (
        "ESMTP_Listener = ( *:25 [\n"
        "  10.1.0.0/16 = ( XCLIENT )\n"
        "  10.0.0.0/8 = ( personality [ idle_time = 1 ] )\n"
        "] )\n"
    )
    assert render(convert(text, name="old.conf").diagnostics) == (
        "old.conf:3:32: warning: as a Peer this sets `idle_time` for 10.1.0.0/16 too, "
        "although an earlier rule excluded it\n"
        "    3 |   10.0.0.0/8 = ( personality [ idle_time = 1 ] )\n"
        "      |                                ^~~~~~~~~~~~~\n"
        "  hint: set idle_time in the Peer of 10.1.0.0/16\n"
    )


def test_a_rule_with_a_mistake_leaves_the_listener_as_it_is() -> None:
    text = "ESMTP_Listener = ( *:25 [ 10.0.0.0/8 = ( ALWAYS-ALOW ) ] )\n"
    after = convert(text)
    assert after.text == text
    assert [found.message for found in after.diagnostics] == ["unknown property `ALWAYS-ALOW` in this rule"]


def test_a_text_with_mistakes_is_not_converted() -> None:
    with pytest.raises(Unformattable):
        convert("Validate validate/x y {")


def test_another_dialect_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot convert to 5x; known: 4x"):
        convert("", to="5x")
