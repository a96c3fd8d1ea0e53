"""Sets are built from corpora as they are distributed, and read back as they were written."""

import json

import numpy as np
import pytest
import torch

from audiosep_core.errors import AudioFileError, AudioPathError, MetadataError
from audiosep_core.query.vocabulary import read_vocabulary
from audiosep_training.datasets.recordings import AudioFileIndex
from audiosep_training.evaluation.sets.benches import BENCHES
from audiosep_training.evaluation.sets.build import build_pairs
from audiosep_training.evaluation.sets.layouts import SetOptions
from audiosep_training.evaluation.sets.loudness import integrated_loudness
from audiosep_training.evaluation.sets.mixtures import mixing_of
from audiosep_training.evaluation.sets.recipes import RECIPES, draw_pairs
from audiosep_training.systems.uss.anchors import AnchorFinder
from audiosep_training.systems.uss.panns import Cnn14DecisionLevelMax

CLASSES = ("dog", "chirping birds", "rain")


def build(bench, raw, folder, metadata=None, seed=0, detector=None):
    rng = np.random.default_rng(seed)
    index = AudioFileIndex(raw)
    pairs = draw_pairs(bench, index, metadata, rng)
    return build_pairs(bench, pairs, folder, rng, index.missing, mixing_of(bench, detector))


def read(bench, folder, **choices):
    return list(BENCHES[bench].read(SetOptions(folder, **choices)))


def assert_zero_db(items):
    assert items
    for item in items:
        sounds = item.sounds.load()
        target = np.mean(np.square(sounds.target, dtype=np.float64))
        background = np.mean(np.square(sounds.mixture - sounds.target, dtype=np.float64))
        assert 10 * np.log10(background / target) == pytest.approx(0, abs=1e-3)


@pytest.fixture
def esc50(tmp_path, write, sound):
    raw = tmp_path / "ESC-50-master"
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for number in range(6):
        name = f"1-{number}-A-{number % 3}.wav"
        write(raw / "audio" / name, sound(number, rate=44_100), 44_100)
        label = CLASSES[number % 3].replace(" ", "_")
        lines.append(f"{name},1,{number % 3},{label},False,{number},A")
    (raw / "meta").mkdir()
    (raw / "meta" / "esc50.csv").write_text("\n".join(lines))
    return raw


@pytest.fixture
def audioset(tmp_path, write, sound):
    """Three clips of speech, dogs and rain with AudioSet's own lists beside them."""
    raw = tmp_path / "audioset"
    labels = read_vocabulary("audioset")
    picked = {"/m/speech": labels[0], "/m/dog": labels[74], "/m/rain": "Rain"}
    indices = ["index,mid,display_name"]
    indices += [f'{number},{mid},"{label}"' for number, (mid, label) in enumerate(picked.items())]
    segments = ["# Segments csv created one day", "# num_ytids=3", "# YTID, start_seconds, ..."]
    for number, mid in enumerate(picked):
        write(raw / "audio" / f"Yvideo{number}.wav", sound(number))
        segments.append(f'video{number}, 30.000, 40.000, "{mid}"')
    (raw / "class_labels_indices.csv").write_text("\n".join(indices))
    (raw / "eval_segments.csv").write_text("\n".join(segments))
    return raw


def test_esc50(esc50, tmp_path):
    built = build("esc50", esc50, tmp_path / "set")
    items = read("esc50", tmp_path / "set")
    assert built.mixtures == len(items) == 6 and not built.skipped
    assert [item.query for item in items] == [CLASSES[number % 3] for number in range(6)]
    assert_zero_db(items)


def test_the_same_seed_builds_the_same_set(esc50, tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        build("esc50", esc50, tmp_path / name, seed=seed)
    # libsndfile dates its files: the samples are the same, not the bytes.
    prints = {
        name: [
            (item.query, item.sounds.load().fingerprint())
            for item in read("esc50", tmp_path / name)
        ]
        for name in ("one", "same", "other")
    }
    assert prints["one"] == prints["same"] != prints["other"]


def test_backgrounds_are_of_another_class(esc50):
    pairs = list(draw_pairs("esc50", AudioFileIndex(esc50), None, np.random.default_rng(3)))
    assert pairs
    for pair in pairs:
        assert not set(pair.target.labels) & set(pair.backgrounds[0].labels)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A small detector with random weights, as PANNs' is released."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("panns") / "detector.pth"
    torch.save({"model": Cnn14DecisionLevelMax((4, 4, 4, 4, 4, 8)).state_dict()}, path)
    return path


def test_audioset(audioset, tmp_path, detector, write, sound):
    for number in range(3):
        write(audioset / "audio" / f"Yvideo{number}.wav", sound(number, 4.0))
    assert build("audioset", audioset, tmp_path / "set", detector=detector).mixtures == 3
    items = read("audioset", tmp_path / "set", metadata=tmp_path / "set" / "audioset_eval.csv")
    assert [(item.id, item.query) for item in items] == [
        ("class_id=0,index=000", "Speech"),
        ("class_id=74,index=000", read_vocabulary("audioset")[74]),
        (f"class_id={read_vocabulary('audioset').index('Rain')},index=000", "Rain"),
    ]
    assert_zero_db(items)
    finder = AnchorFinder(detector)
    for number, item in enumerate(items):
        # The two seconds that the detector finds for the class that is asked for.
        target = item.sounds.load().target[0]
        anchor = finder.segment(sound(number, 4.0), item.query)
        assert target.shape == (64_000,) and np.corrcoef(target, anchor)[0, 1] > 0.99999


def test_audioset_needs_the_detector(audioset, tmp_path, audiosep, detector):
    options = ["--raw", audioset, "-o", "set"]
    code, _, error = audiosep("evaluate", "build", "audioset", *options)
    assert code == 2 and "PANNs' Cnn14_DecisionLevelMax with --detector" in error
    assert not (tmp_path / "set").exists()
    # Clips of one second are followed by silence.
    code, out, error = audiosep("evaluate", "build", "audioset", *options, "--detector", detector)
    assert code == 0 and "3 mixtures" in out, error
    code, _, error = audiosep("evaluate", "build", "esc50", *options, "--detector", detector)
    assert code == 2 and "leave out --detector" in error


def test_the_list_of_labels_may_lie_elsewhere(audioset, tmp_path):
    labels = (audioset / "class_labels_indices.csv").rename(tmp_path / "labels.csv")
    rng = np.random.default_rng(0)
    with pytest.raises(AudioPathError, match=r"class_labels_indices\.csv; .* with --labels"):
        draw_pairs("audioset", AudioFileIndex(audioset), None, rng)
    assert len(list(draw_pairs("audioset", AudioFileIndex(audioset, labels), None, rng))) == 3


def test_audiocaps_takes_labels_from_audioset(audioset, tmp_path):
    lines = ["audiocap_id,youtube_id,start_time,caption"]
    for video in (0, 1):
        lines += [f"{video}{n},video{video},30,Caption {n} of {video}" for n in range(5)]
    (audioset / "test.csv").write_text("\n".join(lines))
    assert build("audiocaps", audioset, tmp_path / "set").mixtures == 10
    captions = read("audiocaps", tmp_path / "set")
    assert captions[3].query == "Caption 3 of 0"
    assert read("audiocaps", tmp_path / "set", queries="labels")[3].query == "Speech"
    assert_zero_db(captions)


def test_clotho_keeps_keywords_apart(tmp_path, write, sound):
    raw = tmp_path / "clotho"
    head = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5"
    captions, metadata = [head], ["file_name,keywords,sound_id"]
    for number, words in enumerate(("wind;sea", "sea;gull", "car")):
        write(raw / "evaluation" / f"{number} clip.wav", sound(number, 1 + number / 10))
        texts = ",".join(f"Caption {n} of {number}" for n in range(1, 6))
        captions.append(f"{number} clip.wav,{texts}")
        metadata.append(f"{number} clip.wav,{words},7")
    (raw / "clotho_captions_evaluation.csv").write_text("\n".join(captions))
    # As Clotho's own table is.
    metadata.append("gone clip.wav,caf\xe9,8")
    (raw / "clotho_metadata_evaluation.csv").write_bytes("\n".join(metadata).encode("latin-1"))
    pairs = list(draw_pairs("clotho", AudioFileIndex(raw), None, np.random.default_rng(0)))
    names = {tuple(other.name for other in pair.backgrounds) for pair in pairs[:10]}
    assert names == {("2 clip.wav", "2 clip.wav")}
    assert build("clotho", raw, tmp_path / "set").mixtures == 15
    items = read("clotho", tmp_path / "set")
    assert items[14].query == "Caption 5 of 2"
    # The released evaluation tells the table's columns by their places.
    head = (tmp_path / "set" / "clotho_eval.csv").read_text().splitlines()[0]
    assert head == "idx,caption,src_wav,noise_wav1,noise_wav2"
    # The target keeps its length.
    assert items[14].sounds.load().target.shape == (1, 38_400)
    assert_zero_db(items)


def test_vggsound_takes_test_clips_ten_times(tmp_path, write, sound):
    raw, lines = tmp_path / "vggsound", []
    for number, (label, split) in enumerate((("tuba", "test"), ("rain", "test"), ("sea", "train"))):
        write(raw / f"video{number}_{number:06d}.wav", sound(number))
        lines.append(f'video{number},{number},"playing {label}",{split}')
    (raw / "vggsound.csv").write_text("\n".join(lines))
    assert build("vggsound", raw, tmp_path / "set").mixtures == 20
    items = read("vggsound", tmp_path / "set")
    assert {item.query for item in items} == {"playing tuba", "playing rain"}
    loudness = []
    for item in items:
        sounds = item.sounds.load()
        parts = (sounds.target[0], sounds.mixture[0] - sounds.target[0])
        loudness.append([integrated_loudness(part, 32_000) for part in parts])
    # Each clip has a loudness of its own, and 0 dB is the average alone.
    assert np.min(loudness) >= -35.01 and np.max(loudness) <= -24.99
    assert np.std(np.diff(loudness)) > 1 and abs(np.mean(np.diff(loudness))) < 3


@pytest.mark.parametrize("listed", [True, False])
def test_music_mixes_segments_with_each_other_instrument(listed, tmp_path, write, sound):
    raw = tmp_path / "music"
    for number, instrument in enumerate(("acoustic_guitar", "tuba", "erhu")):
        folder = "." if listed else instrument
        write(raw / folder / f"id{number}.wav", sound(number, 21, 2000), 2000)
    if listed:
        videos = {"acoustic_guitar": ["id0", "gone"], "tuba": ["id1"], "erhu": ["id2"]}
        (raw / "MUSIC_solo_videos.json").write_text(json.dumps({"videos": videos}))
    assert build("music", raw, tmp_path / "set").mixtures == 3 * 2 * 2
    items = read("music", tmp_path / "set")
    assert {item.group for item in items} == {"acoustic guitar", "tuba", "erhu"}
    assert items[0].sounds.load().target.shape == (1, 320_000)
    table = (tmp_path / "set" / "music_eval.csv").read_text().splitlines()
    assert table[0] == "idx,caption,src_wav,noise_wav"
    assert {line.split(",")[2] for line in table[1:]} == {
        f"id{video}_{segment}.wav" for video in range(3) for segment in range(2)
    }


def test_a_released_table_names_the_pairs(esc50, tmp_path):
    table = tmp_path / "esc50_eval.csv"
    table.write_text("idx,caption,src_wav,noise_wav\n0,dog,1-0-A-0.wav,1-5-A-2.wav\n")
    assert build("esc50", esc50, tmp_path / "set", table).mixtures == 1
    written = (tmp_path / "set" / "esc50_eval.csv").read_text()
    assert written == table.read_text()
    assert_zero_db(read("esc50", tmp_path / "set"))
    table.write_text("idx,caption,src_wav,noise_wav\n0,dog,1-0-A-0.wav,gone.wav\n")
    with pytest.raises(AudioFileError, match="each mixture lacks one of 1 clips that are not"):
        build("esc50", esc50, tmp_path / "other", table)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("habit", ["Y{}.wav", "{}.wav", "{}_30.wav", "{}_30000_40000.wav"])
def test_missing_clips_are_left_out_counted_and_listed(habit, tmp_path, write, sound, audiosep):
    """Of a hundred clips of YouTube seven are gone; the others have any downloader's names."""
    names = [f"v{number:03d}_-aBcDe" for number in range(100)]
    lines = ["idx,caption,labels,src_wav,noise_wav"]
    for number, name in enumerate(names):
        if number % 15:
            write(tmp_path / "raw" / habit.format(name), sound(number, 0.1))
        lines.append(f"{number},Hum,hum,Y{name}.wav,Y{names[number - 1]}.wav")
    (tmp_path / "audiocaps_eval.csv").write_text("\n".join(lines))
    options = ["--raw", "raw", "--metadata", "audiocaps_eval.csv", "-o", "set"]
    code, out, error = audiosep("evaluate", "build", "audiocaps", *options)
    # Each is in two mixtures.
    assert code == 0 and out == "86 mixtures in set, 0 skipped\n"
    assert "missing: 7 clips, see set/missing.txt" in error
    listed = (tmp_path / "set" / "missing.txt").read_text().splitlines()
    assert sorted(listed) == [f"Y{name}" for name in names[::15]]
    assert len(read("audiocaps", tmp_path / "set")) == 86


def test_a_clip_of_a_video_with_several_is_told_by_its_start(tmp_path, write, sound):
    for start in (30, 100):
        write(tmp_path / f"abcdefghijk_{start}.wav", sound(start))
    write(tmp_path / "Yabcdefghijl.wav", sound(1))
    index = AudioFileIndex(tmp_path)
    assert index.clip("abcdefghijk", 100.0).name == "abcdefghijk_100.wav"
    assert index.recording("Yabcdefghijk_000030.wav").path.name == "abcdefghijk_30.wav"
    assert index.recording("abcdefghijk_30000_40000.wav").path.name == "abcdefghijk_30.wav"
    assert index.recording("abcdefghijl_20.wav").path.name == "Yabcdefghijl.wav"
    assert index.recording("Yabcdefghijk.wav") is None and index.clip("abcdefghijk", 5.0) is None
    assert list(index.missing) == ["Yabcdefghijk", "abcdefghijk_5"]


def test_clothos_table_has_two_backgrounds_of_one_name(tmp_path, write, sound):
    raw = tmp_path / "raw"
    for number in range(3):
        write(raw / f"{number}.wav", sound(number, 1.0 if number else 2.0))
    table = tmp_path / "clotho_eval.csv"
    table.write_text("idx,caption,src_wav,noise_wav1,noise_wav1\n0,Hum,0.wav,1.wav,2.wav\n")
    build("clotho", raw, tmp_path / "set", table)
    (item,) = read("clotho", tmp_path / "set")
    sounds = item.sounds.load()
    background = sounds.mixture[0] - sounds.target[0]
    for half, number in ((background[:32_000], 1), (background[32_000:], 2)):
        assert np.corrcoef(half, sound(number))[0, 1] > 0.999


def test_a_short_background_repeats(esc50, tmp_path, write, sound):
    write(esc50 / "audio" / "1-5-A-2.wav", sound(5, 0.25))
    table = tmp_path / "esc50_eval.csv"
    table.write_text("idx,caption,src_wav,noise_wav\n0,dog,1-0-A-0.wav,1-5-A-2.wav\n")
    build("esc50", esc50, tmp_path / "set", table)
    sounds = read("esc50", tmp_path / "set")[0].sounds.load()
    background = (sounds.mixture - sounds.target).reshape(4, -1)
    np.testing.assert_allclose(background[0], background[3], atol=1e-6)


def test_released_tables_of_segments_and_of_clips(tmp_path, write, sound):
    raw = tmp_path / "raw"
    for number in range(2):
        write(raw / f"Yid{number}.wav", sound(number, 31, 2000), 2000)
    table = tmp_path / "music_eval.csv"
    table.write_text("idx,caption,src_wav,noise_wav\n0,erhu,Yid0_2.wav,Yid1_0.wav\n")
    build("music", raw, tmp_path / "music", table)
    assert read("music", tmp_path / "music")[0].sounds.load().target.shape == (1, 320_000)
    table = tmp_path / "vggsound_eval.csv"
    table.write_text("file_id,mix_wav,s0_wav,s0_text,s1_wav,s1_text\nid0+++id1,m,s,erhu,t,tuba\n")
    build("vggsound", raw, tmp_path / "vggsound", table)
    (item,) = read("vggsound", tmp_path / "vggsound")
    assert item.query == "erhu" and item.sounds.load().target.shape == (1, 31 * 32_000)


def test_audiocaps_mini_needs_its_table(esc50, tmp_path):
    with pytest.raises(MetadataError, match="new_caption, src_wav and noise_wav"):
        build("audiocaps-mini", esc50, tmp_path / "set")
    table = tmp_path / "mini.csv"
    table.write_text(
        "label,caption,new_caption,src_wav,noise_wav\nDog,A dog,A dog barks,1-0-A-0,1-1-A-1\n"
    )
    assert build("audiocaps-mini", esc50, tmp_path / "set", table).mixtures == 1
    assert [item.query for item in read("audiocaps-mini", tmp_path / "set")] == [
        "Dog",
        "A dog",
        "A dog barks",
    ]


def test_bad_files_are_skipped_and_counted(esc50, tmp_path, write):
    (esc50 / "audio" / "1-0-A-0.wav").write_bytes(b"no sound")
    write(esc50 / "audio" / "1-1-A-1.wav", np.zeros(1000))
    built = build("esc50", esc50, tmp_path / "set", seed=1)
    assert 0 < built.mixtures == len(read("esc50", tmp_path / "set")) == 6 - len(built.skipped)
    reasons = " ".join(built.skipped)
    assert "1-0-A-0.wav is no audio file" in reasons and "1-1-A-1.wav is silent" in reasons


def test_nothing_is_left_of_a_build_that_fails(esc50, tmp_path):
    for path in (esc50 / "audio").iterdir():
        path.write_bytes(b"")
    with pytest.raises(AudioFileError, match=r"nothing could be mixed: .* is an empty file"):
        build("esc50", esc50, tmp_path / "new" / "set")
    assert list(tmp_path.iterdir()) == [esc50]


def test_a_folder_with_something_in_it_is_kept(esc50, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("")
    with pytest.raises(AudioPathError, match="set is not empty"):
        build("esc50", esc50, tmp_path / "set")


def test_one_class_is_not_enough(esc50, tmp_path):
    table = esc50 / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("rain", "dog").replace("chirping_birds", "dog"))
    with pytest.raises(MetadataError, match="needs more classes"):
        build("esc50", esc50, tmp_path / "set")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"videos": ["id"]}', "the field 'videos'"),
        ('{"videos":\n!', "line 2: no JSON .Expecting value"),
    ],
)
def test_a_wrong_list_of_videos_is_faulted(text, fault, tmp_path, write, sound):
    write(tmp_path / "id0.wav", sound(1))
    (tmp_path / "MUSIC_solo_videos.json").write_text(text)
    with pytest.raises(MetadataError, match=fault):
        build("music", tmp_path, tmp_path / "set")


def test_every_released_bench_can_be_built():
    drawn = {name for name, bench in BENCHES.items() if bench.count}
    assert set(BENCHES) - set(RECIPES) - drawn == {"voicebank-demand", "stems", "open-bench"}
