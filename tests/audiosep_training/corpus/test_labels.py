"""Which class a file is of, by its name."""

import hashlib

import pytest

from audiosep_training.corpus.classes import ClassBook, load_classes
from audiosep_training.corpus.facts import read_facts
from audiosep_training.corpus.labels import LabelBook, load_labels
from audiosep_training.corpus.render import rendered_classes

CLASS = {"name": "a", "domain": "drums", "phrases": ["a"]}
QUERIES = "0e010309a900f53fb9f13f67bff60a065b0bda455e5052921187bb495a121cb2"


class TestLabels:
    @pytest.mark.parametrize(
        ("key", "label"),
        [
            ("scratch/usr/share/scratch/Media/Sounds/Animal/Dog1.wav", "dog bark"),
            ("tuxpaint-stamps-default/stamps/animals/mammals/dogs/dog.ogg", "dog bark"),
            ("tuxpaint-stamps-default/stamps/animals/mammals/dogs/dog_desc_fr.ogg", "speech"),
            ("openttd-opensfx/22_Morse.wav", "beep"),
            ("openttd-opensfx/13_Steam (of steam engine).wav", "steam engine"),
            ("hydrogen-drumkits/ForzeeStereo/HiHatClosed-0.wav", "hi-hat"),
            ("hydrogen-drumkits/BJA_Pacific/SN3_01.aiff", "snare drum"),
            ("0ad-data/audio/music/Celtica.ogg", "music"),
            ("tuxpaint-stamps-default/stamps/hobbies/music/string/cello.ogg", "cello"),
            ("lomiri-sounds/sounds/lomiri/ringtones/Alarm clock.ogg", "alarm clock"),
        ],
    )
    def test_files_get_the_class_their_name_says(self, key: str, label: str) -> None:
        sound = load_labels().classify(key)
        assert sound is not None and sound.name == label

    def test_ignored_and_unknown_files_get_none(self) -> None:
        assert load_labels().classify("openttd-opensfx/34_Unused-Nothing.wav") is None
        assert load_labels().classify("scratch/qwertyuiop.wav") is None

    def test_every_class_has_distinct_short_queries(self) -> None:
        for sound in load_classes().classes:
            assert len(sound.phrases) >= 8 and len(sound.held_out) >= 4, sound.name
            for words in (*sound.phrases, *sound.held_out):
                assert 1 <= len(words.split()) <= 10, words

    def test_confusable_counts_both_ways(self) -> None:
        book = load_classes()
        for sound in book.classes:
            assert sound.name not in sound.confusable
            assert all(sound.name in book.named(other).confusable for other in sound.confusable)
        assert "kick drum" in book.named("drums").confusable

    def test_the_queries_of_the_corpus_test_are_those_it_began_with(self) -> None:
        text = "\n".join(
            "/".join((name, *load_classes().named(name).phrases[:8]))
            for name in sorted(entry["name"] for entry in read_facts("labels.toml")["class"])
        )
        assert hashlib.sha256(text.encode()).hexdigest() == QUERIES

    def test_rendered_classes_are_known(self) -> None:
        assert {load_labels().named(name).domain for name in rendered_classes()} == {
            "instruments",
            "drums",
        }

    def test_first_matching_class_wins(self) -> None:
        classes = ClassBook({"class": [CLASS, {**CLASS, "name": "b", "phrases": ["b"]}]})
        book = LabelBook(
            {
                "ignore": ["skip"],
                "class": [
                    {"name": "a", "patterns": ["x/one"]},
                    {"name": "b", "patterns": ["x/"]},
                ],
            },
            classes,
        )
        found = [book.classify(key) for key in ("x/ONE.wav", "x/two.wav", "x/skip.wav", "y")]
        assert [sound and sound.name for sound in found] == ["a", "b", None, None]

    def test_faulty_rules_are_rejected(self) -> None:
        rule = {"name": "a", "patterns": []}
        with pytest.raises(ValueError, match="listed twice"):
            LabelBook({"class": [rule, rule]}, ClassBook({"class": [CLASS]}))
        with pytest.raises(ValueError, match="no class 'nonsense'"):
            load_labels().named("nonsense")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"domain": "noise"}, "unknown domain"),
            ({"name": "a"}, "listed twice"),
            ({"phrases": []}, "no phrases"),
            ({"held_out": ["A"]}, "'A' asks for both 'a' and 'b'"),
            ({"families": ["all"]}, "not listed"),
            ({"confusable": ["c"]}, "no class"),
        ],
    )
    def test_faulty_classes_are_rejected(self, changes: dict, message: str) -> None:
        other = {**CLASS, "name": "b", "phrases": ["b"], **changes}
        with pytest.raises(ValueError, match=message):
            ClassBook({"class": [CLASS, other]})

    def test_speech_sources_are_speakers(self) -> None:
        book = load_labels()
        stamp = "tuxpaint-stamps-default/usr/share/tuxpaint/stamps/animals/birds/owl_desc"
        assert book.speech_source(f"{stamp}_fr.ogg") != book.speech_source(f"{stamp}_ru.ogg")
        assert book.is_test_speech(f"{stamp}.ogg") and book.is_test_speech(f"{stamp}_da.ogg")
        assert not book.is_test_speech(f"{stamp}_fr.ogg")
        assert book.is_test_speech(f"{stamp[:-9]}/symbols/math/1_en_GB.ogg")
        word = "ktuberling-data/usr/share/ktuberling/sounds/en/ball.ogg"
        assert book.speech_source(word) == "ktuberling-data/en"
