"""Makes the reference pages of `docs/` from the code: `python -m scripts.reference`; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from api.app import app
from api.settings import Settings
from ncore.cli.parser import COMMANDS
from ncore.meanings import page as verdicts_page
from ncore.metrics.catalogue import page as metrics_page
from ncore.presets import PRESETS

DOCS = Path(__file__).parents[1] / "docs"
MADE = "This page is made from the code by `python -m scripts.reference`.\n"
METHODS = ("get", "post", "put", "patch", "delete")


def settings_page() -> str:
    """Every environment variable with default and meaning."""
    head = (
        f"# Settings\n\n{MADE}\nThe service is configured by environment variables; set but empty is the default.\n\n"
    )
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "./var" if name == "home" else field.default
        shown = "" if default in (None, "") else f"`{default}`"
        rows.append(f"| `NCORE_{name.upper()}` | {shown} | {field.description} |")
    return head + "\n".join(rows) + "\n"


def http_page() -> str:
    """Every operation with its parameters, in the order of the application."""
    head = (
        f"# HTTP\n\n{MADE}\nJSON everywhere, NaN and infinities as null, times in UTC. Errors are RFC 9457: "
        '`{"type", "title", "status", "detail", "errors": [{"field", "message"}]}`. '
        "Schemas, and a page to try them: `/docs` of a running service. [The API by example](api.md) has examples.\n\n"
    )
    rows = ["| call | answer | parameters |", "|---|---|---|"]
    for path, operations in app.openapi()["paths"].items():
        rows += [_operation(method, path, operations[method]) for method in METHODS if method in operations]
    return head + "\n".join(rows) + "\n"


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    words = operation.get("description") or operation.get("summary", "")
    names = [f"`{one['name']}`" for one in operation.get("parameters", []) if one["in"] != "path"]
    return f"| `{method.upper()} {path}` | {' '.join(words.split())} | {', '.join(names)} |".replace("\\|", "|")


def presets_page() -> str:
    """Every preset with which of its values are the paper's."""
    parts = [f"# Presets\n\n{MADE}"]
    for preset in PRESETS.values():
        owners = [f"{whose}: {', '.join(f'`{path}`' for path in paths)}." for whose, paths in _owners(preset) if paths]
        parts.append(f"\n## `{preset.name}`: {preset.title}\n\n{preset.description}\n\n{' '.join(owners)}\n")
    return "".join(parts)


def _owners(preset: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ("Values of the paper", preset.paper), ("Ours", preset.ours)


def commands_page() -> str:
    """Every command of `ncore`."""
    rows = [
        "| command | what it does |",
        "|---|---|",
        *(f"| `ncore {name}` | {COMMANDS[name][1]} |" for name in COMMANDS),
    ]
    return f"# Commands\n\n{MADE}\n`ncore COMMAND --help` lists the arguments.\n\n" + "\n".join(rows) + "\n"


PAGES = {
    "settings.md": settings_page,
    "http.md": http_page,
    "presets.md": presets_page,
    "commands.md": commands_page,
    "metrics.md": metrics_page,
    "verdicts.md": verdicts_page,
}


def main() -> int:
    """Writes the pages; with `--check` writes nothing, and 1 says that one is not up to date."""
    old = [name for name, page in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != page()]
    if "--check" in sys.argv:
        print("\n".join(f"docs/{name} is not up to date: run `make docs`" for name in old))
        return int(bool(old))
    for name in old:
        (DOCS / name).write_text(PAGES[name]())
        print(f"docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
