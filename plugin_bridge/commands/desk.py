"""``audiosep desk``: try words by ear and eye in a browser."""

from __future__ import annotations

import threading
from pathlib import Path

import click

from audiosep_core.commands.console import console, model_option
from audiosep_core.errors import UsageError
from plugin_bridge.desk.launch import running_page
from plugin_bridge.desk.space import write_space

_CONSENT = "anyone may use this machine"


@click.command(
    epilog="""\b
Examples:
  audiosep desk
  audiosep desk --port 7861 --no-browser
  audiosep desk --write-space my-space
"""
)
@model_option
@click.option("--port", type=click.IntRange(1, 65535), help="A free one if not given.")
@click.option("--browser/--no-browser", default=True, help="Open a browser on the page.")
@click.option(
    "--share",
    metavar="WORDS",
    help=f"Make the page reachable from elsewhere; the WORDS are '{_CONSENT}'.",
)
@click.option(
    "--write-space",
    "space",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the page as a folder to push to a hub, and end.",
)
def command(
    model: str, port: int | None, browser: bool, share: str | None, space: Path | None
) -> None:
    """Open a page on this machine: drop a sound, type words, hear and see the stems.

    Nothing leaves the machine unless --share is given. HARP, an editor that DAWs open on a
    region, loads the page's address as a model. Ctrl-C ends it.
    """
    if space is not None:
        for path in write_space(space):
            click.echo(str(path))
        return
    if share is not None and share != _CONSENT:
        raise UsageError(
            "--share sends sounds through a service elsewhere and lets anyone in who has the "
            f"address; if that is meant, write --share '{_CONSENT}'"
        )
    try:
        with running_page(model, port, share is not None, browser) as address:
            click.echo(f"ready on {address}")
            threading.Event().wait()
    except OSError as error:
        raise UsageError(f"the page cannot be served: {error}; choose another --port") from None
    except KeyboardInterrupt:
        console.print("the desk is closed")
