"""Shell completion of commands, their options, presets, and ids of experiments."""

from __future__ import annotations

from argparse import Namespace

from ncore.cli.output import write

_BASH = """_ncore() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} words=""
  if (( COMP_CWORD == 1 )); then words="{commands}"
  else case $command in
{cases}
  esac
    if [[ $word != -* ]]; then case $command in
      {with_presets}) words="{presets}" ;;
      {with_ids}) words=$(ncore list -q --limit 50 2>/dev/null) ;;
    esac; fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  if (( ${{#COMPREPLY[@]}} == 0 )); then COMPREPLY=($(compgen -f -- "$word")); fi
}}
complete -F _ncore ncore
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
_FISH = """complete -c ncore -n __fish_use_subcommand -f -a "{commands}"
complete -c ncore -n "__fish_seen_subcommand_from {with_presets}" -a "{presets}"
complete -c ncore -n "__fish_seen_subcommand_from {with_ids}" -f -a "(ncore list -q --limit 50 2>/dev/null)"
{cases}
"""


def completion(given: Namespace) -> int:
    """The script that a shell evaluates when it starts."""
    from ncore.cli.parser import options_of
    from ncore.presets import PRESETS

    options = options_of()
    words = {"commands": " ".join(options), "presets": " ".join(PRESETS)}
    ids, specs = ([name for name, found in options.items() if kind in found] for kind in ("ID", "SPEC"))
    separator = " " if given.shell == "fish" else "|"
    words |= {"with_ids": separator.join(ids), "with_presets": separator.join(specs)}
    flags = {name: [one for one in found if one.startswith("-")] for name, found in options.items()}
    if given.shell == "fish":
        lines = [
            f'complete -c ncore -n "__fish_seen_subcommand_from {name}" -{"l" if flag.startswith("--") else "s"} '
            f"{flag.lstrip('-')}"
            for name, found in flags.items()
            for flag in found
        ]
        write(_FISH.format(cases="\n".join(lines), **words))
    else:
        cases = "\n".join(f'    {name}) words="{" ".join(found)}" ;;' for name, found in flags.items())
        write((_ZSH if given.shell == "zsh" else "") + _BASH.format(cases=cases, **words))
    return 0
