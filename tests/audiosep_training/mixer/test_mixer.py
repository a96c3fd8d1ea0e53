"""Mixtures made on a device: what is in them, what they are asked for, the same every time."""

import numpy as np
import pytest
import torch

from audiosep_training.mixer.augmenting import Augmenter, low_pass
from audiosep_training.mixer.chance import Chance
from audiosep_training.mixer.drawing import Drawer
from audiosep_training.mixer.mixer import Mixer
from audiosep_training.mixer.mixing import mix_batch
from audiosep_training.mixer.sounds import SAMPLE_RATE, Sound, SoundBank
from audiosep_training.mixer.vocabulary import Phrasings, Vocabulary

CPU = torch.device("cpu")
SAMPLES = SAMPLE_RATE
#: Class, domain and family; classes 0 and 1 are confusable.
CLASSES = [
    ("dog", "sound events", 0),
    ("wolf", "sound events", 0),
    ("rain", "sound events", 1),
    ("piano", "instruments", 2),
    ("guitar", "instruments", 2),
    ("band", "music", 2),
    ("voice", "speech", None),
]


def one_hot(number, size=64):
    made = np.zeros(size, np.float16)
    made[number] = 1
    return made


@pytest.fixture(scope="module")
def vocabulary():
    """Class n is asked for by unit vectors 2n and 2n + 1, family n by vector 32 + n."""
    count = len(CLASSES)
    conflict = np.eye(count, dtype=bool)
    conflict[0, 1] = conflict[1, 0] = True
    family = np.zeros((count, 3), bool)
    for number, (_, _, group) in enumerate(CLASSES):
        if group is not None:
            family[number, group] = True
    classes = Phrasings(
        np.stack([one_hot(number) for number in range(2 * count)]),
        np.arange(2 * count, dtype=np.int32),
        np.array([[2 * n, 2 * n + 2] for n in range(count)], np.int32),
    )
    families = Phrasings(
        np.stack([one_hot(32 + number) for number in range(3)]),
        np.arange(3, dtype=np.int32),
        np.array([[n, n + 1] for n in range(3)], np.int32),
    )
    return Vocabulary([name for name, _, _ in CLASSES], classes, families, conflict, family)


@pytest.fixture(scope="module")
def bank():
    """Tones: clip n has a frequency that no other has."""
    clips, sounds = [], []
    for number in range(42):
        label, domain, _ = CLASSES[number % len(CLASSES)]
        seconds = 0.3 if number % 3 == 0 else 2.5
        time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        tone = 8000 * np.sin(2 * np.pi * (300 + 97 * number) * time)
        clips.append(tone.astype(np.int16))
        song = "song" if label in ("guitar", "band") and number < 7 else ""
        sounds.append(Sound(label, domain, 1.0, 3800.0 if label == "voice" else 0.0, together=song))
    return SoundBank.of(clips, sounds, CPU)


@pytest.fixture(scope="module")
def mixer(bank, vocabulary):
    return Mixer(bank, vocabulary, SAMPLES, seed=1)


@pytest.fixture(scope="module")
def batches(mixer):
    return [mixer.batch(number, 32) for number in range(12)]


def joined(batches, name):
    return torch.cat([getattr(batch, name) for batch in batches])


def test_a_batch_is_a_function_of_its_number(bank, vocabulary, mixer, batches):
    again = Mixer(bank, vocabulary, SAMPLES, seed=1).batch(5, 32)
    for name in ("mixture", "target", "bandwidth", "labels", "inside"):
        assert torch.equal(getattr(again, name), getattr(batches[5], name))
    assert torch.equal(again.queries.condition, batches[5].queries.condition)
    for other in (
        mixer.batch(6, 32),
        Mixer(bank, vocabulary, SAMPLES, seed=2).batch(5, 32),
        Mixer(bank, vocabulary, SAMPLES, seed=1, process=1).batch(5, 32),
    ):
        assert not torch.equal(again.mixture, other.mixture)


def test_shapes_and_numbers(batches):
    for batch in batches:
        assert batch.mixture.shape == batch.target.shape == (32, SAMPLES)
        assert batch.mixture.dtype == batch.target.dtype == torch.float32
        assert batch.mixture.isfinite().all() and batch.target.isfinite().all()
        # Each mixture is asked twice.
        assert torch.equal(batch.mixture[:16], batch.mixture[16:])
        np.testing.assert_allclose(batch.queries.condition.norm(dim=1), 1, rtol=1e-5)


def test_the_target_is_in_the_mixture(batches):
    mixture, target = joined(batches, "mixture"), joined(batches, "target")
    alone = joined(batches, "inside").sum(1) == 1
    present = target.square().sum(1) > 0
    rest = (mixture - target).square().mean(1) / mixture.square().mean(1).clamp_min(1e-20)
    # Alone in its mixture, it is the mixture, but for a noise floor.
    assert (alone & present).any()
    assert rest[alone & present].max() < 1e-3
    # Elsewhere target and rest are different sounds, so their powers add up.
    several = ~alone & present
    parts = target.square().mean(1) + (mixture - target).square().mean(1)
    ratio = (parts / mixture.square().mean(1).clamp_min(1e-20))[several]
    assert 0.8 < ratio.median() < 1.2


def test_confusable_classes_never_meet(batches, vocabulary):
    labels, inside = joined(batches, "labels"), joined(batches, "inside")
    conflict = torch.from_numpy(vocabulary.conflict)
    for one in range(labels.shape[1]):
        for other in range(one):
            both = inside[:, one] & inside[:, other]
            assert not (conflict[labels[:, one], labels[:, other]] & both).any()
    assert set(inside.sum(1).tolist()) == {1, 2, 3, 4}


def test_what_is_asked_for_is_there_or_truly_absent(batches, vocabulary):
    conflict = torch.from_numpy(vocabulary.conflict)
    labels, inside = joined(batches, "labels"), joined(batches, "inside")
    target = joined(batches, "target")
    queries = [batch.queries for batch in batches]
    label, absent = joined(queries, "label"), joined(queries, "absent")
    alike = (conflict[label[:, None], labels] & inside).any(1)
    assert torch.equal(alike, ~absent)
    assert 0.02 < absent.float().mean() < 0.3
    assert not target[absent].any()
    # A short sound may be over before a mixture starts that starts late.
    assert (target[~absent].square().mean(1) > 0).float().mean() > 0.97


def test_a_query_means_its_class_or_a_family_that_only_it_belongs_to(batches, vocabulary):
    queries = [batch.queries for batch in batches]
    condition, label = joined(queries, "condition"), joined(queries, "label")
    family, absent = joined(queries, "family"), joined(queries, "absent")
    nearest = condition.argmax(1)
    broad = family >= 0
    assert torch.equal(nearest[~broad] // 2, label[~broad])
    assert torch.equal(nearest[broad], 32 + family[broad])
    belongs = torch.from_numpy(vocabulary.family)
    assert broad.any() and belongs[label[broad], family[broad]].all()
    members = belongs[joined(batches, "labels")[broad], family[broad, None]]
    members = (members & joined(batches, "inside")[broad]).sum(1)
    assert torch.equal(members, (~absent[broad]).long())


def test_halves_ask_for_different_sources(batches):
    errors = []
    for batch in batches:
        label = batch.queries.label.view(2, 16)
        two = batch.inside[:16, 1] & ~batch.queries.absent.view(2, 16).any(0)
        assert (label[0] != label[1])[two].all()
        summed = batch.target[:16] + batch.target[16:]
        error = (summed - batch.mixture[:16]).square().mean(1) / batch.mixture[:16].square().mean(1)
        errors.append(error[two & (batch.inside[:16].sum(1) == 2)])
    # Of two sources the targets make up the mixture, but for the noise floor, of which more is
    # left where short sounds are over before a late start.
    assert (torch.cat(errors) < 1e-3).float().mean() > 0.95


def test_loudness(batches):
    mixture = joined(batches, "mixture")
    level = 10 * torch.log10(mixture.square().mean(1).clamp_min(1e-12))
    assert level.max() < 10 and level.quantile(0.02) > -60 and level.std() > 8


def test_narrow_bands(batches):
    """A voice of 3.8 kHz: either nothing above counts, or nothing is above."""
    bandwidth, mixture = joined(batches, "bandwidth"), joined(batches, "mixture")
    voice = ((joined(batches, "labels") == 6) & joined(batches, "inside")).any(1)
    limited = bandwidth.isfinite()
    assert not limited[~voice].any()
    assert 0.25 < limited[voice].float().mean() < 0.75
    assert bandwidth[limited].min() > 3800 * 0.9 and bandwidth[limited].max() < 3800 * 1.1
    hertz = torch.fft.rfftfreq(SAMPLES, 1 / SAMPLE_RATE)
    power = torch.fft.rfft(mixture[voice & ~limited]).abs().square()
    assert (power[:, hertz > 5000].sum(1) < 1e-6 * power.sum(1)).all()


def test_stems_of_a_song_stay_aligned(bank):
    drawer = Drawer(bank, SAMPLES)
    aligned = 0
    for number in range(20):
        drawn = drawer.draw(64, Chance(CPU, number))
        for first in (drawn.partner > torch.arange(64)).nonzero()[:, 0].tolist():
            pair = [first, first + 1]
            assert {bank.sounds[clip].label for clip in drawn.clip[pair]} == {"guitar", "band"}
            assert len(set(drawn.speed[pair].tolist())) == len(set(drawn.phase[pair].tolist())) == 1
            aligned += 1
    assert aligned > 5


def test_stems_meet_and_share_their_room(bank, vocabulary):
    partner = torch.tensor([1, 0, -1, -1])
    segments = torch.randn(4, SAMPLES)
    segments[1] = segments[0]
    filtered = Augmenter(SAMPLES, CPU).filtered(segments, partner, Chance(CPU, 3))
    assert torch.equal(filtered[0], filtered[1])
    # Guitar and band are confusable in no list here, but would meet even then.
    conflict = torch.ones(7, 7, dtype=torch.bool)
    mixed = [
        mix_batch(segments, torch.tensor([4, 5, 2, 3]), partner, conflict, Chance(CPU, n))
        for n in range(10)
    ]
    assert any(each.inside[0, 1] for each in mixed)
    assert all(each.segment[0, 1] == 1 for each in mixed)
    assert not any(each.inside[1, 2:].any() for each in mixed)


def test_segments_hold_what_the_clip_holds(bank):
    drawer = Drawer(bank, SAMPLES)
    drawn = drawer.draw(64, Chance(CPU, 8))
    drawn.speed[:] = 1
    for clip, segment in zip(drawn.clip.tolist(), drawer.segments(drawn), strict=True):
        loud = torch.fft.rfft(segment).abs().argmax() * SAMPLE_RATE / SAMPLES
        assert abs(loud - (300 + 97 * clip)) < 4
        assert segment.abs().max() == pytest.approx(8000 / 32767, rel=0.01)


def test_classes_are_drawn_by_domain_and_doubt(bank):
    shares = Drawer(bank, SAMPLES).probabilities
    domains = np.array([sound.domain for sound in bank.sounds])
    assert shares.sum() == pytest.approx(1)
    ratio = shares[domains == "instruments"].sum() / shares[domains == "sound events"].sum()
    assert ratio == pytest.approx(0.27 / 0.34)
    sounds = [Sound("rain", "sound events", weight) for weight in (1.0, 0.5)]
    doubted = SoundBank.of([np.ones(9000, np.int16)] * 2, sounds, CPU)
    one, half = Drawer(doubted, SAMPLES).probabilities
    assert one == pytest.approx(2 * half)


def test_a_low_pass_keeps_what_is_below():
    time = torch.arange(SAMPLES) / SAMPLE_RATE
    low, high = (torch.sin(2 * torch.pi * hz * time) for hz in (1000, 9000))
    passed = low_pass((low + high)[None], torch.tensor([4000.0]), SAMPLE_RATE)[0]
    np.testing.assert_allclose(passed, low, atol=2e-3)


def test_a_vocabulary_is_stored(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "words.npz")
    read = Vocabulary.load(tmp_path / "words.npz")
    assert read.labels == vocabulary.labels
    np.testing.assert_array_equal(read.conflict, vocabulary.conflict)
    np.testing.assert_array_equal(read.families.embeddings, vocabulary.families.embeddings)
    np.testing.assert_array_equal(read.classes.ranges, vocabulary.classes.ranges)


def test_what_cannot_be_mixed(bank, vocabulary):
    unknown = SoundBank.of([np.ones(9000, np.int16)], [Sound("cat", "sound events")], CPU)
    with pytest.raises(ValueError, match="lacks the class 'cat'"):
        Mixer(unknown, vocabulary, SAMPLES, 0)
    single = SoundBank.of([np.ones(9000, np.int16)], [Sound("dog", "sound events")], CPU)
    with pytest.raises(ValueError, match="two classes"):
        Mixer(single, vocabulary, SAMPLES, 0)
    with pytest.raises(ValueError, match="no sound"):
        SoundBank.of([], [], CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_batch_on_cuda(bank, vocabulary):
    on_device = SoundBank(bank.audio.cuda(), bank.offsets, bank.lengths, bank.sounds)
    mixer = Mixer(on_device, vocabulary, SAMPLES, 1)
    assert torch.equal(mixer.batch(3, 16).mixture, mixer.batch(3, 16).mixture)
