"""`ringback completion`: the script that lets a shell complete our commands."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from proxy.cli.grammar.shells import SCRIPTS
from proxy.cli.grammar.tree import PROGRAM, described


class Shell(StrEnum):
    """The shells that it knows."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    context: typer.Context, shell: Annotated[Shell, typer.Argument(help="Your shell.", show_default=False)]
) -> None:
    """Print the completion script for a shell.

    For bash, write `eval "$(ringback completion bash)"` into ~/.bashrc. For fish, write the output to
    ~/.config/fish/completions/ringback.fish. For zsh, write it to a file named _ringback in a folder of $fpath.
    """
    root = described(context.find_root().command, (PROGRAM,))
    sys.stdout.write(SCRIPTS[shell.value](root))
