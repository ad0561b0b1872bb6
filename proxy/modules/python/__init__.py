"""python: a site's own checks, written as a handler for aiosmtpd.

- `options.py` declares the options; `loading.py` imports the handler, if its files are safe.
- `handler.py` finds the handler's hooks and calls them; `facade.py` is the server that they see.
- `answers.py` turns what a hook returns into a reply; `mechanisms.py` does this for AUTH.
- `module.py` hooks them into the phases of a session, and into other commands.
"""
