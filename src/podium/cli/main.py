"""The command line's entry: the commands, the options before them, and what errors become.

Theory. Commands are thin: they read their options, call the library, and show what it gives. What the library raises on
purpose ends here as a message and an exit code; what it does not is a defect, and told as one.

Rules. Nothing heavy is imported before a command runs: `podium --help` needs neither the client nor the config's models.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer

import podium
from podium.cli import (
    check,
    compare,
    console,
    demo,
    explain,
    init,
    metrics,
    prices,
    providers,
    replay,
    rollout,
    run,
    sim,
    usage,
)
from podium.cli.options import ConfigOption, Group
from podium.errors import PodiumError


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does, also where that is ignored, as in the background of a shell."""
    if callable(signal.getsignal(signal.SIGINT)):
        signal.raise_signal(signal.SIGINT)
    else:
        raise KeyboardInterrupt


class Commands(Group):
    """The group of all commands, where errors become messages and exit codes."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Run the command line. A full disk may stand behind stdout, be it a command that writes there or the help."""
        try:
            return super().main(*arguments, **settings)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            console.show_error(PodiumError("No space is left where the output goes.", hint="Free some and run it again."))
            sys.exit(console.FAILED)

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Whoever ends it by SIGTERM (`docker stop`, systemd) interrupts it: what runs is settled, not lost."""
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            return super().invoke(ctx)
        except PodiumError as error:
            console.show_error(error)
            raise typer.Exit(console.exit_code(error)) from None
        except KeyboardInterrupt:
            console.say("Interrupted.")
            raise typer.Exit(console.INTERRUPTED) from None
        finally:
            signal.signal(signal.SIGTERM, before)


app = typer.Typer(
    name="podium",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="""One call to the right model of the right provider, by a strategy, with its reasons.

New here? [bold]podium demo[/bold] shows it at work: no key, no network. [bold]podium init[/bold] writes a first config.""",
    epilog="Exit codes: 0 done, 1 the request failed, 2 wrong usage or config, 130 interrupted.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.write_out(f"podium {podium.__version__}\n")
        raise typer.Exit


@app.callback()
def _before(
    context: typer.Context,
    config: ConfigOption = None,
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = config


app.command("run")(run.run)
app.command("compare")(compare.compare)
app.command("replay")(replay.replay)
app.command("explain")(explain.explain)
app.command("check")(check.check)
app.command("providers")(providers.providers)
app.command("init")(init.init)
app.command("sim")(sim.sim)
app.command("demo")(demo.demo)
app.add_typer(prices.app, name="prices")
app.add_typer(usage.app, name="usage")
app.add_typer(rollout.app, name="rollout")
app.command("metrics")(metrics.metrics)


def main() -> None:
    """Run the command line with the process's arguments, and exit."""
    sys.excepthook = console.report_defect
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # a stream that the caller closed
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115  # open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to fail
    typer.main.get_command(app)(prog_name="podium")
