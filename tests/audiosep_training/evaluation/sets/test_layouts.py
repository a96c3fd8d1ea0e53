"""Released layouts are read as the released evaluation reads them, and faults have a place."""

import numpy as np
import pytest

from audiosep_core.errors import AudioFileError, AudioPathError, MetadataError
from audiosep_training.evaluation.sets.benches import BENCHES
from audiosep_training.evaluation.sets.layouts import SetOptions


def read(bench, data, **choices):
    return list(BENCHES[bench].read(SetOptions(data, **choices)))


def numbered(folder, write, sound, table, name):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_eval.csv").write_text(table, encoding="utf-8")
    for index in range(2):
        write(folder / f"segment-{index}.wav", sound(index))
        write(folder / f"mixture-{index}.wav", sound(index) + sound(index + 5))


AUDIOCAPS = (
    "idx,caption,labels,src_wav,noise_wav\n"
    '0,"A dog barks, twice",Dog Bark,Ya.wav,Yb.wav\n'
    "1,Rain falls,Rain,Yc.wav,Yd.wav\n"
)


def test_audiocaps(tmp_path, write, sound):
    numbered(tmp_path, write, sound, AUDIOCAPS, "audiocaps")
    items = read("audiocaps", tmp_path)
    assert [(item.id, item.query) for item in items] == [
        ("0", "A dog barks, twice"),
        ("1", "Rain falls"),
    ]
    sounds = items[1].sounds.load()
    assert sounds.sample_rate == 32_000
    np.testing.assert_array_equal(sounds.target[0], sound(1))
    np.testing.assert_array_equal(sounds.mixture[0], sound(1) + sound(6))
    labels = read("audiocaps", tmp_path, queries="labels")
    assert [item.query for item in labels] == ["Dog Bark", "Rain"]


def test_clotho_with_its_doubled_column(tmp_path, write, sound):
    table = "idx,caption,src_wav,noise_wav1,noise_wav1\n0,Hum,a.wav,b.wav,c.wav\n"
    numbered(tmp_path, write, sound, table, "clotho")
    assert [item.query for item in read("clotho", tmp_path)] == ["Hum"]


@pytest.mark.parametrize("bench", ["esc50", "music"])
def test_classes_are_groups(bench, tmp_path, write, sound):
    table = "idx,caption,src_wav,noise_wav\n0,erhu,a.wav,b.wav\n1,tuba,c.wav,d.wav\n"
    numbered(tmp_path, write, sound, table, bench)
    assert [(item.group, item.query) for item in read(bench, tmp_path)] == [
        ("erhu", "erhu"),
        ("tuba", "tuba"),
    ]


def test_audiocaps_mini_asks_three_times(tmp_path, write, sound):
    table = "idx,label,caption,new_caption\n0,Dog,A dog,A dog barks twice\n"
    numbered(tmp_path, write, sound, table, "audiocaps-mini")
    assert [(item.id, item.group, item.query) for item in read("audiocaps-mini", tmp_path)] == [
        ("0", "text label", "Dog"),
        ("0", "original caption", "A dog"),
        ("0", "re-annotated caption", "A dog barks twice"),
    ]


def test_audioset_takes_ten_of_a_class(tmp_path, write, sound):
    for class_id, count in ((0, 11), (526, 1)):
        for index in range(count):
            stem = f"class_id={class_id}/class_id={class_id},index={index:03d}"
            write(tmp_path / f"{stem},source.wav", sound(1, 0.1))
            write(tmp_path / f"{stem},mixture.wav", sound(2, 0.1))
    items = read("audioset", tmp_path)
    assert [item.query for item in items] == ["Speech"] * 10 + ["Field recording"]
    assert items[9].id == "class_id=0,index=009"
    assert items[0].sounds.load().target.shape == (1, 3200)
    indices = tmp_path / "class_labels_indices.csv"
    indices.write_text('index,mid,display_name\n0,/m/0,"Talk, people"\n')
    assert {item.query for item in read("audioset", tmp_path, metadata=indices)} == {"Talk, people"}
    released = tmp_path / "audioset_eval.csv"
    released.write_text("idx,caption,src_wav,noise_wav\n0,Words,a,b\n0,Words,c,d\n")
    assert {item.query for item in read("audioset", tmp_path, metadata=released)} == {"Words"}


def test_vggsound(tmp_path, write, sound):
    (tmp_path / "vggsound_eval.csv").write_text(
        "file_id,mix_wav,s0_wav,s0_text,s1_wav,s1_text\n"
        "a+++b,data/mix_wav/ab.wav,data/s0_wav/ab.wav,playing tuba,data/s1_wav/ab.wav,rain\n"
    )
    write(tmp_path / "data/mix_wav/ab.wav", sound(1))
    write(tmp_path / "data/s0_wav/ab.wav", sound(2))
    (item,) = read("vggsound", tmp_path)
    assert (item.id, item.query) == ("a+++b", "playing tuba")
    np.testing.assert_array_equal(item.sounds.load().target[0], sound(2))


def test_voicebank_is_taken_at_16_khz(tmp_path, write, sound):
    for folder, number in (("noisy_testset_wav", 1), ("clean_testset_wav", 2)):
        write(tmp_path / folder / "p232_001.wav", sound(number, rate=48_000), 48_000)
    (item,) = read("voicebank-demand", tmp_path, query="speech")
    assert (item.id, item.query) == ("p232_001", "speech")
    sounds = item.sounds.load()
    assert sounds.sample_rate == 16_000 and sounds.mixture.shape == (1, 16_000)
    with pytest.raises(AudioPathError, match="holds no folder noisy_testset_wav or noisy"):
        read("voicebank-demand", tmp_path / "noisy_testset_wav")


def test_stems_keep_their_rate_and_channels(tmp_path, write, sound):
    stereo = np.stack([sound(1, rate=44_100), sound(2, rate=44_100)])
    for name in ("mixture", "bass-guitar", "drums", "residual"):
        write(tmp_path / "song" / f"{name}.wav", stereo, 44_100)
    write(tmp_path / "drawn" / "mixture.wav", sound(1))
    write(tmp_path / "drawn" / "target.wav", sound(1))
    (tmp_path / "drawn" / "query.txt").write_text("a horn\n")
    (tmp_path / "drawn" / "group.txt").write_text("brass\n")
    items = read("stems", tmp_path)
    assert [(item.id, item.group, item.query) for item in items] == [
        ("drawn", "brass", "a horn"),
        ("song/bass-guitar", "bass guitar", "bass guitar"),
        ("song/drums", "drums", "drums"),
    ]
    sounds = items[1].sounds.load()
    assert sounds.sample_rate == 44_100
    np.testing.assert_array_equal(sounds.target, stereo)


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("idx,labels\n0,Dog\n", "line 1: the column 'caption' is missing"),
        ("", "line 1: the column 'idx' is missing; there are none"),
        ("idx,caption\n0,Dog\nx,Cat\n", "line 3: the field 'idx' holds 'x' where a whole number"),
        ("idx,caption\n0,Dog\n1,  \n", "line 3: the field 'caption' is empty"),
        ("idx,caption\n0,A dog, barking\n", "line 2: 3 fields where 2 are due"),
        ("idx,caption\n0\n", "line 2: 1 fields where 2 are due"),
    ],
)
def test_a_wrong_table_is_faulted_by_line_and_field(table, fault, tmp_path):
    (tmp_path / "clotho_eval.csv").write_text(table)
    with pytest.raises(MetadataError) as caught:
        read("clotho", tmp_path)
    assert f"clotho_eval.csv {fault}" in str(caught.value)


def test_a_table_that_is_not_utf_8(tmp_path):
    (tmp_path / "clotho_eval.csv").write_bytes(b"idx,caption\n0,ok\n1,caf\xe9\n")
    with pytest.raises(MetadataError, match="line 3, byte 6 is not UTF-8"):
        read("clotho", tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path):
    (tmp_path / "clotho_eval.csv").write_text("idx,caption\n0,Hum\n", encoding="utf-8-sig")
    assert [item.query for item in read("clotho", tmp_path)] == ["Hum"]


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(AudioPathError, match=r"clotho_eval\.csv does not exist.*--metadata"):
        read("clotho", tmp_path)


def test_a_query_that_is_not_utf_8(tmp_path, write, sound):
    write(tmp_path / "a" / "mixture.wav", sound(1))
    (tmp_path / "a" / "query.txt").write_bytes(b"\xff")
    with pytest.raises(MetadataError, match=r"query\.txt is not UTF-8"):
        read("stems", tmp_path)
    (tmp_path / "a" / "query.txt").write_bytes(b" \n")
    with pytest.raises(MetadataError, match=r"query\.txt is empty"):
        read("stems", tmp_path)


class TestFaultySounds:
    """Every fault is a sentence; what can be averaged and resampled is none."""

    def item(self, tmp_path, mixture, target, write, rates=(32_000, 32_000)):
        for name, audio, rate in zip(("mixture", "segment"), (mixture, target), rates, strict=True):
            if audio is not None:
                write(tmp_path / f"{name}-0.wav", audio, rate)
        (tmp_path / "clotho_eval.csv").write_text("idx,caption\n0,Hum\n")
        return read("clotho", tmp_path)[0].sounds

    def test_eight_channels_and_other_rates_become_mono_at_32_khz(self, tmp_path, write, sound):
        eight = np.tile(sound(1, rate=48_000), (8, 1))
        sounds = self.item(tmp_path, eight, sound(1), write, rates=(48_000, 32_000)).load()
        assert sounds.mixture.shape == sounds.target.shape == (1, 32_000)

    def test_lengths_differ(self, tmp_path, write, sound):
        files = self.item(tmp_path, sound(1), sound(1, 0.5), write)
        with pytest.raises(AudioFileError, match=r"32000 samples at 32000 Hz.*16000 samples"):
            files.load()

    def test_missing(self, tmp_path, write, sound):
        files = self.item(tmp_path, sound(1), None, write)
        with pytest.raises(AudioFileError, match=r"segment-0\.wav does not exist"):
            files.load()

    def test_not_a_number(self, tmp_path, write, sound):
        broken = sound(1).copy()
        broken[16_000] = np.nan
        files = self.item(tmp_path, broken, sound(1), write)
        with pytest.raises(AudioFileError, match=r"NaN or infinite samples at 0\.500 s"):
            files.load()

    @pytest.mark.parametrize(
        ("content", "fault"), [(b"", "empty file"), (b"no sound", "no audio file")]
    )
    def test_unreadable(self, content, fault, tmp_path, write, sound):
        files = self.item(tmp_path, sound(1), sound(1), write)
        files.mixture.write_bytes(content)
        with pytest.raises(AudioFileError, match=fault):
            files.load()

    def test_fingerprints_tell_files_and_samples_apart(self, tmp_path, write, sound):
        files = self.item(tmp_path, sound(1), sound(1), write)
        before = files.fingerprint()
        assert files.fingerprint() == before
        write(files.mixture, sound(2, 2.0))
        assert files.fingerprint() != before
