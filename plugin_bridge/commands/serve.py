"""``audiosep serve``: the bridge for plug-in front-ends, and how it does."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, get_args

import click

from audiosep_core.model.installed import DEFAULT_MODEL
from audiosep_core.runtime.device import Device
from plugin_bridge.address import Address, TcpAddress, UnixAddress, default_address
from plugin_bridge.client.failures import printable

#: Seconds after which a thread that computes lets another one answer; Python's own 5 ms are
#: a third of what a block of a stream lasts.
SWITCH_SECONDS = 0.0005
_ASK_SECONDS = 5.0


@click.command(
    epilog="""\b
Examples:
  audiosep serve
  audiosep serve --model audiosep-base --device cuda
  audiosep serve --tcp 7777
  audiosep serve --idle-exit 600
  audiosep serve --status
  audiosep serve --status --prometheus
"""
)
@click.option("--socket", "path", type=click.Path(path_type=Path), help="Unix-domain socket.")
@click.option("--tcp", type=click.IntRange(0, 65535), help="TCP port instead; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Interface for --tcp.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name or path of a bundle.")
@click.option("--device", type=click.Choice(get_args(Device)), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(0), default=0, help="Of the network; 0: all cores.")
@click.option(
    "--pack",
    "packs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Queries known beforehand ('audiosep queries pack'); may be given several times.",
)
@click.option("--log", "log_path", type=click.Path(path_type=Path), help="File for the log.")
@click.option(
    "--idle-exit",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="End after so long without a client.",
)
@click.option("--status", is_flag=True, help="Ask the server that runs there how it does.")
@click.option("--json", "as_json", is_flag=True, help="With --status: as JSON.")
@click.option("--prometheus", is_flag=True, help="With --status: in Prometheus' text format.")
def command(
    path: Path | None,
    tcp: int | None,
    host: str,
    model: str,
    device: Device,
    threads: int,
    packs: tuple[Path, ...],
    log_path: Path | None,
    idle_exit: float | None,
    status: bool,
    as_json: bool,
    prometheus: bool,
) -> None:
    """Run the bridge: plug-in front-ends stream audio through the separator.

    Listens on a Unix-domain socket that only this user can open, or with --tcp on a port of this
    machine, guarded by a token in a file that only this user can read. Where a socket unit of
    systemd listens for it (LISTEN_FDS), it takes that socket.
    """
    from plugin_bridge.server.listener import inherited_socket

    if path is not None and tcp is not None:
        raise click.UsageError("--socket and --tcp exclude each other; give one of them")
    if (as_json or prometheus) and not status:
        raise click.UsageError("--json and --prometheus go with --status")
    address: Address
    if tcp is not None:
        address = TcpAddress(tcp, host)
    else:
        address = default_address() if path is None else UnixAddress(path.absolute())
    if status:
        _show_status(address, as_json, prometheus)
    else:
        handed = inherited_socket()
        if handed is not None and (path is not None or tcp is not None):
            raise click.UsageError(
                "the system listens for this process already; leave --socket and --tcp out"
            )
        inherited, address = handed or (None, address)
        _serve(address, inherited, model, device, threads, packs, log_path, idle_exit)


def _serve(
    address: Address,
    inherited: socket.socket | None,
    model: str,
    device: Device,
    threads: int,
    packs: tuple[Path, ...],
    log: Path | None,
    idle_exit: float | None,
) -> None:
    from plugin_bridge.server.log import open_log
    from plugin_bridge.server.server import BridgeServer

    open_log(logging.getLogger("audiosep.bridge"), log)
    if isinstance(address, TcpAddress) and not _is_loopback(address.host):
        click.echo(
            f"Warning: {address.host} is reachable from other machines; what is sent there is not "
            "encrypted, and whoever learns the token may use the server",
            err=True,
        )
    sys.setswitchinterval(SWITCH_SECONDS)
    server = BridgeServer(address, model, device, threads, packs)

    def stop(number: int, frame: object) -> None:
        # Whoever asks twice does not want to wait.
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_DFL)
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if hasattr(signal, "SIGHUP"):
        # The terminal that it was started in may close.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server.serve(
        lambda bound: click.echo(f"ready on {bound} (Ctrl-C ends it)"), idle_exit, inherited
    )
    if any(not thread.daemon for thread in threading.enumerate()[1:]):
        # A text encoder or a model that loads cannot be interrupted; all that is kept is kept.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _show_status(address: Address, as_json: bool, prometheus: bool) -> None:
    from plugin_bridge.client.sync.status import ask

    text = ask(address, "prometheus" if prometheus else "json", _ASK_SECONDS)
    if prometheus:
        click.echo("\n".join(map(printable, text.split("\n"))), nl=False)
    elif as_json:
        click.echo(json.dumps(json.loads(text), indent=2))
    else:
        _print_status(json.loads(text))


def _plain(text: object) -> str:
    """What somebody else wrote, harmless to a terminal and to rich."""
    from rich.markup import escape

    return escape(printable(text))


def _print_status(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        _plain(
            f"{figures['server']}, up {figures['uptime_seconds']:.0f} s, "
            f"{figures['clients']} clients, {len(figures['streams'])} streams, "
            f"load {100 * figures['load']:.1f} %"
        )
    )
    if not figures["streams"]:
        return
    table = Table("stream", "client", "model", "format", "contract", "queries", "latency", box=None)
    for name in ("late", "stood in", "p50", "p99", "p99.9"):
        table.add_column(name, justify="right")
    for stream in figures["streams"]:
        network = stream["network"]
        cells = (
            f"{stream['client']}.{stream['stream']}",
            stream["name"],
            stream["model"],
            f"{stream['sample_rate']} Hz × {stream['channels']}",
            stream["contract"],
            stream["queries"],
            f"{stream['latency']} + {stream['slack']}",
            f"{stream['late_blocks']} of {stream['blocks']}",
            stream["substitutions"],
            *(f"{network[name]:.1f} ms" for name in ("p50_ms", "p99_ms", "p999_ms")),
        )
        table.add_row(*map(_plain, cells))
    console.print(table)
    console.print("latency + slack in frames; p50 to p99.9: how long a hop waits for its masks")
