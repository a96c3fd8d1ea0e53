"""JSON lists, and the datasets that they are made of."""

import json

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audiosep_core.errors import AudioPathError, MetadataError
from audiosep_core.query.text import normalise_query
from audiosep_training.commands.lists import DATASETS, find_items
from audiosep_training.data.lists import ListedClip, read_clip_list, write_clip_list


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    return path


def test_the_released_form(tmp_path):
    rows = [{"wav": "a.wav", "caption": "a dog"}, {"wav": "/b.wav", "caption": "rain", "x": 1}]
    found = read_clip_list(write(tmp_path / "list.json", {"data": rows}))
    assert [item.wav for item in found.items] == [tmp_path / "a.wav", (tmp_path / "/b.wav")]
    assert [item.caption for item in found.items] == ["a dog", "rain"] and not found.notes


def test_written_lists_are_read_back(tmp_path):
    items = [ListedClip(tmp_path / "x" / "ä.wav", "“quoted”, naïve", tmp_path / "v.mp4")]
    assert write_clip_list(tmp_path / "lists" / "one.json", items) == 1
    (found,) = read_clip_list(tmp_path / "lists" / "one.json").items
    assert found.caption == items[0].caption
    assert found.wav.resolve() == items[0].wav and found.video.resolve() == items[0].video


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [\n{"wav": "a"\n]}', r"line 3: no JSON"),
        ("[]", "line 1: the field 'data' must hold a list"),
        ('{"data": {}}', "line 1: the field 'data' must hold a list"),
        ('{"data": [\n"a"]}', "line 2: the field 'data' holds 'a'"),
        ('{"data": [\n{"wav": "a", "caption": ""},\n{"wav": "b"}]}', "3: the field 'caption' is"),
        ('{"data": [\n{"caption": "b",\n"wav": 7}]}', "line 3: the field 'wav' must be text"),
        ('{"data": [{"caption": "b",\n\n"wav": ""}]}', "line 3: the field 'wav' is empty"),
        ('{"v": 1, "data": [{"wav": "data", "caption": "b",\n"video": 1}]}', "2: the field 'vid"),
    ],
)
def test_wrong_forms_are_named_by_line_and_field(tmp_path, content, message):
    with pytest.raises(MetadataError, match=message):
        read_clip_list(write(tmp_path / "list.json", content))


def test_not_utf8_and_missing(tmp_path):
    path = tmp_path / "list.json"
    path.write_bytes(b'{"data": [\n{"wav": "a", "caption": "caf\xe9"}]}')
    with pytest.raises(MetadataError, match="line 2, byte 29 is not UTF-8"):
        read_clip_list(path)
    with pytest.raises(AudioPathError, match=r"none\.json does not exist"):
        read_clip_list(tmp_path / "none.json")
    with pytest.raises(AudioPathError, match="cannot be read"):
        read_clip_list(tmp_path)


def test_captions_that_are_no_queries(tmp_path):
    captions = [
        "",
        " \n\t ",
        "\u200b",
        "word " * 1000,
        "x" * 5000,
        "a\x00dog\nbarks",
        "\ud800 rain",
    ]
    rows = [{"wav": "a.wav", "caption": caption} for caption in captions]
    found = read_clip_list(write(tmp_path / "list.json", {"data": rows}))
    long, longer, dog, rain = (item.caption for item in found.items)
    assert len(long) == 509 and long.endswith("word") and longer == "x" * 512
    assert (dog, rain) == ("a dog barks", "rain")
    assert sorted(found.notes.values()) == [2, 3]


@given(st.text())
def test_whatever_is_kept_is_a_query(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "list.json"
    found = read_clip_list(write(path, {"data": [{"wav": "a", "caption": text}]}))
    for item in found.items:
        assert normalise_query(item.caption) == item.caption


METADATA = {
    "audioset": (
        "# Segments csv created Sun Mar  5 10:54:31 2017\n"
        "# num_ytids=2, num_segs=2\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        '--aE2O5G5WE, 30.000, 40.000, "/m/03m9d0z,/m/06mb1"\n'
        'missing0000, 0.000, 10.000, "/m/06mb1"\n',
        ["Y--aE2O5G5WE.wav"],
        ["Wind, Rain"],
    ),
    "vggsound": (
        "---g-f_I2yQ,1,people marching,test\n"
        '--0PQM4-hqg,30,"waterfall burbling, loud",train\n'
        "gone0000000,5,dog barking,train\n",
        ["--0PQM4-hqg_000030.flac", "---g-f_I2yQ_000001.flac"],
        ["waterfall burbling, loud"],
    ),
    "audiocaps": (
        "audiocap_id,youtube_id,start_time,caption\n"
        '91139,r1nicOVtvkQ,130,"A woman talks nearby, as water pours"\n'
        "58146,gone0000000,30,Multiple clanging\n",
        ["r1nicOVtvkQ_130.wav"],
        ["A woman talks nearby, as water pours"],
    ),
    "clotho": (
        "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n"
        "Distorted AM Radio noise.v2.wav,one,two,three,four,five\n",
        ["Distorted AM Radio noise.v2.wav"],
        ["one", "two", "three", "four", "five"],
    ),
    "wavcaps": (
        json.dumps(
            {
                "num_captions_per_audio": 1,
                "data": [
                    {"id": "Yb0RFKhbpFJA.wav", "caption": "Wind and a man.", "duration": 10.0},
                    {"id": "180913", "caption": "Rain falls.", "href": "x", "duration": 27.3},
                    {"id": "7", "caption": "Gone.", "duration": 1.0},
                ],
            }
        ),
        ["AudioSet_SL/Yb0RFKhbpFJA.flac", "FreeSound/180913.flac"],
        ["Wind and a man.", "Rain falls."],
    ),
}
LABELS = 'index,mid,display_name\n0,/m/03m9d0z,"Wind"\n1,/m/06mb1,"Rain"\n'


def make(folder, dataset):
    """A dataset as it is distributed: table, labels and sound files."""
    table, files, captions = METADATA[dataset]
    for name in files:
        path = folder / "audio" / "part" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, [0.0] * 100, 32_000)
    (folder / "table").write_text(table)
    (folder / "labels.csv").write_text(LABELS)
    return captions


@pytest.mark.parametrize("dataset", DATASETS)
def test_datasets_as_distributed(dataset, tmp_path):
    captions = make(tmp_path, dataset)
    found = find_items(dataset, tmp_path / "table", tmp_path / "audio", tmp_path / "labels.csv")
    assert [item.caption for item in found.items] == captions
    assert all(item.wav.is_file() for item in found.items)
    assert found.missing == (0 if dataset == "clotho" else 1)


@pytest.mark.parametrize(
    ("dataset", "table", "message"),
    [
        ("audiocaps", "id,caption\n1,x\n", "line 1: the column 'audiocap_id' is missing"),
        (
            "audiocaps",
            METADATA["audiocaps"][0].replace("130", "x"),
            "line 2: the field 'start_time' holds 'x'",
        ),
        ("clotho", "file_name,caption_1\na,b\n", "line 1: the column 'caption_2'"),
        ("vggsound", "a,b,c,d\n", "line 1: the field 'start_seconds' holds 'b'"),
        ("vggsound", "a,nan,c,train\n", "line 1: the field 'start_seconds' holds 'nan'"),
        ("audioset", "a, 1.0\n", "line 1: 2 fields where 4 are due"),
        (
            "audioset",
            METADATA["audioset"][0].replace("0z,/m", "0z,/n"),
            "line 4: the field 'positive_labels' names '/n",
        ),
        ("wavcaps", "[1]", "line 1: the field 'data' must hold a list"),
        ("wavcaps", '{"data": [\n{"id": 1}]}', "line 2: the field 'id' must be text"),
        ("wavcaps", '{"data": [\n{"id": "1"}]}', "line 2: the field 'caption' is missing"),
    ],
)
def test_tables_of_another_form(dataset, table, message, tmp_path):
    make(tmp_path, dataset)
    (tmp_path / "table").write_text(table)
    with pytest.raises(MetadataError, match=message):
        find_items(dataset, tmp_path / "table", tmp_path / "audio", tmp_path / "labels.csv")


def test_none_of_the_files_is_there(tmp_path):
    make(tmp_path, "vggsound")
    (tmp_path / "table").write_text("gone0000000,5,dog barking,train\n")
    with pytest.raises(
        AudioPathError, match=r"no file below .*audio is named in the corpus' table"
    ):
        find_items("vggsound", tmp_path / "table", tmp_path / "audio", None)


def test_files_that_downloaders_name_otherwise(tmp_path):
    make(tmp_path, "audioset")
    sound = tmp_path / "audio" / "part" / "Y--aE2O5G5WE.wav"
    # Some of AudioSet's segments are shorter than ten seconds.
    table = tmp_path / "table"
    table.write_text(table.read_text().replace("40.000", "37.500"))
    sound.rename(sound.with_name("--aE2O5G5WE_30.000_37.500.wav"))
    (item,) = find_items("audioset", table, tmp_path / "audio", tmp_path / "labels.csv").items
    make(tmp_path, "audiocaps")
    item.wav.with_name("r1nicOVtvkQ_130.wav").rename(item.wav.with_name("91139.wav"))
    (item,) = find_items("audiocaps", table, tmp_path / "audio", None).items
    assert item.wav.name == "91139.wav"


@pytest.mark.parametrize("dataset", ["audiocaps", "clotho"])
def test_captions_need_no_labels(dataset, tmp_path):
    captions = make(tmp_path, dataset)
    for name in ("eval_segments.csv", "clotho_metadata_evaluation.csv"):
        (tmp_path / "audio" / name).write_bytes(b"\xff")
    found = find_items(dataset, tmp_path / "table", tmp_path / "audio", None)
    assert [item.caption for item in found.items] == captions


def test_the_command(audiosep, tmp_path):
    make(tmp_path, "clotho")
    options = ["--metadata", "table", "--audio", "audio", "-o", "clotho.json"]
    assert audiosep("lists", "clotho", *options) == (0, "clotho.json: 5 clips\n", "")
    assert len(read_clip_list(tmp_path / "clotho.json").items) == 5
    code, _, error = audiosep("lists", "clotho", *options)
    assert code == 2 and "--overwrite" in error
    make(tmp_path, "audioset")
    options[-1] = "audioset.json"
    code, _, error = audiosep("lists", "audioset", *options)
    assert code == 2 and "--labels" in error


def test_missing_and_excluded_clips_are_counted(audiosep, tmp_path):
    make(tmp_path, "wavcaps")
    (tmp_path / "clotho.csv").write_bytes(
        b"file_name,keywords,sound_id\nR\xe9cord. 1.wav,rain;sea,180913\n"
    )
    options = ["--metadata", "table", "--audio", "audio", "-o", "list.json", "--overwrite"]
    said = audiosep("lists", "wavcaps", *options, "--exclude", "clotho.csv")
    assert said == (0, "list.json: 1 clips, 1 missing, 1 excluded\n", "")
    assert [item.caption for item in read_clip_list(tmp_path / "list.json").items] == [
        "Wind and a man."
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("eval.csv", "idx,caption,src_wav,noise_wav\n0,x,Y--aE2O5G5WE.wav,other.wav\n"),
        ("eval.csv", "file_id,s0_text,s1_text\nother+++--aE2O5G5WE_000030,x,y\n"),
        ("eval_segments.csv", '# YTID, ...\n--aE2O5G5WE, 30.000, 40.000, "/m/1,/m/2"\n'),
        ("vggsound.csv", "--aE2O5G5WE,30,x,test\n"),
        ("test.csv", "audiocap_id,youtube_id,start_time,caption\n1,--aE2O5G5WE,0,x\n"),
        ("list.json", '{"data": [{"wav": "a/--aE2O5G5WE_30.flac", "caption": "x"}]}'),
    ],
)
def test_clips_of_a_test_set_are_kept_out(name, text, tmp_path):
    """Whatever names them, and by whatever file name."""
    make(tmp_path, "audioset")
    (tmp_path / name).write_text(text)
    arguments = ("audioset", tmp_path / "table", tmp_path / "audio", tmp_path / "labels.csv")
    found = find_items(*arguments, exclude=[tmp_path / name])
    assert (len(found.items), found.excluded) == (0, 1)
    (tmp_path / name).write_text(text.replace("--aE2O5G5WE", "another0000"))
    found = find_items(*arguments, exclude=[tmp_path / name])
    assert (len(found.items), found.excluded) == (1, 0)


def test_a_table_that_names_no_clips_excludes_nothing_in_silence(tmp_path):
    make(tmp_path, "audioset")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MetadataError, match=r"x\.csv names no clips; give a JSON list, or"):
        find_items("audioset", tmp_path / "table", tmp_path / "audio", None, None,
                   [tmp_path / "x.csv"])  # fmt: skip


def test_videos_are_listed(audiosep, tmp_path):
    make(tmp_path, "vggsound")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "--0PQM4-hqg_30_40.mp4").write_bytes(b"")
    options = ["--metadata", "table", "--audio", "audio", "--video", "videos", "-o", "list.json"]
    said = audiosep("lists", "vggsound", *options)
    assert said == (0, "list.json: 1 clips, 1 with video, 1 missing\n", "")
    (item,) = read_clip_list(tmp_path / "list.json").items
    assert item.video == tmp_path / "videos" / "--0PQM4-hqg_30_40.mp4"


def test_pairs_of_clean_and_noisy_speech(audiosep, tmp_path):
    """Voicebank-DEMAND needs no table; a recording without its partner is left out."""
    for folder, names in (("clean_trainset_28spk_wav", "abc"), ("noisy_trainset_28spk_wav", "ab")):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        for name in names:
            soundfile.write(tmp_path / "raw" / folder / f"{name}.wav", np.zeros(9000), 16_000)
    options = ["--audio", "raw", "-o", "pairs.json"]
    assert audiosep("lists", "voicebank-demand", *options) == (0, "pairs.json: 2 clips\n", "")
    items = read_clip_list(tmp_path / "pairs.json").items
    assert [item.wav.name for item in items] == ["a.wav", "b.wav"]
    for item in items:
        assert item.caption == "speech" and item.mixture is not None
        assert item.mixture.samefile(tmp_path / "raw" / "noisy_trainset_28spk_wav" / item.wav.name)
    code, _, error = audiosep("shards", "pairs.json", "-o", "shards")
    assert code == 2 and "train on the list itself" in error
    (tmp_path / "empty").mkdir()
    options[1] = "empty"
    code, _, error = audiosep("lists", "voicebank-demand", *options, "--overwrite")
    assert code == 2 and "name the folder that holds both" in error
    code, _, error = audiosep("lists", "clotho", *options, "--overwrite")
    assert code == 2 and "give it with --metadata" in error
