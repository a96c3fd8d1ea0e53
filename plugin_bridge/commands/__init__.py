"""The server's command, and the benches of live streams and of the bridge.

The top of this package. This module is read for every ``audiosep --help``: it imports no command.

Imports: audiosep_core.commands, audiosep_core.demo, audiosep_core.files, audiosep_core.model,
audiosep_core.runtime, audiosep_core.separator, audiosep_core.settings, audiosep_core.signal,
plugin_bridge.address, plugin_bridge.client, plugin_bridge.client.sync, plugin_bridge.conformance,
plugin_bridge.desk,
plugin_bridge.live, plugin_bridge.plugin, plugin_bridge.protocol, plugin_bridge.server;
click, numpy, rich, sounddevice.
"""

from audiosep_core.commands.lazy import LazyCommand

COMMANDS = {
    "serve": LazyCommand(
        "plugin_bridge.commands.serve",
        "Run the bridge for plug-in front-ends.",
        "cpu",
    ),
    "desk": LazyCommand(
        "plugin_bridge.commands.desk",
        "Try words by ear and eye in a browser.",
        "cpu,desk",
    ),
    "listen": LazyCommand(
        "plugin_bridge.commands.listen",
        "Hear a microphone or a file through the network, live.",
        "cpu,listen",
    ),
    "plugin": LazyCommand(
        "plugin_bridge.commands.plugin",
        "The VST3, CLAP and LV2 plug-in.",
        "cpu",
    ),
    "plugin install": LazyCommand(
        "plugin_bridge.commands.plugin_install",
        "Build the plug-in and install it for hosts.",
        "cpu",
    ),
    "bridge": LazyCommand(
        "plugin_bridge.commands.bridge",
        "For authors of servers and clients of the bridge.",
        "cpu",
    ),
    "bridge check": LazyCommand(
        "plugin_bridge.commands.bridge_check",
        "Whether a server keeps to the protocol.",
        "cpu",
    ),
    "bench stream": LazyCommand(
        "plugin_bridge.commands.bench_stream",
        "Speed of live streams.",
        "cpu",
    ),
    "bench latency": LazyCommand(
        "plugin_bridge.commands.bench_latency",
        "Quality and cost over latency.",
        "cpu",
    ),
    "bench bridge": LazyCommand(
        "plugin_bridge.commands.bench_bridge",
        "Overhead and capacity of the bridge.",
        "cpu",
    ),
}
