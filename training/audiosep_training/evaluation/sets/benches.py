"""The benchmarks by name: how each is read, what it measures, how it averages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from audiosep_core.files.items import Item
from audiosep_core.model.installed import DEFAULT_MODEL
from audiosep_training.evaluation.sets import drawn, layouts, open_bench
from audiosep_training.evaluation.sets.layouts import SetOptions

#: How items become one figure: all alike; classes alike; or, as the released code has it for
#: AudioSet, the median of each class and then the mean of classes.
Average = Literal["items", "classes", "class medians"]
_SPEECH = ("sdri", "si_sdr", "pesq", "stoi")
_NUMBERED = (
    "segment-IDX.wav (the target), mixture-IDX.wav and, unless --metadata names it, the released "
    "table NAME_eval.csv with idx and caption"
)
_DRAWN = "a corpus of audiosep_training.corpus.build, or what 'audiosep evaluate build' made of one"
_COMPOSITE = ("pesq", "csig", "cbak", "covl", "ssnr")


@dataclasses.dataclass(frozen=True)
class Bench:
    """A benchmark.

    Attributes:
        summary: What it is, in a line.
        layout: What its folder holds.
        read: Yields its items.
        metrics: What is measured unless something else is asked for.
        average: How its items become one figure.
        query: The query where all targets are alike.
        count: How many mixtures are drawn, where they are drawn.
        choices: Names of the choices of :class:`SetOptions` that it takes.
        models: Models that are measured unless others are named; those that are installed count.
        others: The same of what ``--compare`` knows by name.
        paper: What the paper reports for AudioSep (Liu et al. 2023), metric to figure.
    """

    summary: str
    layout: str
    read: Callable[[SetOptions], Iterator[Item]]
    metrics: tuple[str, ...] = ("sdri", "si_sdr")
    average: Average = "items"
    query: str = ""
    count: int | None = None
    choices: tuple[str, ...] = ()
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    others: tuple[str, ...] = ()
    paper: Mapping[str, float] = dataclasses.field(default_factory=dict)


def _table(options: SetOptions, bench: str) -> Iterator[Item]:
    """The released sets of numbered pairs, whose query is a caption or a class."""
    column = "labels" if options.queries == "labels" else "caption"
    grouped = bench in ("esc50", "music")
    return layouts.numbered(options, options.table(f"{bench}_eval.csv"), {column: ""}, grouped)


def _mini(options: SetOptions) -> Iterator[Item]:
    columns = {
        "label": "text label",
        "caption": "original caption",
        "new_caption": "re-annotated caption",
    }
    return layouts.numbered(options, options.table("audiocaps-mini_eval.csv"), columns)


BENCHES: dict[str, Bench] = {
    "audioset": Bench(
        "AudioSet: 527 classes, ten mixtures each.",
        "class_id=N/class_id=N,index=NNN,source.wav and …,mixture.wav, as released; --metadata may "
        "name a table of other labels",
        layouts.audioset,
        average="class medians",
        paper={"sdri": 7.74, "si_sdr": 6.90},
    ),
    "vggsound": Bench(
        "VGGSound: 100 targets with ten backgrounds each.",
        "vggsound_eval.csv, as released, and the files that its columns mix_wav and s0_wav name",
        layouts.vggsound,
        paper={"sdri": 9.14, "si_sdr": 9.04},
    ),
    "audiocaps": Bench(
        "AudioCaps: captions or labels as queries.",
        _NUMBERED,
        lambda options: _table(options, "audiocaps"),
        choices=("queries",),
        paper={"sdri": 8.22, "si_sdr": 7.19},
    ),
    "clotho": Bench(
        "Clotho v2: captions as queries.",
        _NUMBERED,
        lambda options: _table(options, "clotho"),
        paper={"sdri": 6.85, "si_sdr": 5.24},
    ),
    "esc50": Bench(
        "ESC-50: its 50 labels as queries.",
        _NUMBERED,
        lambda options: _table(options, "esc50"),
        paper={"sdri": 10.04, "si_sdr": 8.81},
    ),
    "music": Bench(
        "MUSIC: solo instruments, averaged by class.",
        _NUMBERED,
        lambda options: _table(options, "music"),
        average="classes",
        paper={"sdri": 10.51, "si_sdr": 9.43},
    ),
    "voicebank-demand": Bench(
        "Voicebank-DEMAND: speech enhancement at 16 kHz.",
        "noisy_testset_wav/ and clean_testset_wav/ (or noisy/ and clean/) with files of one name",
        layouts.voicebank,
        metrics=_COMPOSITE,
        query="speech",
        choices=("query",),
    ),
    "audiocaps-mini": Bench(
        "AudioCaps-Mini: label, caption and re-annotated caption compared.",
        "segment-IDX.wav, mixture-IDX.wav and audiocaps-mini_eval.csv with idx, label, caption and "
        "new_caption",
        _mini,
    ),
    "stems": Bench(
        "Any folder of stems.",
        "folders, at any depth, with mixture.wav and one file for each stem, named by its query "
        "(bass-guitar.wav), or with target.wav and query.txt; rate and channels are kept",
        layouts.stems,
    ),
    "open-bench": Bench(
        "Open bench: real recordings under open licences, all that runs here side by side.",
        "the recordings that the package's table names (file manifest.csv beside them): those "
        "that training leaves out of a folder for 'audiosep corpus build --add'",
        open_bench.open_bench,
        models=("mini", "live"),
        others=(
            "unprocessed",
            "wiener",
            "spectral-gating",
            "rnnoise",
            "deepfilternet3",
            "ideal-ratio-mask",
            "ideal-binary-mask",
        ),
    ),
    "corpus": Bench(
        "Our own held-out mixtures, by domain.",
        _DRAWN,
        drawn.corpus,
        count=400,
        choices=("split", "paraphrases", "seconds", "seed"),
    ),
    "absent": Bench(
        "Our own held-out mixtures, asked for what is not in them.",
        _DRAWN,
        drawn.absent,
        metrics=("attenuation",),
        count=400,
        choices=("split", "seconds", "seed"),
    ),
    "speech-enhancement": Bench(
        "Our own held-out speakers in noise at 0 to 15 dB.",
        _DRAWN,
        drawn.speech_enhancement,
        metrics=_SPEECH,
        query="a person speaking",
        count=160,
        choices=("query", "seconds", "seed"),
    ),
}
