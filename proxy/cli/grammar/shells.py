"""Completion scripts for bash, zsh and fish. They contain all words, so that a Tab never waits for Python to start.

Each script follows the words typed so far to the command that they name (`at`). Then it offers this command's
subcommands and options, the values of the option before the cursor, or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from proxy.cli.grammar.tree import HELP, Command, Parameter

HELP_TEXT = "Show this help and exit."


def bash(root: Command) -> str:
    """Return the script for bash."""
    patterns = "|".join(f"'{each.name}'" for each in _below(root))
    values = _cases(root, "{0})", lambda each: _BASH_VALUE[_kind(each)].format(" ".join(each.choices)))
    commands = "\n".join(
        f"        '{each.name}') words='{' '.join(_words(each))}' files={int(_takes_files(each))} ;;"
        for each in root.all()
    )
    return _BASH.format(patterns=patterns, values=values, skipped=_skipped(root), commands=commands)


def zsh(root: Command) -> str:
    """Return the script for zsh."""
    patterns = "|".join(f"'{each.name}'" for each in _below(root))
    values = _cases(root, "({0})", lambda each: _ZSH_VALUE[_kind(each)].format(" ".join(each.choices)))
    commands = []
    for each in root.all():
        subcommands = " ".join(_zsh_word(child.path[-1], child.summary) for child in _visible(each))
        options = " ".join(_zsh_word(name, text) for name, text in _options(each))
        choices = " ".join(_choices(each))
        commands.append(
            f"        ('{each.name}') subcommands=({subcommands}) options=({options}) choices=({choices})"
            f" files={int(_takes_files(each))} ;;"
        )
    return _ZSH.format(patterns=patterns, values=values, skipped=_skipped(root), commands="\n".join(commands))


def fish(root: Command) -> str:
    """Return the script for fish."""
    patterns = " ".join(f"'{each.name}'" for each in _below(root))
    skipped = _skipped(root).replace("|", " ")
    lines = [_FISH.format(patterns=patterns, skipped=skipped)]
    for command in root.all():
        head = f"complete -c ringback -n '__ringback_at \"{command.name}\"'"
        lines += [f"{head} -a {each.path[-1]} -d {_fish_text(each.summary)}" for each in _visible(command)]
        lines += [f"{head} -a '{' '.join(_choices(command))}'"] if _choices(command) else []
        lines += [f"{head} -F"] if _takes_files(command) else []
        lines += [f"{head} {_fish_option(each)}" for each in command.options]
        lines.append(f"{head} -s h -l help -d '{HELP_TEXT}'")
    return "\n".join(lines) + "\n"


SCRIPTS: Mapping[str, Callable[[Command], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


# ---------------------------------------------------------------- what all three need


def _below(root: Command) -> Iterator[Command]:
    return (each for each in root.all() if each is not root)


def _visible(command: Command) -> list[Command]:
    return [each for each in command.children if not each.hidden]


def _options(command: Command) -> Iterator[tuple[str, str]]:
    for each in command.options:
        yield from ((name, each.help) for name in each.names)
    yield from ((name, HELP_TEXT) for name in HELP)


def _choices(command: Command) -> list[str]:
    return [choice for each in command.arguments for choice in each.choices]


def _words(command: Command) -> list[str]:
    return [
        *(each.path[-1] for each in _visible(command)),
        *_choices(command),
        *(name for name, _ in _options(command)),
    ]


def _takes_files(command: Command) -> bool:
    return any(each.is_path for each in command.arguments)


def _kind(option: Parameter) -> str:
    return "choices" if option.choices else "file" if option.is_path else "text"


def _valued(root: Command) -> Iterator[tuple[str, Parameter]]:
    """Yield each option that takes a value, with what is typed before the value as a pattern."""
    for command in root.all():
        for option in command.options:
            if option.metavar:
                yield "|".join(f"'{command.name} {name}'" for name in option.names), option


def _cases(root: Command, pattern: str, action: Callable[[Parameter], str]) -> str:
    return "\n".join(f"        {pattern.format(typed)} {action(each)} ;;" for typed, each in _valued(root))


def _skipped(root: Command) -> str:
    """Return the pattern of words whose next word is a value, not a command."""
    return "|".join(typed for typed, _ in _valued(root))


_BASH_VALUE = {
    "choices": "COMPREPLY=($(compgen -W '{}' -- \"$word\")); return",
    "file": "compopt -o default; return",
    "text": "return",
}

_BASH = """\
# bash completion for ringback; made by `ringback completion bash`
_ringback() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} at=ringback words= files=0 i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${{COMP_WORDS[i]}}" in
        {skipped}) ((i++)) ;;
        {patterns}) at="$at ${{COMP_WORDS[i]}}" ;;
        esac
    done
    if [[ $word == = ]]; then
        word=
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    case "$at $before" in
{values}
    esac
    case "$at" in
{commands}
    esac
    if ((files)) && [[ $word != -* ]]; then
        compopt -o default
    else
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    fi
}}
complete -F _ringback ringback
"""

_ZSH_VALUE = {"choices": "compadd -- {}; return", "file": "_files; return", "text": "return 1"}

_ZSH = """\
#compdef ringback
# zsh completion for ringback; made by `ringback completion zsh`
_ringback() {{
    local at=ringback files=0 i
    local -a subcommands options choices
    for ((i = 2; i < CURRENT; i++)); do
        case "$at ${{words[i]}}" in
        ({skipped}) ((i++)) ;;
        ({patterns}) at="$at ${{words[i]}}" ;;
        esac
    done
    case "$at ${{words[CURRENT-1]}}" in
{values}
    esac
    case "$at" in
{commands}
    esac
    if [[ ${{words[CURRENT]}} == -* ]]; then
        _describe -o option options
        return
    fi
    ((${{#subcommands}})) && _describe command subcommands
    ((${{#choices}})) && compadd -- $choices
    ((files)) && _files
}}
if [[ $funcstack[1] == _ringback ]]; then
    _ringback "$@"
else
    compdef _ringback ringback
fi
"""

_FISH = """\
# fish completion for ringback; made by `ringback completion fish`
function __ringback_at --argument-names wanted
    set -l at ringback
    set -l skip 0
    set -l typed (commandline -opc)
    for word in $typed[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$at $word"
            case {skipped}
                set skip 1
            case {patterns}
                set at "$at $word"
        end
    end
    test "$at" = "$wanted"
end
complete -c ringback -f"""


def _zsh_word(word: str, text: str) -> str:
    """Return `word:description` in single quotes."""
    quoted = f"{word}:{text}".replace("'", "'\\''")
    return f"'{quoted}'"


def _fish_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _fish_option(option: Parameter) -> str:
    names: Sequence[str] = [f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.names]
    values = {"choices": f"-x -a '{' '.join(option.choices)}'", "file": "-r -F", "text": "-x"}
    value = [values[_kind(option)]] if option.metavar else []
    return " ".join([*names, *value, f"-d {_fish_text(option.help)}"])
