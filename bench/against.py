"""Another commit of this project, installed beside this one, to be a leg: its source and a Python environment.

It is kept under build/against, so that a second run need not install it again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv

from tests.support.ringback import ROOT, Checkout

KEPT = ROOT / "build" / "against"


class NoSuchCommitError(LookupError):
    """The commit is not known, or it cannot be installed."""


def installed(reference: str) -> Checkout:
    """Return a commit's checkout, with the Python that runs this one and the packages that it asks for.

    Raises:
        NoSuchCommitError: with what git or pip said.
    """
    commit = _run("git", "rev-parse", "--verify", "--short=12", f"{reference}^{{commit}}").decode().strip()
    version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    place = KEPT / f"{commit}-{version}"
    checkout = Checkout(place / "source", str(place / "venv" / "bin" / "python"))
    if (place / "done").exists():
        return checkout
    checkout.root.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".tar") as packed:
        _run("git", "archive", f"--output={packed.name}", commit)
        _run("tar", "--extract", f"--file={packed.name}", f"--directory={checkout.root}")
    venv.create(place / "venv", with_pip=True, clear=True)
    _run(checkout.python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", str(checkout.root))
    (place / "done").touch()
    return checkout


def _run(*arguments: str) -> bytes:
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
        raise NoSuchCommitError(f"{' '.join(arguments[:3])}: {last[-1]}")
    return done.stdout
