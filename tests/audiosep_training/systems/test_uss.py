"""USS, and the PANNs that ask it and cut its training segments, compute what was released."""

import pytest
import torch

from audiosep_training.systems import build_system
from audiosep_training.systems.uss.anchors import (
    SEGMENT_SAMPLES,
    anchor_starts,
    cut_segments,
    mix_with_next,
)
from audiosep_training.systems.uss.panns import Cnn14, Cnn14DecisionLevelMax
from audiosep_training.systems.uss.queries import class_query, split_pieces, without_silence

CONDITIONS = pytest.mark.parametrize(
    ("condition", "size"), [("embedding", 2048), ("probabilities", 527)]
)
SMALL = (4, 4, 4, 4, 6, 6)


@CONDITIONS
def test_separator_equals_the_released_code(condition, size, filled, reference, names, shapes):
    net = filled(build_system("uss-resunet30", condition=condition))
    expected = {
        name: [shape[0], size] if name.startswith("film.") and name.endswith("weight") else shape
        for name, shape in names("uss-resunet30-keys").items()
    }
    assert shapes(net) == expected
    values = reference(f"uss-resunet30-{condition}")
    with torch.no_grad():
        target = net.separate(values["mixture"][:, 0], values["condition"])
    assert values.error("waveform", target) <= 1e-5


def test_unknown_condition():
    with pytest.raises(ValueError, match="no condition 'text'; take one of embedding, prob"):
        build_system("uss-resunet30", condition="text")


@torch.no_grad()
def test_cnn14_equals_the_released_code(filled, reference, names, shapes):
    net, values = filled(Cnn14()), reference("cnn14")
    assert shapes(net) == names("cnn14-keys")
    tags = net(values["waveform"].float() / 32_768)
    assert values.error("embedding", tags.embedding) <= 1e-5
    assert values.error("clipwise_output", tags.probabilities) <= 1e-5


@torch.no_grad()
def test_event_detector_equals_the_released_code(filled, reference, names, shapes):
    net, values = filled(Cnn14DecisionLevelMax()), reference("cnn14-decision-level-max")
    assert shapes(net) == names("cnn14-keys")
    events = net(values["waveform"].float() / 32_768)
    assert list(events.framewise.shape) == values["framewise_shape"].tolist()
    assert values.error("clipwise_output", events.probabilities) <= 1e-5
    assert values.error("framewise_output_every_20th", events.framewise[:, ::20]) <= 1e-5


def test_anchor_segments_equal_the_released_code(reference):
    values = reference("anchor-segments")
    starts = anchor_starts(values["framewise"], values["class_ids"])
    assert torch.equal(starts, values["bgn_sample"])
    assert torch.equal(starts + SEGMENT_SAMPLES, values["end_sample"])
    assert values.error("mixtures", mix_with_next(values["segments"])) <= 1e-6


def test_segments_are_cut_where_they_start():
    clips = torch.arange(320_000).float().expand(3, -1)
    starts = torch.tensor([0, 320, 256_000])
    segments = cut_segments(clips, starts)
    assert segments.shape == (3, SEGMENT_SAMPLES)
    assert torch.equal(segments[:, 0].long(), starts)
    assert torch.equal(segments[:, -1].long(), starts + SEGMENT_SAMPLES - 1)


def test_mixing_bounds_the_gain():
    segments = torch.stack([torch.ones(100), torch.full((100,), 1e-4), torch.zeros(100)])
    mixtures = mix_with_next(segments)
    assert torch.allclose(mixtures[0] - segments[0], torch.full((100,), 1e-4 / 0.02))
    assert torch.equal(mixtures[1], segments[1])
    assert torch.allclose(mixtures[2], torch.full((100,), 1 / 50))


@pytest.mark.parametrize(
    ("samples", "pieces"), [(0, 0), (1, 1), (64_000, 1), (95_999, 1), (96_000, 2), (128_000, 2)]
)
def test_examples_are_cut_into_pieces(samples, pieces):
    assert split_pieces(torch.ones(samples)).shape == (pieces, SEGMENT_SAMPLES)


def test_class_query_is_the_mean_of_its_pieces():
    net = Cnn14(widths=(4, 4, 4, 4, 4, 8), classes=5).eval()
    sounds = [torch.randn(SEGMENT_SAMPLES), torch.randn(2 * SEGMENT_SAMPLES)]
    with torch.no_grad():
        pieces = net(torch.cat(sounds).reshape(3, -1))
    for condition, rows in zip(("embedding", "probabilities"), pieces, strict=True):
        assert torch.allclose(class_query(net, sounds, condition), rows.mean(0), atol=1e-5)
    with pytest.raises(ValueError, match="one example at least"):
        class_query(net, [torch.zeros(0)])


def test_silence_is_left_out_of_queries():
    loud, quiet = torch.full((3200,), 0.5), torch.full((3200,), 0.01)
    assert torch.equal(without_silence(torch.cat([quiet, loud, quiet, loud])), loud.repeat(2))
    assert not len(without_silence(quiet))


def test_resunet60_doubles_the_residual_blocks():
    net = build_system("uss-resunet60", widths=SMALL)
    kinds = torch.nn.Conv2d | torch.nn.ConvTranspose2d
    main = [
        name
        for name, module in net.base.named_modules()
        if isinstance(module, kinds) and not name.endswith("shortcut")
    ]
    assert len(main) == 60
    mixture, condition = torch.randn(2, 30_000), torch.randn(2, 2048)
    net.eval()
    with torch.no_grad():
        one, other = net.separate(mixture, condition), net.separate(mixture, -condition)
    assert one.shape == mixture.shape and not torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("uss-resunet30", marks=pytest.mark.slow),
        pytest.param("uss-resunet60", marks=pytest.mark.slow),
        "audioset-unet",
    ],
)
def test_training_lowers_its_loss(name):
    """From clips to anchors, mixtures and conditions, as the recipe has it."""
    detector = Cnn14DecisionLevelMax(widths=(4, 4, 4, 4, 4, 8)).eval()
    tagger = Cnn14(widths=(4, 4, 4, 4, 4, 8)).eval()
    time = torch.arange(96_000) / 32_000
    bursts = torch.randn(96_000) * (torch.sin(2 * torch.pi * 8 * time) > 0.6)
    clips = torch.stack([0.3 * torch.sin(2 * torch.pi * 3000 * time), 0.3 * bursts])
    with torch.no_grad():
        starts = anchor_starts(detector(clips).framewise, torch.tensor([3, 4]))
        segments = cut_segments(clips, starts)[:, :10_000]
        probabilities = tagger(segments).probabilities
    # A tagger that knows nothing finds little difference between the two.
    conditions = (probabilities - probabilities.mean(0)).sign()
    mixtures = mix_with_next(segments)
    options = {} if name == "audioset-unet" else {"condition": "probabilities"}
    widths = (4, 4, 4) if name == "audioset-unet" else SMALL
    net = build_system(name, widths=widths, **options)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    losses = []
    for _ in range(50):
        loss = net.loss(mixtures, segments, conditions)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


@pytest.mark.parametrize("name", ["uss-resunet30", "audioset-unet"])
@pytest.mark.parametrize("samples", [0, 1, 500, 5000])
def test_any_length_separates(name, samples):
    widths = (4, 4, 4) if name == "audioset-unet" else SMALL
    net = build_system(name, widths=widths).eval()
    with torch.no_grad():
        target = net.separate(torch.randn(2, samples), torch.randn(2, net.condition_size))
    assert target.shape == (2, samples) and torch.isfinite(target).all()
