"""``audiosep bridge check``: whether a server keeps to the protocol."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from plugin_bridge.address import Address, AddressError, TcpAddress, UnixAddress, default_address


@click.command(
    epilog="""\b
Examples:
  audiosep bridge check
  audiosep bridge check /run/user/1000/audiosep/bridge.sock
  audiosep bridge check tcp:7777 --json
"""
)
@click.argument("address", required=False)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait for an answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(address: str | None, timeout: float, as_json: bool) -> None:
    """Put a server through the cases of the protocol.

    ADDRESS is the path of a socket or tcp:PORT, by default that of 'audiosep serve'. Ends with 1
    where the server departs from PROTOCOL.md.
    """
    from plugin_bridge.client.failures import printable, unreachable
    from plugin_bridge.conformance.cases import check_server

    place = _address(address)
    report = []
    try:
        for name, departure in check_server(place, timeout):
            report.append({"case": name, "departure": departure})
            if not as_json:
                click.echo(f"{'FAILS' if departure else 'ok':6}{name}")
                if departure:
                    click.echo(f"      {printable(departure)}")
    except OSError as error:
        raise unreachable(str(place), error) from None
    failed = sum(bool(line["departure"]) for line in report)
    if as_json:
        click.echo(json.dumps({"cases": report, "failed": failed}, indent=2))
    else:
        click.echo(f"{len(report) - failed} of {len(report)} cases hold")
    sys.exit(1 if failed else 0)


def _address(text: str | None) -> Address:
    if text is None:
        return default_address()
    if not text.startswith("tcp:"):
        return UnixAddress(Path(text).absolute())
    port = text.removeprefix("tcp:")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise AddressError(f"{text} names no port; give tcp: and a number up to 65535")
    return TcpAddress(int(port))
