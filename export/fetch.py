"""``audiosep models fetch``: download a released model and convert it into a bundle."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import click

from audiosep_core.bundle import Bundle, cache_folder
from audiosep_core.commands.console import console
from audiosep_core.downloads import CLAP, MERGES, SOURCES, VOCABULARY, Source, fetch, find_source
from audiosep_core.errors import UsageError
from audiosep_core.models import installed_models, open_model


@click.command()
@click.argument("name", metavar="|".join(SOURCES))
def command(name: str) -> None:
    """Download a released model, verify it and convert it; afterwards it works offline.

    The download is about 1.3 GB and goes on where it stopped. It stays in the cache folder
    beside the bundle, and may be deleted.
    """
    source = find_source(name)
    if name not in installed_models():
        files = fetch([source.checkpoint, VOCABULARY, MERGES])
        console.print(f"converting {files[0].name}", highlight=False)
        try:
            convert(name, source, *files)
        except ImportError as error:
            raise UsageError(
                f"the conversion needs {error.name}; run: pip install 'audiosep[export]'"
            ) from None
    bundle = open_model(name)
    click.echo(f"{name} is ready in {bundle.folder}; use it with --model {name}")


def convert(name: str, source: Source, checkpoint: Path, vocabulary: Path, merges: Path) -> Bundle:
    """Turn a released checkpoint into an installed bundle.

    Args:
        name: Name of the model.
        source: What it is.
        checkpoint: Separator and text encoder; the latter is fetched where it is missing.
        vocabulary: RoBERTa's ``vocab.json``.
        merges: RoBERTa's ``merges.txt``.

    Raises:
        AudioSepError: The checkpoint does not fit, or its export does not compute the same.
    """
    from audiosep_core.checkpoint import (
        load_weights,
        network_weights,
        read_checkpoint,
        text_weights,
    )
    from audiosep_core.config import get_config
    from audiosep_core.network import build_network
    from export.bundle_writer import write_bundle
    from export.clap_text import export_clap_text

    content = read_checkpoint(checkpoint)
    net = build_network(dataclasses.replace(get_config(source.config), name=name))
    load_weights(net, network_weights(content))
    text = text_weights(content) or text_weights(read_checkpoint(*fetch([CLAP])))
    with tempfile.TemporaryDirectory() as temporary:
        encoder = Path(temporary)
        export_clap_text(text, vocabulary, merges, encoder)
        return write_bundle(
            net.eval(),
            encoder,
            cache_folder() / "models" / name,
            licence=source.licence,
            provenance=source.provenance,
        )
