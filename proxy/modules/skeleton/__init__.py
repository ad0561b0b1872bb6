"""skeleton: a complete module to copy. It refuses clients by the name that they give in EHLO.

To write a module, copy this folder, rename `skeleton` and `Skeleton` throughout, and name the module in
`proxy.app.MODULES`. `make docs` then adds its options and script functions to the reference pages.

- `options.py` declares the options; reading, checking, scopes and the reference follow from the declaration.
- `module.py` hooks into the phases of a session.
- `functions.py` declares the script functions that come with the module.

Ringback itself does not load this module; `tests/proxy/modules/test_skeleton.py` copies it and runs the copy.
"""
