"""Reply codes that a module takes as options: 250 refuses nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

PASSES = 250
"""The code that refuses nothing."""


def _refuses_or_passes(code: int) -> int:
    if code != PASSES and not 400 <= code <= 599:  # the codes of a refusal
        raise ValueError("write a code from 400 to 599 to reject, or 250 to leave the decision to scripts")
    return code


RefusalCode = Annotated[int, AfterValidator(_refuses_or_passes)]
