"""Error messages of the page."""

from __future__ import annotations

UNKNOWN_HOST = "This Host is not known here; add it to Web_Hosts.\n"
FAILED = "The page failed; the log says more.\n"
OTHER_ORIGIN = "Another site's page may not ask this.\n"
BAD_FORM = "The form cannot be read.\n"
TOO_MANY_VIEWERS = "Too many pages are open; close one.\n"
LINK_OVER = "This link was used, or is older than ten minutes. Make a new one with: ringback page"
ELSEWHERE = "From another machine, log in with a password."
WRONG = "The user or the password is wrong."
TOO_MANY_GUESSES = "Too many wrong passwords. Wait a minute."
NO_PASSWORDS = "There are no passwords: Web_Password_File is not set."
NOT_YOURS = "Your login shows numbers only. Addresses and dialogues need the role read_mail."
NO_PAGE = "There is no such page."
NO_SESSION = "The history has no session with this id. It may be older than History_Retention."
BUSY = "Other searches are going on. Try again in a moment."
TOO_LONG = "The search took too long. Ask for less: name a session, or a shorter time."
NO_FOLDER = "The history cannot be read: {reason}"
NO_LISTENER = "the page is not served: set Web_Listener, for example to 127.0.0.1:9026, and reload"


def no_role(given: str) -> str:
    """`ringback page --role` names no role."""
    return f'"{given}" is not a role: write read, read_mail or operate'
