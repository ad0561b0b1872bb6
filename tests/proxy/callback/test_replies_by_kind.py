"""What an exchanger's reply says, kind by kind: whom it is about, which code counts, and in which language it says so.

Each case is one of many with the same build; tests/spec/callback/refusals.tsv has those that servers really said.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from proxy.callback.classify import BadTable, Classifier, Judgement, Words
from proxy.callback.verdict import Status
from proxy.mail.replies import Reply

CLASSIFIER = Classifier()
ASKED = "user@example.com"
MET_LATER = Path(__file__).parents[2] / "spec/callback/met-later.tsv"
NEAR_MISSES = Path(__file__).with_name("near-misses.tsv")

UNKNOWN = (Status.FAIL, "no_such_user")
DISABLED = (Status.FAIL, "disabled")
POLICY = (Status.ERROR, "policy")
NULL_SENDER = (Status.ERROR, "null_sender")
TLS = (Status.ERROR, "tls_required")
FULL = (Status.TRANSIENT, "mailbox_full")
GREYLIST = (Status.TRANSIENT, "greylist")
RATE = (Status.TRANSIENT, "rate")
DEFERRED = (Status.TRANSIENT, "deferred")


def judged(text: str, address: str = ASKED) -> Judgement:
    return CLASSIFIER.recipient(Reply(int(text[:3]), (text[4:].encode(),)), address)


def cases(*texts: str) -> pytest.MarkDecorator:
    """Parametrise with replies, under ids without blanks."""
    return pytest.mark.parametrize("text", texts, ids=[f"{number:02}" for number in range(len(texts))])


# ---------------------------------------------------------------- about us


@cases(
    "550 5.1.1 Backscatter Protection detected an invalid or expired email address",
    "550 unsigned dsn",
    "550 5.1.1 returned mail not accepted here",
    "550 5.1.1 Bounces are not accepted for <user@example.com>",
    "554 5.1.1 <user@example.com>: this address does not accept bounces",
    "550 5.2.1 This account never sends mail, so it has no bounces",
    "550 5.1.0 empty envelope sender not accepted",
    "553 5.1.1 null reverse path is not allowed",
    "550 delivery status notifications are not accepted for this user",
    "550 5.7.1 missing BATV signature",
    "550 5.1.1 this user did not send the message that is bounced",
)
def test_a_refusal_of_bounces_is_about_our_null_sender_whatever_its_code(text: str) -> None:
    assert judged(text) == NULL_SENDER
    assert CLASSIFIER.is_about_null_sender(Reply(int(text[:3]), (text[4:].encode(),)), ASKED)


@cases(
    "550 5.1.1 Message Blocked.",
    "550 5.1.1 Mail refused",
    "550 5.1.1 Your connection was rejected",
    "550 5.1.0 IP 192.0.2.1 blocked",
    "550 5.1.1 Host rejected",
    "550 5.1.1 this server does not accept mail",
    "550 5.1.1 client is not allowed",
    "550 5.1.2 domain not served here",
    "550 5.1.1 No route",
    "550 5.1.1 Nachricht abgelehnt",
    "550 5.1.1 Message refuse",
    "550 5.1.1 Messaggio rifiutato",
    "550 5.1.1 Mensaje rechazado",
    "550 5.1.1 Письмо отклонено",
)
def test_a_refusal_of_message_connection_host_or_domain_is_about_us_behind_any_code(text: str) -> None:
    assert judged(text) == POLICY


@cases(
    "550 5.1.1 refused by recipient preferences",
    "550 5.1.1 <user@example.com>: blocked due to recipient preferences",
    "550 5.2.1 Rejected by the recipient's own settings",
    "550 5.1.1 denied by user filter",
    "550 5.1.1 the recipient has blocked this mail",
)
def test_what_the_recipient_prefers_is_no_unknown_user(text: str) -> None:
    assert judged(text) == POLICY


@cases(
    "550 5.1.1 mittente sconosciuto",
    "550 expediteur inconnu, utilisateur inconnu",
    "550 5.1.1 Absender unbekannt",
    "550 5.1.1 remitente desconocido",
    "550 5.1.1 remetente inexistente",
    "550 5.1.1 отправитель не найден",
    "550 5.1.1 发件人不存在",
    "550 5.1.1 送信者が存在しません",
    "550 5.1.1 발신자 주소가 없습니다",
    "550 5.1.1 nieznany nadawca",
    "550 5.1.1 afzender onbekend",
    "550 5.1.1 okand avsandare",
    "550 5.1.1 gonderen bulunamadi",
)
def test_words_of_policy_exist_in_the_languages_of_unknown_users(text: str) -> None:
    assert judged(text) == POLICY


# ---------------------------------------------------------------- about another address


@cases(
    "550 5.1.1 <other@example.com>: Recipient address rejected: User unknown",
    "550 5.1.1 <user@example.org>: User unknown",
    "550 5.1.1 <user2@example.com> no such user",
    "550 unknown user other@example.net",
    "550 5.1.1 <xuser@example.com>: user unknown",
    "550 5.1.1 <x.user@example.com>: user unknown",
    "550 5.1.1 <user@example.com.invalid.example>: user unknown",
    "550 5.1.1 other+tag@example.com unknown",
    "550 5.1.1 <prvs=0123abcdef=other@example.com> unknown",
    "550 5.1.1 <SRS0=abcd=ef=example.com=other@example.org> unknown user",
)
def test_a_reply_about_another_address_is_an_error(text: str) -> None:
    assert judged(text) == POLICY


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param("user@example.com", "USER@Example.COM", id="case"),
        pytest.param("user@example.com", '"user"@example.com', id="quotes"),
        pytest.param('"us er"@example.com', '"us\\ er"@example.com', id="quoted-pair"),
        pytest.param("user@example.com", "user@example.com.", id="trailing-dot"),
        pytest.param("user+tag@example.com", "user@example.com", id="tag-asked"),
        pytest.param("user@example.com", "user+tag@example.com", id="tag-said"),
        pytest.param("prvs=0123abcdef=user@example.com", "user@example.com", id="batv"),
        pytest.param("user@bücher.example", "user@xn--bcher-kva.example", id="idn"),
        pytest.param("SRS0=abcd=ef=example.org=user@example.com", "user@example.org", id="srs"),
    ],
)
def test_a_reply_about_the_same_mailbox_in_another_spelling_is_about_it(asked: str, said: str) -> None:
    assert judged(f"550 5.1.1 <{said}> user unknown", asked) == UNKNOWN


@cases(
    "550 5.1.1 User unknown, contact postmaster@example.net",
    "550 5.1.1 User unknown. Please write to help@example.org if this is wrong",
    "550 5.1.1 User unknown; see https://policy.example/spam?sender=x",
    "550 5.1.1 no such user, for assistance forward this to abuse@spamhaus.example",
    "550 5.1.1 The address does not exist. Learn more at https://support.example/blocked/relay",
    "550 User unknown, questions to admin@example.net",
)
def test_links_and_addresses_to_write_to_leave_an_unknown_user_unknown(text: str) -> None:
    assert judged(text) == UNKNOWN


# ---------------------------------------------------------------- later


@cases(
    "550 5.2.1 Account temporarily disabled",
    "550 The user's account is temporarily suspended",
    "550 5.2.1 mailbox is disabled temporarily",
    "554 5.2.1 Konto vorübergehend gesperrt",
    "550 5.2.1 compte temporairement désactivé",
    "550 5.2.1 cuenta deshabilitada temporalmente",
    "550 5.2.1 ящик временно заблокирован",
    "550 5.2.1 账号暂时停用",
    "550 5.2.1 konto tymczasowo zablokowane",
)
def test_what_is_switched_off_for_a_time_is_no_fail(text: str) -> None:
    assert judged(text)[0] is Status.TRANSIENT


@pytest.mark.parametrize(
    ("text", "judgement"),
    [
        pytest.param("550 5.1.1 greylisted, user unknown to us yet", GREYLIST, id="greylist"),
        pytest.param("550 Grey-listing in effect", GREYLIST, id="greylist-hyphen"),
        pytest.param("550 5.1.1 too many recipients unknown", RATE, id="rate"),
        pytest.param("550 5.2.1 The user receives mail at a rate that is too high", RATE, id="rate-mailbox"),
        pytest.param("550 5.1.1 User lookup: internal error", DEFERRED, id="system"),
        pytest.param("550 User could not be found: LDAP server failure", DEFERRED, id="ldap"),
        pytest.param("550 unknown user, try again later", DEFERRED, id="again"),
        pytest.param("550 insufficient system storage", DEFERRED, id="storage-of-the-system"),
        pytest.param("550 5.7.0 Must issue a STARTTLS command first", TLS, id="tls"),
        pytest.param("550 TLS required for this recipient", TLS, id="tls-without-a-code"),
        pytest.param("554 encryption is required for user", TLS, id="encryption"),
    ],
)
def test_words_of_another_time_or_way_count_in_a_permanent_refusal(text: str, judgement: Judgement) -> None:
    assert judged(text) == judgement


@cases(
    "552 rate limit exceeded, mailbox is full",
    "550 disk full, too many messages",
    "550 5.1.1 user is over quota, messages limit exceeded",
    "552 5.1.1 storage of the mailbox exceeded",
    "550 The mailbox exceeds its disk space",
    "550 insufficient mailbox space for user",
    "550 not enough storage available",
    "550 full mailbox, limit reached",
    "552 Requested action aborted",
    "452 4.2.0 quota of the mailbox exceeded, rate limited",
)
def test_a_full_mailbox_wins_over_rate_and_over_unknown(text: str) -> None:
    assert judged(text) == FULL


# ---------------------------------------------------------------- codes


@pytest.mark.parametrize("code", ["5.0.0", "5.2.0", "5.3.0", "5.5.0", "5.7.17"])
@pytest.mark.parametrize(
    ("words", "judgement"),
    [
        pytest.param("user unknown", UNKNOWN, id="unknown"),
        pytest.param("account is disabled", DISABLED, id="disabled"),
        pytest.param("sender rejected", POLICY, id="policy"),
        pytest.param("rejected", POLICY, id="nothing"),
    ],
)
def test_behind_a_code_that_means_nothing_words_decide(code: str, words: str, judgement: Judgement) -> None:
    assert judged(f"550 {code} {words}") == judgement


@pytest.mark.parametrize(
    ("text", "judgement"),
    [
        pytest.param("550 5.0.0 <user@example.com>: 550 5.1.1 rejected", UNKNOWN, id="unknown-second"),
        pytest.param("550 5.1.1 rejected (#5.0.0)", UNKNOWN, id="unknown-first"),
        pytest.param("554 5.5.0 host said: 550 5.2.1 no", DISABLED, id="disabled-second"),
        pytest.param("550 5.1.0 rejected 5.2.1", DISABLED, id="detail-over-none"),
        pytest.param("550 5.0.0 user unknown 5.7.1", POLICY, id="policy-second"),
        pytest.param("553 sorry, no mailbox here by that name. (#5.7.17)", UNKNOWN, id="qmail-5.7.17"),
    ],
)
def test_of_several_codes_the_most_specific_counts(text: str, judgement: Judgement) -> None:
    assert judged(text) == judgement


# ---------------------------------------------------------------- unknown and switched off, in words


@cases(
    "550 USER_UNKNOWN",
    "550 USER-UNKNOWN",
    "550 No_Such_User",
    "550 RECIPIENT_NOT_FOUND",
    "550 mailbox-not-found",
    "550 not our user",
    "550 not one of our customers",
    "550 no such ID",
    "550 recipient unrecognized",
    "550 recipient is not in my recipient list",
    "550 address not in our directory",
    "550 user isn't known here",
    "550 we cannot find that account",
    "550 the mailbox wasn't found",
    "550 nobody by that name here",
    "550 no mailbox with that name",
    "550 couldn't locate the recipient",
    "550 invalid recipient",
    "550 that login doesn't exist",
    "550 Empfänger unbekannt",
    "550 boîte aux lettres inexistante",
    "550 usuário não existe",
    "550 adresát neexistuje",
    "550 Użytkownik nie istnieje",
    "550 okänd mottagare",
    "550 Пользователь не найден",
    "550 收件人不存在",
    "550 宛先が存在しません",
    "550 존재하지 않는 사용자",
)
def test_a_negation_of_the_recipient_is_an_unknown_user(text: str) -> None:
    assert judged(text) == UNKNOWN


@cases(
    "550 account is not active",
    "550 ACCOUNT_DISABLED",
    "550 user-suspended",
    "550 this mailbox has been closed",
    "550 inactive recipient",
    "550 Postfach gesperrt",
    "550 Konto ist deaktiviert",
    "550 compte désactivé",
    "550 casella disattivata",
    "550 cuenta suspendida",
    "550 conta desativada",
    "550 ящик заблокирован",
    "550 帐号已停用",
    "550 휴면 계정",
    "550 konto zablokowane",
    "550 account opgeheven",
    "550 kontot är avstängd",
    "550 účet zrušen",
    "550 hesap devre d\u0131\u015f\u0131",
)
def test_an_address_that_is_switched_off_is_so_in_many_languages(text: str) -> None:
    assert judged(text) == DISABLED


def test_text_that_is_no_utf_8_is_latin_1() -> None:
    said = "Empfänger ungültig".encode("latin-1")
    assert CLASSIFIER.recipient(Reply(550, (said,)), ASKED) == UNKNOWN


# ---------------------------------------------------------------- near to an unknown user, and yet none


@cases(
    "550 5.1.1 <user@example.com>: sorry, your mail could not be delivered because the sending host is unknown",
    "550 Recipient cannot receive mail from unknown users",
    "550 Mail to this user is only accepted from known contacts",
    "550 This account only accepts mail from members; you are unknown",
    "550 invalid HELO name, user unknown to SPF",
    "550 5.1.1 User has moved; please try again later",
    "550 User unknown in relay table, relay denied",
    "550 5.2.1 Mailbox inactive until Monday, temporarily",
    "550 The account is locked for maintenance, try again in 2 hours",
    "550 mailbox locked by another process",
    "550 5.2.0 mailbox locked",
    "550 No such message",
    "550 Unknown command",
    "550 account not found for authentication",
    "550 Login invalid",
    "550 Invalid login",
    "550 address in use not valid for your IP",
    "550 Your email address does not exist",
    "550 The from address does not exist",
    "550 your address is unknown to us",
    "550 Email not found in allow list",
    "550 recipient not on whitelist",
    "550 The email address you are sending from does not exist",
    "550 user is not allowed to receive external mail",
    "550 this mailbox does not accept mail from outside",
    "550 account is closed to outside senders",
    "550 you must be a registered user",
    "550 Only registered users may send to this list",
    "550 the recipient has not verified your address",
    "550 user not found in authorized senders list",
    "550 Your account has been suspended",
    "550 Account suspended for sending spam",
    "550 your email account is disabled",
    "550 Recipient limit unknown",
    "550 recipient is not accepting mail right now",
    "550 5.1.1 user is on vacation and takes no mail until 1 May",
    "550 5.1.1 Domain owner does not want mail from you",
    "550 5.1.1 the MX of your domain does not exist",
    "550 Recipient unknown host",
    "550 unknown recipient domain",
    "550 5.2.1 The mailbox is being migrated",
    "550 Mailbox is being moved, come back later",
    "550 mailbox not available now",
    "550 user temporarily unknown",
    "550 5.1.1 user unknown (temporary failure)",
    "550 Unknown error while delivering to user",
    "550 unknown mailer error 255",
    "550 5.3.0 unknown reason, recipient rejected",
    "550 recipient rejected for unknown reason",
    "550 Rejected, user reputation unknown",
    "550 Recipient server not found",
    "550 recipient's mail server does not exist",
    "550 recipient mail host not found",
    "550 country not found in recipient allowed countries",
    "550 Invalid recipient count",
    "550 No valid recipients in this session so far, too many errors",
    "550 invalid email message",
    "550 invalid mail format",
    "550 email header missing",
    "550 email missing date header",
    "550 Message-ID missing",
    "550 user's key not found, encrypted mail required",
    "550 recipient certificate not found",
    "550 no such file or directory for recipient",
    "550 cannot open mailbox /var/mail/user: no such file or directory",
    "550 mailbox not found on disk, input/output error",
    "550 User database not found",
    "550 user table not found",
    "550 could not find user database",
    "550 account disabled for relaying",
    "550 forwarding disabled for this account",
    "550 user has disabled external mail",
    "550 address disabled for external senders",
    "550 outbound mail disabled for account",
    "550 5.1.1 Sender unknown",
    "550 user unknown or not permitted to receive mail from you",
    "550 The recipient only accepts mail from known senders",
    "550 El servidor no conoce al remitente",
    "550 compte suspendu temporairement",
    "550 Adresse IP inconnue",
    "550 Adresse de l'expéditeur inconnue",
    "550 Empfängerserver nicht erreichbar",
    "550 Postfach zurzeit nicht erreichbar",
    "550 Benutzer hat sein Kontingent überschritten",
    "550 buzón no disponible",
    "550 caixa postal indisponível",
    "550 ящик недоступен",
    "550 Почтовый ящик временно недоступен",
    "550 邮箱暂时不可用",
    "550 user's mailbox is not currently available",
    "550 5.7.1 user unknown",
    "550 client not known here",
    "550 No such domain at this location",
    "550 this address is only for internal use",
    "550 address is reserved for internal use",
    "550 group does not accept mail from non-members",
    "550 recipient not authorized",
    "550 message expired",
    "550 Connection expired",
    "550 certificate expired for recipient domain",
    "550 mailbox storage is locked",
    "550 users over limit",
    "550 recipient hostname unknown",
)
def test_what_is_unknown_or_switched_off_need_not_be_the_address(text: str) -> None:
    assert judged(text)[0] is not Status.FAIL


@cases(
    "550 5.1.1 No mailbox",
    "550 5.1.1 sorry",
    "550 Email address could not be found, or was misspelled",
    "550 The recipient's email address was not found at the destination",
    "550 Account does not exist on this system",
    "550 No account by that name here",
    "550 5.0.0 Unknown local part",
    "550 Address unknown",
    "550 This user has no mailbox here",
    "550 this employee no longer works here",
    "550 person unknown",
    "550 destinataire non trouv\u00e9",
    "550 Destinatario inexistente",
    "550 mailbox deactivated",
    "550 recipient rejected: unknown",
    "550 NoSuchUser",
    "550 ERR_USER_NOT_FOUND",
    "550 5.3.0 mailbox doesn't exist",
    "550 user is unknown",
    '550 recipient address rejected: undeliverable address: unknown user: "user"',
    "550 mailbox does not exist, contact the owner",
    "550 this is not a valid mailbox",
    "550 Recipient not recognised",
    "550 No local mailbox",
    "550 address doesn't exist",
    "550 we have no user of that name",
    "550 Unknown alias",
    "550 the account you tried to reach does not exist",
    "550 Sorry, I couldn't find a mailbox by that name",
    "550 User has left the company",
    "550 no recipient by that name",
    "550 Bad destination mailbox address",
    "550 mailbox not known",
    "550 user nonexistent",
    "550 No user found",
    "550 5.1.1 unknown or illegal alias: user@example.com",
    "550 Recipient does not exist here",
    "550 Utente non trovato",
    "550 casella inesistente",
    "550 le compte n'existe pas",
    "550 Benutzer existiert nicht",
    "550 Benutzer nicht gefunden",
    "550 Empfängeradresse existiert nicht",
    "550 cuenta inexistente",
    "550 la cuenta no existe",
    "550 conta inexistente",
    "550 нет такого пользователя",
    "550 адрес не существует",
    "550 用户不存在",
    "550 この宛先は存在しません",
    "550 adres nie istnieje",
    "550 gebruiker onbekend",
    "550 konto finns inte",
    "550 uživatel neexistuje",
    "550 this account is inactive",
    "550 account terminated",
    "550 address no longer in use",
    "550 recipient no longer on server",
    "550 mailbox no longer exists",
    "550 user deleted",
    "550 Account removed",
    "550 user not listed in public Name & Address Book",
    "550 that user doesn't live here",
    "550 there is no such person at this address",
    "550 Could not find recipient",
    "550 <user> not found",
    "550 user@example.com not found",
)
def test_an_unknown_user_is_found_in_other_words(text: str) -> None:
    assert judged(text)[0] is Status.FAIL


# ---------------------------------------------------------------- as a whole


def met_later(kind: str, table: Path = MET_LATER) -> list[str]:
    lines = table.read_text("utf-8").splitlines()
    return [line[2:] for line in lines if line.startswith(f"{kind}\t")]


def status_of(text: str) -> Status:
    lines = text.split("\\n")
    reply = Reply(int(lines[0][:3]), tuple(line[4:].encode() for line in lines))
    return CLASSIFIER.recipient(reply, ASKED)[0]


def test_nearly_all_unknown_users_that_were_met_later_are_found() -> None:
    unknown = met_later("F")
    assert len(unknown) > 150
    assert sum(status_of(text) is Status.FAIL for text in unknown) >= 0.97 * len(unknown)


def test_nothing_else_that_was_met_later_is_a_fail() -> None:
    others = met_later("E")
    assert len(others) > 250
    assert [text for text in others if status_of(text) is Status.FAIL] == []


def test_no_near_miss_is_a_fail_and_what_it_resembles_is() -> None:
    others, unknown = met_later("E", NEAR_MISSES), met_later("F", NEAR_MISSES)
    assert (len(others) > 200, len(unknown) > 80) == (True, True)
    assert [text for text in others if status_of(text) is Status.FAIL] == []
    assert [text for text in unknown if status_of(text) is not Status.FAIL] == []


# ---------------------------------------------------------------- noun, negation, verb


RECIPIENTS = ("user", "recipient", "mailbox", "account", "email address", "mailuser", "recepient", "local part")
AFTER = (
    "{} is unkown",
    "this {} doesnt exist",
    "{} was not found",
    "{} is non-existant",
    "{} isn't known to us",
    "{}: not recognized",
    "{} could not be located",
)
BEFORE = (
    "no such {}",
    "unkown {}",
    "nonexistent {}",
    "invalid {}",
    "not a valid {}",
    "we do not know this {}",
    "cannot find that {}",
    "there is no {} by that name",
)
OTHERS = ("sender", "domain", "host", "command", "HELO name", "recipient domain", "IP address", "sender address")
OURS = ("sender", "HELO name", "IP address", "sender address")


@pytest.mark.parametrize("said", [*AFTER, *BEFORE], ids=lambda said: "-".join(said.replace("{}", "x").split()))
def test_every_noun_of_a_recipient_is_unknown_with_every_verb(said: str) -> None:
    assert [text for noun in RECIPIENTS if judged(text := f"550 {said.format(noun)}") != UNKNOWN] == []


@pytest.mark.parametrize("said", [*AFTER, *BEFORE], ids=lambda said: "-".join(said.replace("{}", "x").split()))
def test_another_noun_with_the_same_verb_is_no_unknown_user(said: str) -> None:
    assert [text for noun in OTHERS if judged(text := f"550 {said.format(noun)}")[0] is Status.FAIL] == []
    assert [text for noun in OURS if judged(text := f"550 5.1.1 {said.format(noun)}")[0] is Status.FAIL] == []


HOSTILE = {
    "addresses": b"a@b.c ",
    "halves": b"x@",
    "links": b"http://a ",
    "hosts": b"a-a.a.",
    "advice": b"please contact ",
    "nouns": b"user no ",
    "subjects": b"mail is not ",
    "codes": b"5.1.1 ",
    "brackets": b"<",
    "blanks": b"_- ",
    "letters": b"a",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_a_reply_costs_what_its_length_costs(piece: bytes) -> None:
    def cost(size: int) -> float:
        reply = Reply(550, ((piece * size)[:size],))
        begun = time.thread_time()
        CLASSIFIER.recipient(reply, ASKED)
        return time.thread_time() - begun

    cost(1000)
    short = min(cost(8_000) for _ in range(5))
    assert min(cost(32_000) for _ in range(5)) / short <= 6


# ---------------------------------------------------------------- names in a table


def test_a_rule_may_use_a_name_that_stands_above() -> None:
    words = Words("let who (?:bird|nest)\nlet gone {who} has flown\nno_such_user the {gone}\ndisabled x{3}")
    assert words.first("the bird has flown") == "no_such_user"
    assert words.first("xxx") == "disabled"
    assert words.first("the tree has flown") is None


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        pytest.param("no_such_user x {who}", 1, 15, "no `let who` above this line", id="unknown"),
        pytest.param("policy {who}\nlet who x", 1, 7, "no `let who` above this line", id="below"),
        pytest.param("let who (x", 1, 8, "not a regular expression (RE2): missing ): (x", id="expression"),
    ],
)
def test_a_name_that_cannot_be_used_is_told_by_line_and_column(text: str, line: int, column: int, problem: str) -> None:
    with pytest.raises(BadTable) as bad:
        Words(text)
    assert (bad.value.line, bad.value.column, bad.value.problem) == (line, column, problem)


def test_rules_of_the_operators_read_the_text_as_it_was_said() -> None:
    own = Classifier(Words("blocked see https://postmaster\\.example\\.net/blocked\nno_such_user NO_USER"))
    assert own.recipient(Reply(550, (b"5.1.1 see https://postmaster.example.net/blocked",)), ASKED)[1] == "blocked"
    assert own.recipient(Reply(550, (b"NO_USER",)), ASKED) == UNKNOWN
