"""What `podium prices` says: what a fetch did, and what a price is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from podium.cli import console

if TYPE_CHECKING:
    from rich.table import Table

    from podium.catalog.price_sheet import Rates
    from podium.catalog.pricing import Found
    from podium.engine.prices.fetch import Change, Fetched

_SHOWN = 20


def tell(fetched: Fetched, json: bool, quiet: bool, *, one_line: bool = False) -> None:
    """Say what a fetch did."""
    if json:
        if one_line:
            import json as writer

            console.write_out(writer.dumps(fetched.to_dict(), ensure_ascii=False) + "\n")
        else:
            console.write_json(fetched.to_dict())
    for answer in fetched.sources:
        if answer.error is not None:
            kept = f"; {console.plural(answer.kept, 'price')} of it kept" if answer.kept else ""
            console.say(f"{answer.source}: {answer.error}{kept}.", "yellow")
        elif answer.refused and not quiet:
            console.say(f"{answer.source}: {console.plural(len(answer.refused), 'row')} refused.", "yellow")
            for name, reason in list(answer.refused.items())[:_SHOWN]:
                console.say(f"  {console.short(name, 80)}: {console.short(reason, 200)}", "dim")
            _say_rest(len(answer.refused))
    if fetched.note and not quiet:
        console.say(fetched.note, "yellow")
    if not json and not quiet:
        _tell_changes(fetched)


def _tell_changes(fetched: Fetched) -> None:
    terminal = console.console("out")
    for answer in fetched.sources:
        if answer.error is None:
            terminal.print(f"{answer.source}: {console.plural(answer.rows, 'price')}", style="dim")
    if not fetched.first:
        for sign, style, changes in (
            ("+", "green", fetched.added),
            ("-", "red", fetched.removed),
            ("~", "yellow", fetched.changed),
        ):
            for change in changes[:_SHOWN]:
                terminal.print(f"{sign} {console.clean(change.name)}{_difference(change)}", style=style, soft_wrap=True)
            if len(changes) > _SHOWN:
                terminal.print(f"  and {len(changes) - _SHOWN:,} more", style="dim")
    told = (
        "written for the first time"
        if fetched.first
        else f"{len(fetched.added):,} added, {len(fetched.removed):,} removed, {len(fetched.changed):,} changed"
    )
    terminal.print(f"{console.plural(fetched.models, 'price')} in {fetched.path}: {told}.", soft_wrap=True)


def _say_rest(count: int) -> None:
    if count > _SHOWN:
        console.say(f"  and {count - _SHOWN:,} more", "dim")


def _difference(change: Change) -> str:
    """What changed, as `inputPerMillion 2.5 -> 2`; the plain rates for what came or went."""
    before, after = change.before or {}, change.after or {}
    keys = [
        key for key in (*before, *(key for key in after if key not in before)) if key.endswith(("Million", "Request", "Search"))
    ]
    if change.before is None or change.after is None:
        return "".join(f"  {key} {(before or after)[key]}" for key in keys[:3])
    words = [f"  {key} {_or_none(before.get(key))} -> {_or_none(after.get(key))}" for key in keys]
    others = [key for key in (*before, *after) if key not in keys]
    return "".join(words) + (f"  {', '.join(dict.fromkeys(others))} changed" if others else "")


def _or_none(value: Any) -> str:
    return "none" if value is None else str(value)


# --- a price ---------------------------------------------------------------------------------------------------------


def price_document(model: str, found: Found) -> dict[str, Any]:
    """Return a price and how it was found, for JSON."""
    import msgspec

    from podium.catalog.price_sheet import dump_row

    return {
        "name": model,
        "matched_name": found.matched_name,
        "via": found.via,
        "normalised": found.normalised,
        "priced_as": found.priced_as,
        "source": found.source,
        "updated_at": found.updated_at,
        "version": found.version,
        "period": found.price.period(time.time()),
        "price": msgspec.json.decode(dump_row(found.price.row)),
    }


_VIA = {
    "config": "the config says its price",
    "name": "known by this name",
    "spelling": "a spelling that the data knows",
    "reseller": "known at the provider whose model it is",
    "normalised": "known only after normalising the name: a guess",
    "local": "runs on your own machine, so it costs nothing",
}


def print_price(model: str, found: Found) -> None:
    """Write a price and how it was found on stdout."""
    from rich.table import Table

    terminal = console.console("out")
    terminal.print(console.clean(found.matched_name), style="bold")
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_row("asked", f"{console.clean(model)} ({_VIA[found.via]})")
    if found.normalised is not None:
        facts.add_row("normalised", found.normalised, style="yellow")
    if found.priced_as is not None:
        facts.add_row("priced as", found.priced_as)
    facts.add_row("source", console.clean(found.source))
    if found.via not in ("local", "config"):
        facts.add_row("confirmed", found.updated_at or "with the release of that package")
    facts.add_row("version", found.version)
    terminal.print(facts)
    row = found.price.row
    active = found.price.period(time.time())
    for number, span in enumerate(row.spans()):
        table = _rates_table(span)
        title = _when(span) if row.periods else "USD"
        terminal.print()
        terminal.print(f"{title}{' (now)' if row.periods and number == active else ''}", style="bold")
        terminal.print(table)
    for variant in (each for each in row.variants if each.rates()):
        terminal.print()
        terminal.print(f"{', '.join(f'{k}: {v}' for k, v in variant.when.items())}, {_when(variant)}", style="bold")
        terminal.print(_rates_table(variant))
    if row.other:
        terminal.print()
        terminal.print(f"Not charged here: {', '.join(f'{key} {value}' for key, value in row.other.items())}", style="dim")


_WORDS = {
    "input_per_million": "input",
    "output_per_million": "output",
    "cached_input_per_million": "read from a cache",
    "cache_write_per_million": "written to a cache",
    "cache_write_1h_per_million": "written for an hour",
    "reasoning_per_million": "reasoning",
    "input_audio_per_million": "audio in",
    "output_audio_per_million": "audio out",
    "per_request": "a request",
    "per_web_search": "a web search",
}


def _when(span: Any) -> str:
    words = [f"from {span.since}"] if span.since else []
    words += [f"daily {span.daily[0]} to {span.daily[1]} UTC"] if span.daily else []
    return " ".join(words) or "always"


def _rates_table(span: Any) -> Table:
    from rich.table import Table

    tiers: list[tuple[str, Rates]] = [("", span), *((f"above {tier.above:,} tokens in", tier) for tier in span.tiers)]
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=len(tiers) > 1, header_style="dim")
    table.add_column("")
    for title, _ in tiers:
        table.add_column(title, justify="right")
    table.add_column("")
    for field, words in _WORDS.items():
        rates = [getattr(rates, field) for _, rates in tiers]
        if any(rate is not None for rate in rates):
            unit = "a million tokens" if field.endswith("_per_million") else ""
            table.add_row(words, *(f"${rate:f}" if rate is not None else "" for rate in rates), unit)
    return table
