"""``audiosep models fetch``: download a released model and convert it into a bundle."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import click

from audiosep_core.commands.console import console
from audiosep_core.extras import needed_for
from audiosep_core.model.bundle import Bundle, cache_folder
from audiosep_core.model.downloads import (
    CLAP,
    MERGES,
    RELEASED_MODELS,
    VOCABULARY,
    ReleasedModel,
    download,
    released_model,
)
from audiosep_core.model.installed import installed_models, open_model


@click.command()
@click.argument("name", metavar="|".join(RELEASED_MODELS))
def command(name: str) -> None:
    """Download a released model, verify it and convert it; afterwards it works offline.

    The download is about 1.3 GB and goes on where it stopped. It stays in the cache folder
    beside the bundle, and may be deleted.
    """
    released = released_model(name)
    if name not in installed_models():
        files = download([released.checkpoint, VOCABULARY, MERGES])
        console.print(f"converting {files[0].name}", highlight=False)
        with needed_for("the conversion", "export"):
            convert(name, released, *files)
    bundle = open_model(name)
    click.echo(f"{name} is ready in {bundle.folder}; use it with --model {name}")


def convert(
    name: str, released: ReleasedModel, checkpoint: Path, vocabulary: Path, merges: Path
) -> Bundle:
    """Turn a released checkpoint into an installed bundle.

    Args:
        name: Name of the model.
        released: What it is.
        checkpoint: Separator and text encoder; the latter is fetched where it is missing.
        vocabulary: RoBERTa's ``vocab.json``.
        merges: RoBERTa's ``merges.txt``.

    Raises:
        AudioSepError: The checkpoint does not fit, or its export does not compute the same.
    """
    from audiosep_core.model.checkpoint import (
        load_weights,
        network_weights,
        read_checkpoint,
        text_weights,
    )
    from audiosep_core.model.config import get_config
    from audiosep_core.model.network import build_network
    from audiosep_export.bundle_writer import write_bundle
    from audiosep_export.text.clap import export_clap_text

    content = read_checkpoint(checkpoint)
    net = build_network(dataclasses.replace(get_config(released.config), name=name))
    load_weights(net, network_weights(content))
    text = text_weights(content) or text_weights(read_checkpoint(*download([CLAP])))
    with tempfile.TemporaryDirectory() as temporary:
        encoder = Path(temporary)
        export_clap_text(text, vocabulary, merges, encoder)
        return write_bundle(
            net.eval(),
            encoder,
            cache_folder() / "models" / name,
            licence=released.licence,
            provenance=released.provenance,
        )
