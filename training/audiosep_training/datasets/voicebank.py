"""Voicebank-DEMAND's training set: recordings of one name, clean in one folder, noisy in one."""

from __future__ import annotations

from pathlib import Path

from audiosep_core.errors import AudioPathError

_FOLDERS = (("clean*train*", "noisy*train*"), ("clean", "noisy"))


def voicebank_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Clean and noisy recordings, by name; those that have no partner are left out.

    Args:
        folder: Holds ``clean_trainset_28spk_wav`` and ``noisy_trainset_28spk_wav`` (or those of
            56 speakers), or ``clean`` and ``noisy``.

    Raises:
        AudioPathError: It does not, or they hold no pair.
    """
    for clean, noisy in _FOLDERS:
        places = [
            sorted(path for path in folder.glob(name) if path.is_dir()) for name in (clean, noisy)
        ]
        pairs = [
            (path, other / path.name)
            for one, other in zip(*places, strict=False)
            for path in sorted(one.glob("*.wav"))
            if (other / path.name).is_file()
        ]
        if pairs:
            return pairs
    raise AudioPathError(
        f"{folder} holds no recordings of the same names in clean_trainset_28spk_wav and "
        "noisy_trainset_28spk_wav; name the folder that holds both"
    )
