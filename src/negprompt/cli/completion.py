"""`negprompt completion bash|zsh|fish`: a script that knows the commands, their groups and their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from negprompt.cli.paths import conf_dir, options

SHELLS = ("bash", "fish", "zsh")
_NOT_TYPED = ("defaults", "hydra")

_BASH = """\
_negprompt() {{
    local line="${{COMP_LINE:0:COMP_POINT}}" words
    local current="${{line##*[[:space:]]}}"
    case "${{COMP_WORDS[1]}}" in
{cases}
        *) words="{commands}" ;;
    esac
    [ "$COMP_CWORD" -le 1 ] && words="{commands}"
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    # Where bash begins a new word after "=", it wants what follows.
    [[ "$current" == *=* && "$COMP_WORDBREAKS" == *=* ]] && COMPREPLY=("${{COMPREPLY[@]#"${{current%=*}}="}}")
    case "${{COMPREPLY[*]}}" in *=) compopt -o nospace ;; esac
}}
complete -o default -F _negprompt negprompt"""
_ZSH = """\
#compdef negprompt
_negprompt() {{
    local -a words_here
    if (( CURRENT == 2 )); then
        words_here=({commands})
    else
        case "$words[2]" in
{cases}
        esac
    fi
    compadd -S '' -a words_here || _files
}}
compdef _negprompt negprompt"""
_FISH = "complete -c negprompt -n __fish_use_subcommand -f -a {name} -d '{does}'"
_FISH_WORDS = "complete -c negprompt -n '__fish_seen_subcommand_from {name}' -a '{words}'"


def script(shell: str, commands: Mapping[str, tuple[str, Sequence[str]]]) -> str:
    """The completion script of a shell.

    Args:
        shell: one of `SHELLS`.
        commands: name -> what it does, and the names of its parts where it is a command of commands.
    """
    words = {name: " ".join(_words(name, parts)) for name, (_, parts) in commands.items()}
    if shell == "fish":
        named = [_FISH.format(name=name, does=does) for name, (does, _) in commands.items()]
        return "\n".join(named + [_FISH_WORDS.format(name=name, words=text) for name, text in words.items()])
    text, form = (
        (_BASH, '        {}) words="{}" ;;') if shell == "bash" else (_ZSH, "            {}) words_here=({}) ;;")
    )
    return text.format(commands=" ".join(commands), cases="\n".join(form.format(*item) for item in words.items()))


def _words(command: str, parts: Sequence[str]) -> list[str]:
    """What may follow a command: its parts, `group=option`, `group.key=` and `key=`."""
    if parts:
        return list(dict.fromkeys([*parts, *(word for part in parts for word in _words(f"{command}_{part}", ()))]))
    if command == "completion":
        return list(SHELLS)
    top = _whole(command)
    groups = [group for entry in top["defaults"] if isinstance(entry, dict) for group in entry if options(group)]
    words = [f"{group}={option}" for group in groups for option in options(group)]
    for group in groups:
        keys = {
            key for option in options(group) for key, value in _of_group(group, option).items() if _typed(key, value)
        }
        words += [f"{group}.{key}=" for key in sorted(keys)]
    for key, node in top.items():
        if isinstance(node, dict) and key not in _NOT_TYPED:
            words += [f"{key}.{name}=" for name in node]
    return [*words, *(f"{key}=" for key, value in top.items() if _typed(key, value)), "--cfg", "--help", "--multirun"]


def _whole(name: str) -> dict[str, Any]:
    """A command's yaml with that of the command it builds on."""
    top = _yaml(name)
    for entry in top["defaults"]:
        if isinstance(entry, str) and entry != "_self_":
            below = _whole(entry)
            top = {**below, **top, "defaults": [*below["defaults"], *top["defaults"]]}
    return top


def _of_group(group: str, option: str) -> dict[str, Any]:
    """Settings of a group in one of its files, which may also set others (`@package _global_`)."""
    content = _yaml(f"{group}/{option}")
    inside = content.get(group, content)
    return inside if isinstance(inside, dict) else content


def _typed(key: str, value: object) -> bool:
    return key not in _NOT_TYPED and not key.startswith("_") and "." not in key and not isinstance(value, dict)


def _yaml(name: str) -> dict[str, Any]:
    return yaml.safe_load((conf_dir() / f"{name}.yaml").read_text(encoding="utf-8")) or {}
