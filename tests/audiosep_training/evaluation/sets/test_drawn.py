"""Sets that are drawn from a corpus: the same ones each time, from the corpus or from files."""

import numpy as np
import pytest

from audiosep_core.errors import MetadataError
from audiosep_core.files.items import MixtureAndTarget
from audiosep_training.corpus.classes import load_classes
from audiosep_training.evaluation.measures.scores import measure
from audiosep_training.evaluation.sets.benches import BENCHES
from audiosep_training.evaluation.sets.build import build_items
from audiosep_training.evaluation.sets.layouts import SetOptions


@pytest.mark.parametrize("bench", ["corpus", "absent", "speech-enhancement"])
def test_drawn_sets_are_the_same_from_files(bench, corpus, tmp_path):
    options = SetOptions(corpus, query="a person speaking", count=8, seconds=0.5, seed=1)
    drawn = list(BENCHES[bench].read(options))
    assert build_items(iter(drawn), tmp_path / "set").mixtures == 8
    again = list(BENCHES[bench].read(SetOptions(tmp_path / "set")))
    for item, other in zip(drawn, again, strict=True):
        assert (item.id, item.group, item.query) == (other.id, other.group, other.query)
        sounds, same = item.sounds.load(), other.sounds.load()
        np.testing.assert_array_equal(sounds.mixture, same.mixture)
        np.testing.assert_array_equal(sounds.target, same.target)


def test_noisy_speech_has_the_ratio_that_it_says(corpus):
    options = SetOptions(corpus, query="a person speaking", count=8, seconds=0.5)
    items = list(BENCHES["speech-enhancement"].read(options))
    assert [item.group for item in items] == 2 * ["0 dB", "5 dB", "10 dB", "15 dB"]
    for item in items:
        sounds = item.sounds.load()
        noise = np.mean(np.square(sounds.mixture - sounds.target, dtype=np.float64))
        speech = np.mean(np.square(sounds.target, dtype=np.float64))
        assert 10 * np.log10(speech / noise) == pytest.approx(int(item.group[:-3]), abs=0.01)


def test_paraphrases_ask_for_the_same_sounds_in_other_words(corpus):
    plain, asked = (
        list(BENCHES["corpus"].read(SetOptions(corpus, count=6, seconds=0.5, paraphrases=which)))
        for which in (False, True)
    )
    assert [item.id for item in asked] == [item.id for item in plain]
    unheard = {text for each in load_classes().classes for text in each.held_out}
    for one, other in zip(plain, asked, strict=True):
        np.testing.assert_array_equal(one.sounds.load().mixture, other.sounds.load().mixture)
        assert other.query in unheard
        assert one.query not in unheard


def test_what_is_absent_is_in_no_mixture_nor_taken_for_what_is(corpus):
    options = SetOptions(corpus, count=12, seconds=0.5)
    mixtures = list(BENCHES["corpus"].read(options))
    owners = {text: sound for sound in load_classes().classes for text in sound.phrases}
    for plain, item in zip(mixtures, BENCHES["absent"].read(options), strict=True):
        sounds = item.sounds.load()
        np.testing.assert_array_equal(sounds.mixture, plain.sounds.load().mixture)
        assert not sounds.target.any()
        inside, asked = owners[plain.query], owners[item.query]
        assert asked.name != inside.name and asked.name not in inside.confusable


def test_attenuation_is_how_far_an_answer_lies_under_the_mixture(rng):
    mixture = rng.standard_normal((1, 800)).astype(np.float32)
    sounds = MixtureAndTarget(mixture, np.zeros_like(mixture), 8000)
    for estimate, expected in ((0.1 * mixture, 20), (0 * mixture, 120), (2 * mixture, -6.02)):
        found = measure(sounds, estimate.astype(np.float32), ["attenuation"])
        assert found["attenuation"] == pytest.approx(expected, abs=0.01)
    silent = MixtureAndTarget(0 * mixture, 0 * mixture, 8000)
    assert measure(silent, mixture, ["attenuation"]) == {"attenuation": None}


def test_mixtures_come_from_the_split_that_was_asked_for(corpus):
    with pytest.raises(MetadataError, match="validation split needs at least two classes"):
        list(BENCHES["corpus"].read(SetOptions(corpus, count=2, seconds=0.5, split="validation")))


def test_a_damaged_corpus_is_said_to_be(corpus, tmp_path):
    (tmp_path / "clips.csv").write_text("other,columns\n")
    (tmp_path / "audio.i16").write_bytes(b"")
    with pytest.raises(MetadataError, match="columns of a corpus"):
        list(BENCHES["corpus"].read(SetOptions(tmp_path)))
