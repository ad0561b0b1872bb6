"""DATA (RFC 5321 section 4.1.1.4) and BDAT (RFC 3030): they take the message to policy and to the next hop."""

from __future__ import annotations

from proxy.mail import replies
from proxy.mail.replies import Reply, reply
from proxy.smtp.chunks import Chunk, ChunkReader, Interrupted, chunk_of
from proxy.smtp.connection import BACKLOG, HIGH_WATER, ClientGone, ClientIdle, LineTooLong
from proxy.smtp.data import DataReader
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.pace import Pace
from proxy.smtp.pending import Answer, Pending, Verb
from proxy.smtp.reception import MOST_DRAINED, MessageReader, Reception
from proxy.smtp.record import record_message
from proxy.smtp.syntax import parse


def data(dialogue: Dialogue, argument: bytes) -> Answer:
    """DATA: the client sends the message next. `message_arrived` follows."""
    session = dialogue.session
    if argument:
        return replies.NO_ARGUMENT_WANTED
    if session.transaction.is_binary:
        return replies.BINARYMIME_BY_BDAT
    session.tally.messages += 1
    dialogue.connection.high_water = HIGH_WATER
    dialogue.content = DataReader(dialogue.connection, _pace(dialogue))
    return replies.START_DATA


def message_arrived(dialogue: Dialogue, reader: DataReader) -> Pending:
    """Take the message that follows DATA: it has arrived, or more of it than is gathered."""
    dialogue.content = None
    return Pending(_receive(dialogue, reader))


def bdat(dialogue: Dialogue, argument: bytes) -> Answer:
    """BDAT: its octets are always read, so that they are not taken for commands."""
    chunk = chunk_of(argument)
    if chunk is None:
        return replies.BDAT_SYNTAX  # the length is unknown, so the session ends
    return Pending(_receive_chunks(dialogue, chunk))


async def _receive_chunks(dialogue: Dialogue, chunk: Chunk) -> Reply | None:
    dialogue.connection.high_water = HIGH_WATER
    try:
        return await _chunks(dialogue, chunk)
    finally:
        dialogue.connection.high_water = BACKLOG


async def _chunks(dialogue: Dialogue, chunk: Chunk) -> Reply | None:
    session = dialogue.session

    async def following(before: Chunk) -> Chunk:
        return await _next_chunk(dialogue, before)

    binary = session.transaction.is_binary
    reader = ChunkReader(dialogue.connection, chunk, following, _pace(dialogue), binary=binary)
    most = session.options.max_message_size
    if most and chunk.octets > most:
        if not await reader.drain(2 * most):
            return replies.TOO_BIG.closing()
        dialogue.end_message()
        return replies.TOO_BIG
    if (refusal := dialogue.progress.refusal("BDAT")) is not None:
        return refusal if await reader.drain(MOST_DRAINED) else replies.TOO_BIG.closing()
    session.tally.messages += 1
    try:
        return await _receive(dialogue, reader)
    except Interrupted as interrupted:
        if interrupted.answer is None:
            dialogue.connection.put_back(interrupted.line)
        return interrupted.answer


def _pace(dialogue: Dialogue) -> Pace:
    options = dialogue.session.options
    ends = dialogue.session.tally.started + options.session_time
    return Pace(dialogue.connection, options.data_timeout, options.min_data_rate, ends, dialogue.loop)


async def _next_chunk(dialogue: Dialogue, chunk: Chunk) -> Chunk:
    """Acknowledge a chunk and return the next. Any command except BDAT and NOOP abandons the message."""
    dialogue.say(reply(250, "2.0.0", f"{chunk.octets} octets received"))
    while True:
        try:
            line = await dialogue.next_line()
        except LineTooLong as error:
            too_long = replies.LINE_TOO_LONG
            raise Interrupted(b"", too_long.closing() if error.endless else too_long) from None
        parsed = parse(line, dialogue.session.options)
        word, argument = (b"", b"") if isinstance(parsed, Reply) else parsed
        verb = word.upper()
        if verb == b"BDAT" and (following := chunk_of(argument)) is not None:
            return following
        if verb != b"NOOP" or dialogue.connection.buffer:  # NOOP must be the last of its group, here as elsewhere
            raise Interrupted(line)
        dialogue.session.tally.junk += 1
        if dialogue.too_many_errors(replies.OK):
            raise Interrupted(b"", replies.BYE)
        dialogue.say(replies.OK)


async def _receive(dialogue: Dialogue, reader: MessageReader) -> Reply:
    """Take a message through policy to the next hop, and return the reply."""
    session, relay = dialogue.session, dialogue.relay or dialogue.front.open_relay(dialogue.session)
    try:
        try:
            answer = await Reception(dialogue.front, dialogue.plan, session, reader, relay, dialogue.commit).run()
        except BaseException as ended:
            session.transaction.size = reader.size
            record_message(session, None, relay, lost_by=_lost_by(ended))
            raise
        record_message(session, answer, relay)
        dialogue.recorded = answer
        if session.transaction.prdr and reader.finished and len(session.transaction.recipients) > 1:
            _say_of_each(dialogue, answer)
    finally:
        dialogue.end_message()
    if answer.accepted:
        session.tally.errors = session.tally.junk = session.tally.deferred = 0
        if dialogue.front.hooks.taken is not None:
            dialogue.front.hooks.taken(session)
    return answer


def _lost_by(ended: BaseException) -> str:
    """Return who ended a message without a reply."""
    if isinstance(ended, ClientIdle):
        return "data_timeout"
    return "client" if isinstance(ended, ClientGone | Interrupted) else "shutdown"


def _say_of_each(dialogue: Dialogue, answer: Reply) -> None:
    """Send a reply for each recipient before the final reply (draft-hall-prdr)."""
    said = [replies.EACH_RECIPIENT, *[each.refusal or answer for each in dialogue.session.transaction.recipients]]
    dialogue.connection.outgoing += b"".join([each.wire for each in said])


MESSAGE = Verb("DATA", data, is_ordered=False)
"""What follows DATA: the message, as one more command."""
