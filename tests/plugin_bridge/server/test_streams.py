"""What a stream of the server gives is what the engine gives."""

import json

import numpy as np
import pytest

from audiosep_core.settings import Delta, Query
from plugin_bridge import StreamingSeparator
from plugin_bridge.protocol.messages import Change, Changed, Latency, QueryMessage, Statistics
from plugin_bridge.protocol.wire import Type

SECONDS = 2


@pytest.fixture(scope="module")
def engine(separator):
    def make(queries="drums", sample_rate=48_000, channels=2, mode="mix", **options):
        return StreamingSeparator(queries, sample_rate, channels, mode, separator, **options)

    return make


@pytest.mark.parametrize(
    ("sample_rate", "channels", "mode", "sizes"),
    [
        (48_000, 2, "mix", (512,)),
        (48_000, 1, "track", (1, 997, 64, 4096)),
        (44_100, 2, "track", (441,)),
        (32_000, 3, "mix", (4096,)),
    ],
)
def test_a_stream_is_the_engine_to_the_bit(
    server, peer, engine, feed, music, sample_rate, channels, mode, sizes
):
    audio = music(channels, SECONDS * sample_rate)
    local = engine("drums", sample_rate, channels, mode)
    expected = feed(local, audio, sizes, flush=True)
    with peer(server.address) as client:
        opened = client.open("drums", sample_rate=sample_rate, channels=channels, mode=mode)
        assert (opened.latency, opened.rows, opened.model) == (local.latency_samples, 1, "mini")
        got = feed(client, audio, sizes, flush=True)
    np.testing.assert_array_equal(got, expected)


def test_rows_come_as_asked_for(server, peer, engine, music):
    audio = music(2, 48_000)
    queries = ["drums", Query("speech", gain_db=-6), Query("wind", negative=True)]
    sent = [
        QueryMessage("drums"),
        QueryMessage("speech", -6.0),
        QueryMessage("wind", 0, negative=True),
    ]
    for outputs, rows in (("target", 1), ("target+residual", 2), ("stems", 3)):
        local = engine(queries, mode="track", outputs=outputs, strength=1.5, remainder_db=-20)
        with peer(server.address) as client:
            opened = client.open(
                sent,
                mode="track",
                outputs=outputs,
                strength=1.5,
                remainder_db=-20.0,
                max_block=48_000,
            )
            assert opened.rows == rows
            client.send(client.protocol.audio(1, audio))
            got = client.audio().rows
        expected = local.process(audio)
        np.testing.assert_array_equal(got if rows > 1 else got[0], expected)


def test_changes_take_effect_at_their_position(server, peer, engine, music):
    audio = music(2, 96_000)
    at = 40_321
    local = engine(mode="track")
    expected = [local.process(np.ascontiguousarray(audio[:, :at]))]
    local.change(Delta(["speech", "rain on a window"], 2.0))
    expected.append(local.process(np.ascontiguousarray(audio[:, at:])))
    with peer(server.address) as client:
        opened = client.open(mode="track")
        queries = [QueryMessage("speech"), QueryMessage("rain on a window")]
        change = Change(at, queries, strength=2.0)
        asked = client.send(client.protocol.change(1, change))
        got = []
        for start in range(0, 96_000, 4000):
            client.send(client.protocol.audio(1, audio[:, start : start + 4000]))
        for _ in range(24):
            got.append(client.audio().rows[0])
        client.send(client.protocol.change(1, Change(0, strength=1.0)))
        late = client.answer(Type.CHANGED)
    np.testing.assert_array_equal(np.concatenate(got, -1), np.concatenate(expected, -1))
    assert late.sequence > asked
    # What has not been masked yet still follows a change that comes late.
    assert 96_000 - opened.latency <= late.message.position <= 96_000


def test_a_new_mode_starts_anew_and_tells_the_latency(server, peer, engine, feed, music):
    audio = music(2, 48_000)
    with peer(server.address) as client:
        client.open(mode="mix")
        client.process(audio[:, :4096])
        client.send(client.protocol.change(1, Change(mode="track")))
        news = client.answer(Type.LATENCY).message
        assert client.answer(Type.CHANGED).message == Changed(0)
        local = engine(mode="track")
        assert isinstance(news, Latency)
        assert news.latency == local.latency_samples
        np.testing.assert_array_equal(feed(client, audio), feed(local, audio))


def test_a_new_mode_has_the_slack_of_a_stream_opened_in_it(server, peer):
    with peer(server.address) as client:
        fields = {"contract": "realtime", "slack": None}
        opened = {
            mode: client.open(stream=at, mode=mode, **fields)
            for at, mode in enumerate(("mix", "track"), 1)
        }
        client.open(stream=3, mode="mix", contract="realtime", slack=1000)
        for stream, mode, slack in ((1, "track", None), (2, "mix", None), (3, "track", 1000)):
            client.send(client.protocol.change(stream, Change(mode=mode)))
            news = client.answer(Type.LATENCY).message
            assert news.slack == (slack or opened[mode].slack)
            client.answer(Type.CHANGED)
            client.send(client.protocol.statistics(stream, Statistics()))
            report = json.loads(client.answer(Type.REPORT).payload)
            assert (report["latency"], report["slack"]) == (news.latency, news.slack)


def test_reset_and_flush_begin_again_at_zero(server, peer, engine, feed, music):
    audio = music(2, 30_000)
    with peer(server.address) as client:
        client.open(mode="track")
        first = feed(client, audio, flush=True)
        feed(client, audio)
        client.send(client.protocol.plain(Type.RESET, 1))
        client.answer(Type.DONE)
        np.testing.assert_array_equal(feed(client, audio, flush=True), first)


def test_track_leaves_room_for_the_slack(server, peer):
    with peer(server.address) as client:
        opened = client.open(mode="track", slack=None, contract="realtime")
        # What 16,383 samples leave, the most that some hosts make up for.
        assert opened.latency + opened.slack == 16_383
        opened = client.open(mode="mix", slack=None, contract="realtime", stream=2)
        assert opened.slack == 16_800
        assert opened.latency + opened.slack <= 72_000


def test_the_size_of_an_answer_is_told_and_bounded(server, peer):
    queries = [QueryMessage(name) for name in "abcdefghijklmnop"]
    with peer(server.address) as client:
        opened = client.open(mode="track", outputs="target+residual", max_block=512)
        assert opened.answer_bytes == 2 * 2 * 512 * 4
        client.send(client.protocol.audio(1, np.zeros((2, 512), np.float32)))
        assert client.audio().rows.nbytes == opened.answer_bytes
        with pytest.raises(peer.refused, match="67108864 at most"):
            client.open(queries, 2, channels=32, outputs="stems", max_block=65_536)
        assert client.failures[-1].code == "limit"


def test_streams_of_one_connection_do_not_mix(server, peer, engine, feed, music):
    sounds = {1: music(2, 48_000, 1), 2: music(2, 48_000, 2)}
    with peer(server.address) as client:
        for stream, query in ((1, "drums"), (2, "speech")):
            client.open(query, stream=stream, mode="track", max_block=480)
        got = {1: [], 2: []}
        for start in range(0, 48_000, 480):
            for stream, audio in sounds.items():
                got[stream].append(client.process(audio[:, start : start + 480], stream))
        client.send(client.protocol.plain(Type.CLOSE, 1))
        client.answer(Type.DONE)
        # The number is free, the other stream goes on.
        client.open("rain", stream=1, mode="track")
        got[2].append(client.flush(2))
    for stream, query in ((1, "drums"), (2, "speech")):
        expected = feed(engine(query, mode="track"), sounds[stream], flush=stream == 2)
        np.testing.assert_array_equal(np.concatenate(got[stream], -1), expected)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"query": ""}, "bad-query"),
        ({"query": "x" * 10_000}, "bad-query"),
        ({"query": [QueryMessage("wind", negative=True)]}, "bad-query"),
        ({"mode": "fast"}, "bad-mode"),
        ({"model": "nothing"}, "bad-model"),
        ({"model": "/etc/passwd"}, "bad-model"),
        ({"strength": 0.0}, "bad-value"),
        ({"sample_rate": 10}, "bad-value"),
        ({"query": [QueryMessage("a", 100.0)]}, "bad-value"),
        ({"contract": "realtime", "slack": 3}, "bad-value"),
        ({"channels": 1000}, "limit"),
    ],
)
def test_what_cannot_be_opened_is_told_and_the_number_stays_free(server, peer, fields, code):
    with peer(server.address) as client:
        with pytest.raises(client.refused):
            client.open(**fields)
        (failure,) = client.failures
        assert failure.code == code
        assert failure.message and not failure.fatal
        assert client.open().rows == 1


def test_a_change_that_cannot_be_made_changes_nothing(server, peer, engine, feed, music):
    audio = music(2, 48_000)
    queries = [QueryMessage("drums"), QueryMessage("speech")]
    with peer(server.address) as client:
        client.open(queries, mode="track", outputs="stems")
        for change, code in (
            (Change(queries=[QueryMessage("")]), "bad-query"),
            (Change(queries=[QueryMessage("drums")]), "bad-value"),
            (Change(strength=99.0), "bad-value"),
            (Change(mode="fast"), "bad-mode"),
            (Change(contract="realtime"), "bad-value"),
        ):
            client.send(client.protocol.change(1, change))
            assert client.answer(Type.ERROR).message.code == code
        client.send(client.protocol.audio(1, audio[:, :4096]))
        rows = client.audio().rows
    local = engine(["drums", "speech"], mode="track", outputs="stems")
    np.testing.assert_array_equal(rows, local.process(np.ascontiguousarray(audio[:, :4096])))


def test_broken_samples_count_as_silence(server, peer, engine, music):
    audio = music(2, 40_000)
    audio[0, 1000] = np.nan
    local = engine(mode="track")
    with peer(server.address) as client:
        client.open(mode="track")
        for start in range(0, 40_000, 4000):
            block = np.ascontiguousarray(audio[:, start : start + 4000])
            np.testing.assert_array_equal(client.process(block), local.process(block))
        client.send(client.protocol.statistics(1))
        figures = client.answer(Type.REPORT).payload
    assert b'"replaced_blocks": 1' in figures


def test_figures_tell_what_ran_but_not_what_was_said(server, peer, music, audiosep):
    from prometheus_client.parser import text_string_to_metric_families

    with peer(server.address) as client:
        client.open("a secret melody", mode="track", sample_rate=44_100)
        client.process(music(2, 4096))
        client.send(client.protocol.statistics(0, Statistics("prometheus")))
        text = client.answer(Type.REPORT).payload.decode()
        code, out, _ = audiosep("serve", "--socket", str(server.address.path), "--status")
        assert code == 0
        assert "44100 Hz × 2" in out
        code, figures, _ = audiosep(
            "serve", "--socket", str(server.address.path), "--status", "--json"
        )
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    assert {sample.name for sample in samples} >= {
        "audiosep_streams",
        "audiosep_blocks_total",
        "audiosep_network_wait_seconds_bucket",
        "audiosep_answer_seconds_count",
    }
    blocks = [sample for sample in samples if sample.name == "audiosep_blocks_total"]
    assert [sample.value >= 1 for sample in blocks] == [True]
    for said in (text, out, figures, server.log.read_text()):
        assert "melody" not in said


def test_a_refused_change_leaves_nothing_behind(server, peer, engine, music):
    audio = music(2, 48_000)
    two = [QueryMessage("drums"), QueryMessage("speech")]
    with peer(server.address) as client:
        client.open(two, mode="track", outputs="stems", max_block=48_000)
        refused = Change(queries=[*two, QueryMessage("rain")], strength=3.0, remainder_db=0.0)
        client.send(client.protocol.change(1, refused))
        assert "3" in client.answer(Type.ERROR).message.message
        client.send(client.protocol.change(1, Change(strength=2.0)))
        assert client.answer(Type.CHANGED).message == Changed(0)
        client.send(client.protocol.audio(1, audio))
        rows = client.audio().rows
    local = engine(["drums", "speech"], mode="track", outputs="stems", strength=2.0)
    np.testing.assert_array_equal(rows, local.process(audio))


def test_a_new_mode_keeps_the_number_of_stems(server, peer):
    with peer(server.address) as client:
        client.open([QueryMessage("drums"), QueryMessage("speech")], outputs="stems")
        change = Change(queries=[QueryMessage("drums")], mode="track")
        client.send(client.protocol.change(1, change))
        assert client.answer(Type.ERROR).message.code == "bad-value"
        client.send(client.protocol.change(1, Change(mode="track")))
        client.answer(Type.LATENCY)


def test_a_bypass_needs_no_other_stream_and_does_not_click(server, peer, music):
    """What no query claims comes in on top of the target within 10 ms: that is the mixture."""
    rate, at = 48_000, 15_011
    audio = music(2, 60_000)
    with peer(server.address) as client:
        latency = client.open(mode="track", max_block=audio.shape[1]).latency
        plain = client.process(audio)
        client.send(client.protocol.reset(1))
        client.answer(Type.DONE)
        back = at + rate // 4
        for position, level in ((at, 0.0), (back, -200.0)):
            change = Change(position, remainder_db=level)
            client.send(client.protocol.change(1, change))
        out = client.process(audio)
    heard = slice(latency, None)
    out, plain, mixture = out[:, heard], plain[:, heard], audio[:, : out.shape[1] - latency]
    np.testing.assert_array_equal(out[:, :at], plain[:, :at])
    on = slice(at + rate // 100, back)
    np.testing.assert_allclose(out[:, on], mixture[:, on], atol=1e-5)
    off = slice(back + rate // 100, None)
    np.testing.assert_allclose(out[:, off], plain[:, off], atol=1e-6)
    # In between it moves from one to the other, and no faster than a fade.
    share = np.linspace(0, 1, rate // 100, dtype=np.float32)
    fade = slice(at, at + rate // 100)
    between = plain[:, fade] + share * (mixture - plain)[:, fade]
    assert np.abs(out[:, fade] - between).max() <= 0.01 * np.abs(mixture).max()
