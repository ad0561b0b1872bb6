"""spf_v1: what it finds, tells scripts, writes into messages and refuses; what a stranger's records may cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.app import load
from proxy.base.rejected import ConfigurationRejected
from proxy.dns.answers import Value
from proxy.dns.resolver import DnsUnavailable, NoSuchDomain
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.spf_v1.evaluation import evaluate
from proxy.modules.spf_v1.module import SpfValidator
from proxy.modules.spf_v1.options import SpfOptions
from proxy.modules.spf_v1.outcome import Identity, Outcome
from proxy.modules.spf_v1.received import received_spf
from sieve.phases import Phase
from tests.support.exchanger import Exchanger, Message
from tests.support.worker import BOB, LETTER, Rule, WorkerStage, serving

Zone = Mapping[tuple[str, str], Sequence[Value] | Exception]


class Records:
    """Names of plain values: what is not listed does not exist; a name with another type has no such record."""

    def __init__(self, zone: Zone) -> None:
        self.zone, self.asked = zone, list[str]()

    async def records(self, name: str, record_type: str) -> Sequence[Value]:
        self.asked.append(f"{name} {record_type}")
        found = self.zone.get((name, record_type))
        if found is None:
            if any(each == name for each, _ in self.zone):
                return ()
            raise NoSuchDomain(name)
        if isinstance(found, Exception):
            raise found
        return found


class Silent:
    """A name server that never answers."""

    async def records(self, _name: str, _record_type: str) -> Sequence[Value]:
        await asyncio.Event().wait()
        return ()


def spf(domain: str, record: str) -> Zone:
    return {(domain, "TXT"): [record.encode()]}


ZONE: Zone = {
    **spf("pass.test", "v=spf1 ip4:127.0.0.0/8 -all"),
    **spf("fail.test", "v=spf1 -all"),
    **spf("told.test", "v=spf1 -all exp=why.test"),
    ("why.test", "TXT"): [b"%{i} may not send for %{d}"],
    **spf("soft.test", "v=spf1 ~all"),
    **spf("neutral.test", "v=spf1 ?all"),
    **spf("broken.test", "v=spf1 nonsense"),
    ("down.test", "TXT"): DnsUnavailable("down.test: SERVFAIL"),
    ("norecord.test", "A"): ["192.0.2.1"],
    **spf("helo.test", "v=spf1 -all"),
}


async def outcome(domain: str, zone: Zone = ZONE, **more: Any) -> Outcome:
    return await evaluate(Records(zone), Identity("127.0.0.1", f"a@{domain}", "helo.test", "r.test"), **more)


@pytest.mark.parametrize(
    ("domain", "result"),
    [
        ("pass.test", "pass"), ("fail.test", "fail"), ("soft.test", "softfail"), ("neutral.test", "neutral"),
        ("broken.test", "permerror"), ("down.test", "temperror"), ("norecord.test", "none"), ("unknown.test", "none"),
    ],
)  # fmt: skip
async def test_each_result_has_its_word(domain: str, result: str) -> None:
    found = await outcome(domain)
    assert (found.result, found.unknown_domain) == (result, domain == "unknown.test")


@pytest.mark.parametrize(
    ("rule", "result"), [("?all", "neutral"), ("-all", "fail"), ("~all", "softfail"), ("", "none")]
)
async def test_a_domain_without_a_record_has_the_default_rule_but_an_unknown_one_has_none(
    rule: str, result: str
) -> None:
    assert (await outcome("norecord.test", default_rule=rule)).result == result
    assert (await outcome("unknown.test", default_rule=rule)).result == "none"


async def test_a_domain_that_only_its_txt_question_denies_is_known() -> None:
    zone = {("odd.test", "TXT"): NoSuchDomain("odd.test"), ("odd.test", "MX"): [(10, "mx.odd.test")]}
    assert not (await outcome("odd.test", zone)).unknown_domain


async def test_the_explanation_is_the_domains_own() -> None:
    assert (await outcome("told.test")).explanation == "127.0.0.1 may not send for told.test"


# ---------------------------------------------------------------- in a session


def checking(resolver: Any = None, **options: object) -> SpfValidator:
    return SpfValidator("spf_v1", SpfOptions.model_validate(options), resolver or Records(ZONE))


class Noting:
    """Notes a context variable of the message in a later phase."""

    def __init__(self, variable: str = "spf_status", phase: Phase = Phase.MAILFROM) -> None:
        self.seen: list[str | None] = []
        self.variable = variable
        self.rule = Rule(phase, self._note)

    async def _note(self, session: Session) -> Verdict:
        self.seen.append(session.transaction.context.get(self.variable))
        return PASS


async def replies(stage: WorkerStage, *senders: str) -> list[str]:
    client = await stage.greeted()
    found = []
    for sender in senders:
        found.append(await client.deliver(sender, [BOB], LETTER))
        await client.ask("RSET")
    await client.close()
    return found


async def test_the_result_is_a_context_variable_and_nothing_is_refused() -> None:
    noting = Noting()
    async with Exchanger() as upstream, serving(upstream, checking(), noting.rule) as stage:
        said = await replies(stage, *(f"a@{each}.test" for each in ("pass", "fail", "soft", "norecord", "unknown")))
        assert [each[:3] for each in said] == ["250"] * 5
        assert noting.seen == ["pass", "fail", "softfail", "neutral", "none"]


async def test_the_variable_may_have_another_name() -> None:
    noting = Noting("spfv1_status")
    async with Exchanger() as upstream, serving(upstream, checking(context_variable="spfv1_status"), noting.rule) as it:
        await replies(it, "a@pass.test")
        assert noting.seen == ["pass"]


@pytest.mark.parametrize(
    ("domain", "options", "reply"),
    [
        ("fail", {"fail_code": 550}, "550 5.7.23 SPF validation failure"),
        ("fail", {"fail_code": 451}, "451 4.7.23 SPF validation failure"),
        ("fail", {"fail_code": 550, "fail_fallback_string": "go away"}, "550 5.7.23 go away"),
        (
            "told", {"fail_code": 550, "fail_fallback_string": "go away"},
            "550 5.7.23 The domain told.test explained: 127.0.0.1 may not send for told.test",
        ),
        ("soft", {"softfail_code": 550}, "550 5.7.23 SPF validation soft failure"),
        ("broken", {"permerror_code": 550}, "550 5.7.24 SPF result is permerror"),
        ("down", {"temperror_code": 451}, "451 4.7.24 Temporary SPF failure"),
        ("neutral", {"unknown_code": 550}, "550 5.7.1 SPF result is neutral"),
        ("pass", {"pass_code": 550}, "550 5.7.1 SPF result is pass"),
        ("unknown", {"nxdomain_code": 550}, "550 5.1.8 Could not resolve sender's domain"),
        ("unknown", {"nxdomain_code": 550, "nxdomain_override_string": "who?"}, "550 5.1.8 who?"),
    ],
)  # fmt: skip
async def test_each_result_has_a_code_and_a_text(domain: str, options: dict[str, Any], reply: str) -> None:
    async with Exchanger() as upstream, serving(upstream, checking(**options)) as stage:
        client = await stage.greeted()
        assert await client.ask(f"MAIL FROM:<a@{domain}.test>") == reply
        assert (await client.ask("MAIL FROM:<a@soft.test>"))[:3] in {"250", "550"}
        await client.close()


@pytest.mark.parametrize(
    ("stanza", "code"),
    [
        ("Validate validate/spf spf_v1 { }", 550),
        ('spf_v1 "spf_v1" { }', 250),
        ("Validate validate/spf spf_v1 { nxdomain_code = 250 }", 250),
        ('spf_v1 "spf_v1" { nxdomain_code = 451 }', 451),
    ],
)
def test_the_reply_to_unknown_domains_depends_on_the_form_of_the_stanza(tmp_path: Path, stanza: str, code: int) -> None:
    assert _options(tmp_path, stanza).nxdomain_code == code


def _options(tmp_path: Path, stanza: str) -> Any:
    file = tmp_path / "ecelerity.conf"
    head = 'ESMTP_Listener = ( 127.0.0.1:0 )\nHostname = "r.test"\nGateway = "127.0.0.1"\n'
    file.write_text(f"{head}{stanza}\n")
    assembly, warnings = load(file)
    assert [each for each in warnings if "spf" in each.message] == []
    return assembly.settings.modules[0].options


@pytest.mark.parametrize("option", ["fail_code = 200", "fail_code = 600", "default_rule = 5", "fail_codes = 550"])
def test_a_mistake_in_the_stanza_is_reported(tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigurationRejected):
        _options(tmp_path, f'spf_v1 "spf_v1" {{ {option} "x" }}' if "rule" in option else f"spf_v1 {{ {option} }}")


async def test_the_null_sender_is_checked_by_the_name_in_ehlo() -> None:
    noting = Noting()
    resolver = Records(ZONE)
    async with Exchanger() as upstream, serving(upstream, checking(resolver), noting.rule) as stage:
        client = await stage.conversation()
        await client.ehlo("helo.test")
        await client.ask("MAIL FROM:<>")
        await client.close()
    assert noting.seen == ["fail"]
    assert resolver.asked[0] == "helo.test TXT"


async def test_in_shadow_mode_nothing_is_refused_and_the_log_says_what_would_have_been() -> None:
    noting = Noting()
    async with Exchanger() as upstream, serving(upstream, checking(fail_code=550, shadow=True), noting.rule) as stage:
        with capture_logs() as log:
            assert (await replies(stage, "a@fail.test"))[0][:3] == "250"
        (told,) = [each for each in log if each["event"] == "shadowed"]
        assert (told["validator"], told["reply"]) == ("spf_v1", "550 5.7.23 SPF validation failure")
        stage.worker.pipeline.shadow("spf_v1", on=False)
        client = await stage.greeted()
        assert (await client.ask("MAIL FROM:<a@fail.test>"))[:3] == "550"
        stage.worker.pipeline.enable("spf_v1", on=False)
        assert (await client.ask("MAIL FROM:<a@fail.test>"))[:3] == "250"
        await client.close()
    assert noting.seen == ["fail", None]


@pytest.mark.parametrize("helo", ["unknown.test", "localhost", "[127.0.0.1]", "[IPv6:::1]", "bare"])
async def test_a_bounce_is_not_refused_for_a_name_in_ehlo_that_does_not_exist(helo: str) -> None:
    noting = Noting()
    async with Exchanger() as upstream, serving(upstream, checking(nxdomain_code=550), noting.rule) as stage:
        client = await stage.conversation()
        await client.ehlo(helo)
        assert (await client.ask("MAIL FROM:<>"))[:3] == "250"
        await client.close()
    assert noting.seen == ["none"]


async def test_an_address_literal_is_no_domain_that_does_not_exist() -> None:
    noting = Noting()
    async with Exchanger() as upstream, serving(upstream, checking(nxdomain_code=550), noting.rule) as stage:
        client = await stage.greeted()
        assert (await client.ask("MAIL FROM:<a@[192.0.2.1]>"))[:3] == "250"
        await client.close()
    assert noting.seen == ["none"]


async def test_a_client_that_may_relay_is_not_checked() -> None:
    resolver = Records(ZONE)
    async with Exchanger() as upstream, serving(upstream, checking(resolver, fail_code=550), Relaying()) as stage:
        assert (await replies(stage, "a@fail.test"))[0][:3] == "250"
    assert resolver.asked == []


class Relaying(Rule):
    """Lets every client relay."""

    def __init__(self) -> None:
        async def allow(session: Session) -> Verdict:
            session.can_relay = True
            return PASS

        super().__init__(Phase.EHLO, allow)


async def test_the_check_can_wait_for_the_first_recipient() -> None:
    resolver = Records(ZONE)
    async with Exchanger() as upstream, serving(upstream, checking(resolver, delay_check=True, fail_code=550)) as stage:
        client = await stage.greeted()
        assert (await client.ask("MAIL FROM:<a@fail.test>"))[:3] == "250"
        assert resolver.asked == []
        for recipient in (BOB, "carol@example.com"):
            assert await client.ask(f"RCPT TO:<{recipient}>") == "550 5.7.23 SPF validation failure"
        await client.ask("RSET")
        await client.ask("MAIL FROM:<a@pass.test>")
        assert (await client.ask(f"RCPT TO:<{BOB}>"))[:3] == "250"
        asked = len(resolver.asked)
        assert (await client.ask("RCPT TO:<carol@example.com>"))[:3] == "250"
        assert len(resolver.asked) == asked
        await client.close()


def fields(message: Message, name: str) -> list[str]:
    head = message.content.partition(b"\r\n\r\n")[0].replace(b"\r\n\t", b" ").replace(b"\r\n ", b" ").decode()
    return [each.partition(": ")[2] for each in head.split("\r\n") if each.lower().startswith(f"{name.lower()}:")]


FORGED = b"Authentication-Results: ringback.test; spf=pass smtp.mailfrom=bank.test\r\n" + LETTER


async def test_the_message_has_received_spf_and_our_results_but_none_in_our_name() -> None:
    async with Exchanger() as upstream, serving(upstream, checking()) as stage:
        client = await stage.greeted()
        assert (await client.deliver("a@fail.test", [BOB], FORGED))[:3] == "250"
        await client.close()
    (message,) = upstream.messages
    (results,) = fields(message, "Authentication-Results")
    assert results == (
        "ringback.test; spf=fail (domain of fail.test does not designate 127.0.0.1 as permitted sender) "
        "smtp.mailfrom=a@fail.test"
    )
    (received,) = fields(message, "Received-SPF")
    assert received.startswith("fail (domain of fail.test does not designate 127.0.0.1 as permitted sender) receiver=")
    assert 'client-ip=127.0.0.1; envelope-from="a@fail.test"; helo=' in received
    assert "mechanism=-all" in received


async def test_a_later_message_of_the_session_has_its_own_result() -> None:
    async with Exchanger() as upstream, serving(upstream, checking()) as stage:
        await replies(stage, "a@fail.test", "a@pass.test")
    assert [fields(each, "Received-SPF")[0][:4] for each in upstream.messages] == ["fail", "pass"]


async def test_neither_field_is_added_if_its_option_is_off() -> None:
    quiet = checking(add_headers=False, add_authentication_results=False)
    async with Exchanger() as upstream, serving(upstream, quiet) as stage:
        client = await stage.greeted()
        await client.deliver("a@fail.test", [BOB], FORGED)
        await client.close()
    assert fields(upstream.messages[0], "Received-SPF") == []
    assert len(fields(upstream.messages[0], "Authentication-Results")) == 1


async def test_a_name_server_that_never_answers_costs_the_time_limit_and_not_the_mail() -> None:
    noting = Noting()
    async with Exchanger() as upstream, serving(upstream, checking(Silent(), timeout=0.05), noting.rule) as stage:
        assert (await replies(stage, "a@pass.test"))[0][:3] == "250"
    assert noting.seen == ["temperror"]


# ---------------------------------------------------------------- hostile


async def test_a_check_that_is_cancelled_is_unwound_whatever_pyspf_swallows() -> None:
    zone = {**spf("told.test", "v=spf1 exp=why.test include:more.test -all")}

    class Stalling(Records):
        async def records(self, name: str, record_type: str) -> Sequence[Value]:
            if name == "why.test":
                await asyncio.Event().wait()
            return await super().records(name, record_type)

    found = await evaluate(Stalling(zone), Identity("127.0.0.1", "a@told.test", "h.test", "r.test"), seconds=0.01)
    assert found == Outcome("temperror", problem="no answer in time")


async def test_ten_terms_that_look_up_and_two_empty_answers_are_the_limit() -> None:
    includes = " ".join(f"include:i{number}.test" for number in range(11))
    zone = {**spf("many.test", f"v=spf1 {includes} -all")}
    for number in range(11):
        zone |= spf(f"i{number}.test", "v=spf1 ?all")
    assert (await outcome("many.test", zone)).result == "permerror"
    void = {**spf("void.test", "v=spf1 a:a.test a:b.test a:c.test -all")}
    resolver = Records(void)
    found = await evaluate(resolver, Identity("127.0.0.1", "a@void.test", "h.test", "r.test"))
    assert (found.result, len(resolver.asked)) == ("permerror", 4)


async def test_a_record_that_includes_itself_ends() -> None:
    zone = {**spf("a.test", "v=spf1 include:b.test -all"), **spf("b.test", "v=spf1 include:a.test -all")}
    resolver = Records(zone)
    assert (await evaluate(resolver, Identity("127.0.0.1", "a@a.test", "h.test", "r.test"))).result == "permerror"
    assert len(resolver.asked) <= 12


HOSTILE = {
    "many addresses": "v=spf1 " + "ip4:192.0.2.1 " * 1200 + "-all",
    "many blanks": "v=spf1" + " " * 16_000 + "-all",
    "a long term": "v=spf1 a:" + "a" * 16_000 + " -all",
    "a long term that is no domain": "v=spf1 a:." + "a" * 16_000 + "! -all",
    "many dots": "v=spf1 a:" + "a." * 8000 + "! -all",
    "many macros": "v=spf1 a:" + "%{s}" * 4000 + ".test -all",
    "a long modifier": "v=spf1 " + "m" * 16_000 + "=x -all",
    "a modifier of macros": "v=spf1 m=" + "%{s1r-}" * 2000 + " -all",
    "one explanation for each": "v=spf1 " + "exp=a.test " * 1000 + "-all",
    "open brackets": "v=spf1 a:" + "%{" * 8000,
    "not text": "v=spf1 \u00e4 -all",
}


@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_record_lets_others_run(record: str) -> None:
    turns = 0
    longest = 0.0

    async def others() -> None:
        nonlocal turns, longest
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)
            turns += 1

    running = asyncio.get_running_loop().create_task(others())
    found = await outcome("hostile.test", spf("hostile.test", record))
    running.cancel()
    assert found.result in {"permerror", "fail", "none"}
    assert longest < 0.5  # processor time of one turn; 2 ms here, and seconds without the bounds


async def test_many_addresses_of_one_name_are_compared_in_parts() -> None:
    addresses = [f"192.0.{number >> 8}.{number & 255}" for number in range(100)]
    zone = {**spf("a.test", "v=spf1 a:many.test -all"), ("many.test", "A"): [*addresses, "127.0.0.1"]}
    assert (await outcome("a.test", zone)).result == "pass"


@pytest.mark.parametrize("chosen", ['a"; x=y', "a\\b", "a\r\nX: y", "(", ")", "ä", "x" * 5000])
def test_what_a_stranger_chose_cannot_leave_its_place_in_received_spf(chosen: str) -> None:
    identity = Identity("192.0.2.1", f"{chosen}@a.test", chosen, "r.test")
    body = received_spf(identity, Outcome("permerror", mechanism=chosen, problem=chosen))
    assert body.isascii()
    assert body.isprintable()
    outside = body.replace("\\\\", "").replace('\\"', "").split('"')[::2]
    assert "x=y" not in "".join(outside)
    assert "".join(outside).count("(") == "".join(outside).count(")") == 1


async def test_an_at_sign_in_a_quoted_local_part_is_no_other_domain() -> None:
    for sender in ('"a@pass.test"@fail.test', '"a@b"@fail.test'):
        found = await evaluate(Records(ZONE), Identity("192.0.2.1", sender, "helo.test", "r.test"), default_rule="?all")
        assert found.result == "fail", sender


async def test_a_link_local_client_is_compared_without_the_name_of_its_link() -> None:
    zone = spf("local.test", "v=spf1 ip6:fe80::/10 -all")
    found = await evaluate(Records(zone), Identity("fe80::1%eth0", "a@local.test", "helo.test", "r.test"))
    assert found.result == "pass"


async def test_a_record_whose_version_is_followed_by_something_else_is_none() -> None:
    """The one case that pyspf's own tests have beside the suites."""
    assert (await outcome("odd.test", spf("odd.test", "v=spf1..."))).result == "none"


@pytest.mark.parametrize(
    ("sender", "helo", "result"),
    [
        ("", "fail.test.", "fail"), ("", "FAIL.Test", "fail"), ("", "localhost", "none"), ("", "a..test", "none"),
        ("", f"{'x' * 64}.test", "none"), ("", "-", "none"), ("", "", "none"), ("", "[192.0.2.1]", "none"),
        ("", "." * 3000, "none"), ("", ".fail.test", "none"), ("a@fail.test.", "h.test", "fail"),
        ("a@localhost", "h.test", "none"), ("a@", "h.test", "none"), ("@fail.test", "h.test", "fail"),
        ("\u00fc@fail.test", "h.test", "fail"), ("a@[IPv6:::1]", "h.test", "none"), ("a", "fail.test", "none"),
    ],
)  # fmt: skip
async def test_only_a_name_of_several_sound_labels_has_a_record(sender: str, helo: str, result: str) -> None:
    zone = {**ZONE, **spf("localhost", "v=spf1 -all"), ("localhost", "A"): ["127.0.0.1"]}
    found = await evaluate(Records(zone), Identity("192.0.2.1", sender, helo, "r.test"), default_rule="?all")
    assert found.result == result


async def test_a_sender_whose_domain_of_one_label_does_not_exist_can_be_refused() -> None:
    for domain, unknown in (("nowhere", True), ("localhost", False)):
        zone: Zone = {("localhost", "A"): ["127.0.0.1"]}
        found = await evaluate(Records(zone), Identity("192.0.2.1", f"a@{domain}", "h.test", "r.test"))
        assert found.unknown_domain is unknown
