"""The tables of a day's file.

NULL in a recipient means: as the message of its transaction. A relayed message with one recipient has its address, and
no row in `recipients` unless the two have different fates.
"""

from __future__ import annotations

APPLICATION_ID = 0x52696E68
"""In the file's header, so that another program's database is never mistaken for ours."""

VERSION = 2
"""Version of the tables. A file of another version is left alone; the day continues in a new one."""

PAGE_OCTETS = 4096

_FATE = (
    "phase INTEGER, disposition INTEGER, decided_by INTEGER, reply TEXT, callback_status INTEGER,"
    " callback_reason INTEGER, callback_text TEXT, upstream INTEGER, taken_by INTEGER, queue_id TEXT"
)

TABLES = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE words (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE sources (source INTEGER PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE keys (row INTEGER PRIMARY KEY, keys BLOB NOT NULL, sessions BLOB NOT NULL);
CREATE TABLE sessions (
  row INTEGER PRIMARY KEY, id TEXT NOT NULL, at INTEGER NOT NULL, client INTEGER, helo INTEGER, tls INTEGER,
  cipher INTEGER, user INTEGER, via INTEGER, messages INTEGER, recipients INTEGER, errors INTEGER, ms INTEGER,
  ended INTEGER
);
CREATE TABLE transactions (
  row INTEGER PRIMARY KEY, session INTEGER NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, sender TEXT,
  message_id TEXT, recipients INTEGER, size INTEGER, {_FATE},
  client_ms INTEGER, policy_ms INTEGER, callback_ms INTEGER, upstream_ms INTEGER, address TEXT
);
CREATE INDEX transactions_of_session ON transactions (session);
CREATE TABLE recipients (
  row INTEGER PRIMARY KEY, session INTEGER NOT NULL, number INTEGER NOT NULL, at INTEGER, sender TEXT,
  address TEXT NOT NULL, {_FATE}
);
CREATE INDEX recipients_of_session ON recipients (session);
CREATE TABLE probes (
  row INTEGER PRIMARY KEY, session INTEGER NOT NULL, key INTEGER NOT NULL, at INTEGER NOT NULL, address TEXT NOT NULL,
  sender TEXT, status INTEGER, reason INTEGER, stage INTEGER, code INTEGER, text TEXT, exchanger INTEGER, ip INTEGER,
  tls INTEGER, ms INTEGER
);
CREATE INDEX probes_of_address ON probes (key);
CREATE TABLE notes (
  row INTEGER PRIMARY KEY, session INTEGER NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL,
  event INTEGER NOT NULL, fields TEXT NOT NULL
);
CREATE INDEX notes_of_session ON notes (session);
CREATE TABLE dialogues (row INTEGER PRIMARY KEY, session INTEGER NOT NULL, at INTEGER NOT NULL, lines TEXT NOT NULL);
CREATE INDEX dialogues_of_session ON dialogues (session);
CREATE TABLE answers (
  row INTEGER PRIMARY KEY, session INTEGER NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, dropped INTEGER,
  answers TEXT NOT NULL
);
CREATE INDEX answers_of_session ON answers (session);
CREATE TABLE gaps (
  row INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, worker INTEGER, reason INTEGER NOT NULL,
  details INTEGER NOT NULL, accepted INTEGER NOT NULL, others INTEGER NOT NULL, refusals INTEGER NOT NULL
);
"""
