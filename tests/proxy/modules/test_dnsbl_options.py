"""The stanzas `dnsbl`, `url_ripper` and `dns_rbl`: what may be written, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.diagnostics import render
from config.tools.show import show
from proxy.app import load
from proxy.base.rejected import ConfigurationRejected
from proxy.modules.dnsbl.momentum import DnsRblOptions, UrlRipperOptions
from proxy.modules.dnsbl.options import DnsblOptions
from proxy.modules.dnsbl.zones import Zone
from tests.proxy.modules.test_mail_loop import CORE


def loaded(folder: Path, text: str) -> tuple[str, DnsblOptions]:
    """Return how the configuration is shown, and the options of its stanza as ones of dnsbl."""
    path = folder / "ecelerity.conf"
    path.write_text(f"{CORE}{text}\n")
    settings = load(path)[0].settings
    (module,) = settings.modules
    options = module.options
    foreign = isinstance(options, UrlRipperOptions | DnsRblOptions)
    given = options.as_dnsbl() if isinstance(options, UrlRipperOptions | DnsRblOptions) else options
    assert isinstance(given, DnsblOptions), foreign
    return show(settings), given


def zones(folder: Path, text: str) -> dict[str, Zone]:
    return {each.name: each for each in loaded(folder, f"dnsbl {{\n{text}\n}}")[1].zones}


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationRejected) as rejected:
        loaded(folder, text)
    return render(rejected.value.diagnostics)


def test_zones_are_a_list_of_names(tmp_path: Path) -> None:
    found = zones(tmp_path, "zones = ( ZEN.example.org bl.example.net )")
    assert list(found) == ["zen.example.org", "bl.example.net"]
    assert found["bl.example.net"].options.checks == ("client",)


def test_zones_are_a_dictionary_with_options(tmp_path: Path) -> None:
    found = zones(
        tmp_path,
        """zones = [
          zen.example.org = [ weight = 3 codes = ( "127.0.0.[2..4]" 127.0.0.9 ) reason = "go %s" txt = yes ]
          dbl.example.org [ checks = ( helo sender url ) names = full test_name = dbltest.com server = 127.0.0.1:530 ]
          list.example.net = [ allow = yes codes = [ "127.0.*.1" = -1 "127.0.*.3" = -5 ] ]
        ]""",
    )
    zen, dbl, allow = (found[name].options for name in ("zen.example.org", "dbl.example.org", "list.example.net"))
    assert (zen.weight, [each.text for each in zen.codes], zen.reason, zen.txt) == (
        3,
        ["127.0.0.[2..4]", "127.0.0.9"],
        "go %s",
        True,
    )
    assert (dbl.checks, dbl.names, dbl.test_name) == (("helo", "sender", "url"), "full", "dbltest.com")
    assert found["dbl.example.org"].server == "127.0.0.1:530"
    assert (allow.allow, [each.weight for each in allow.codes]) == (True, [-1, -5])


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    text = """dnsbl {
      zones = [
        a.example = [ weight = 3 codes = ( "127.0.0.[2..4]" ) reason = "go" txt = yes bits = [ 0.0.0.2 = "two" ] ]
        b.example = [ checks = ( helo url ) codes = [ 127.0.0.2 = 7 ] server = "[::1]:53" ]
      ]
    }"""
    shown, options = loaded(tmp_path, text)
    written = next(line for line in shown.splitlines() if "a.example" in line).partition("#")[0].strip()
    assert loaded(tmp_path, f"dnsbl {{\n{written}\n}}")[1].zones == options.zones


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('zones = ( "not a zone" )', "`not a zone` is not a zone"),
        ("zones = ( nodots )", "is not a zone"),
        ("zones = ( a.example a.example )", "name each zone once"),
        ("zones = [ a.example = yes ]", "a dictionary"),
        ("zones = [ a.example = [ wieght = 2 ] ]", "unknown option `wieght` of a zone"),
        ("zones = [ a.example = [ checks = ( everything ) ] ]", "everything"),
        ("zones = [ a.example = [ codes = ( 127.0.0 ) ] ]", '"127.0.0.2", "127.0.0.[2..11]"'),
        ("zones = [ a.example = [ codes = ( 127.0.0.999 ) ] ]", "is not an answer"),
        ('zones = [ a.example = [ codes = [ 127.0.0.2 = "x" ] ] ]', '"x"'),
        ("zones = [ a.example = [ bits = [ two = two ] ] ]", "IPv4 address"),
        ("zones = [ a.example = [ code = 250 ] ]", "250"),
        ("zones = ( a.example )\nreject_at = lunch", "lunch"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, f"dnsbl {{\n{text}\n}}")


def test_thresholds_that_never_decide_and_no_zones_are_warnings(tmp_path: Path) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text(
        f"{CORE}dnsbl {{\nzones = ( a.example )\nreject_score = 2\ndefer_score = 3\n}}\ndnsbl other {{ }}\n"
    )
    warnings = render(load(path)[1])
    assert "defer_score = 3 is above reject_score = 2" in warnings
    assert "no zones: nothing is looked up" in warnings


@pytest.mark.parametrize(
    "head",
    ["Validate validate/policy_tools url_ripper", 'url_ripper "ripper"', "Validate validate/url_ripper url_ripper"],
)
def test_url_ripper_in_every_form_becomes_a_zone(tmp_path: Path, head: str) -> None:
    _, options = loaded(
        tmp_path,
        f"""{head} {{
          base = "multi.example.org"
          bits [ 0.0.0.2 = "spamcop" ]
          values [ 127.0.0.8 = "exact" ]
          address_headers = "From:Reply-To"
          forward = false
          max_lookups = 7
        }}""",
    )
    (zone,) = options.zones
    assert (zone.name, zone.options.bits, zone.options.values) == (
        "multi.example.org",
        (((0, 0, 0, 2), "spamcop"),),
        (((127, 0, 0, 8), "exact"),),
    )
    assert (options.reject_score, options.address_headers, options.max_lookups) == (0, ("from", "reply-to"), 7)
    assert not zone.options.forward


def test_dns_rbl_becomes_a_zone_that_refuses(tmp_path: Path) -> None:
    _, options = loaded(
        tmp_path,
        """Validate validate/dns_rbl dns_rbl {
          base = "bl.example.org"
          code = 550
          reason = "see %s"
          record_type = txt
        }""",
    )
    (zone,) = options.zones
    assert (zone.options.code, zone.options.reason, zone.options.txt, options.reject_score) == (550, "see %s", True, 1)


@pytest.mark.parametrize("type_", ["url_ripper", "dns_rbl"])
def test_a_stanza_of_momentum_without_a_zone_is_a_warning(tmp_path: Path, type_: str) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text(f"{CORE}{type_} {{ }}\n")
    assert f"{type_} has no zone" in render(load(path)[1])
