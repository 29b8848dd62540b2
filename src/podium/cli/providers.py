"""`podium providers`: who can be asked, and what keeps the others from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from podium.cli import console
from podium.cli.options import ConfigOption, JsonOption, config_of
from podium.cli.source import open_models

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from podium.routing.snapshot import Provider


def providers(context: typer.Context, json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the providers: address, key (masked), and whether each can be asked.

    Without a podium.yaml, these are the providers whose key is in the environment, and local.

    [bold]Examples[/bold]

      podium providers

      podium providers --json
    """
    with console.errors_as_json(json):
        opened = open_models(config_of(context, config))
    snapshot = opened.models.snapshot
    if json:
        rows = [_row(name, provider, opened.models.get_provider_config(name)) for name, provider in snapshot.providers.items()]
        console.write_json({"config": str(opened.path) if opened.path else None, "providers": rows})
        return
    _show(snapshot.providers)
    console.say(f"From {opened.origin}.", "dim")
    if opened.path is None:
        _say_missing(set(snapshot.providers))


def _show(found: Mapping[str, Provider]) -> None:
    """Print the providers, a line each; two where the terminal has no room for key and address side by side."""
    from rich.measure import Measurement

    terminal = console.console("out")
    table = _table(found, narrow=False)
    if found and Measurement.get(terminal, terminal.options.update(width=1000), table).maximum > terminal.width:
        table = _table(found, narrow=True)
    terminal.print(table if found else "No providers.")


def _table(found: Mapping[str, Provider], *, narrow: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    kinds_differ = any(provider.kind != name for name, provider in found.items())
    for title in ("name", *(("kind",) if kinds_differ else ()), *(("usable",) if narrow else ("enabled", "key", "usable"))):
        table.add_column(title, no_wrap=True)
    table.add_column("key, base_url" if narrow else "base_url", overflow="fold")
    for name, provider in found.items():
        usable = Text("yes", style="green") if provider.unusable is None else Text(_why_not(provider), style="yellow")
        enabled = Text("yes") if provider.enabled else Text("no", style="yellow")
        kind = (provider.kind,) if kinds_differ else ()
        if narrow:
            table.add_row(name, *kind, usable, f"{_key(provider)}\n{provider.base_url}")
        else:
            table.add_row(name, *kind, enabled, _key(provider), usable, provider.base_url)
    return table


def _key(provider: Provider) -> str:
    if provider.api_key is not None:
        return f"{provider.api_key.mask()} ({provider.key_variable})" if provider.key_variable else provider.api_key.mask()
    if provider.auth == "none" or provider.unusable is None:
        return "not needed"
    return f"{provider.key_variable} unset" if provider.key_variable else "missing"


def _why_not(provider: Provider) -> str:
    """Why a provider cannot be asked, in as few words as a table has room for."""
    if not provider.enabled:
        return "no, disabled"
    return "no key" if provider.api_key is None and provider.auth != "none" else provider.unusable or "no"


def _row(name: str, provider: Provider, masked: dict[str, Any]) -> dict[str, Any]:
    return {
        **masked,
        "name": name,
        "kind": provider.kind,
        "base_url": provider.base_url,
        "enabled": provider.enabled,
        "key": provider.api_key.mask() if provider.api_key is not None else None,
        "key_variable": provider.key_variable,
        "usable": provider.unusable is None,
        "why_not": provider.unusable,
    }


def _say_missing(known: set[str]) -> None:
    from podium.catalog.providers import kinds

    variables = [kind.key_variables[0] for name, kind in kinds().items() if name not in known and kind.key_required]
    if variables:
        console.say(f"More with a key in {', '.join(variables)}; `podium init` writes a config.", "dim")
