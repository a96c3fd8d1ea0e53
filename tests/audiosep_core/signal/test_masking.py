"""How masks of one selection give way to those of the next: at a frame, in the middle of a hop."""

import dataclasses

import numpy as np
import pytest

from audiosep_core.model.config import SeparatorConfig
from audiosep_core.signal.masking import Masker
from audiosep_core.signal.selection import Selection
from audiosep_core.signal.timeline import Transition
from audiosep_core.signal.windows import Windows

CONFIG = SeparatorConfig(name="toy", n_fft=1024, hop_length=320, widths=(1,) * 6)


class Constant:
    """Masks that are the first value of their condition, everywhere."""

    def __init__(self):
        self.config = CONFIG
        self.rows = []

    def masks(self, magnitude, conditions):
        self.rows.append(len(conditions))
        masks = np.zeros((len(conditions), 3, *magnitude.shape), np.float32)
        masks[:, 0] = conditions[:, :1, None]
        masks[:, 1] = 1
        return masks


def selection(*levels, strength=1.0):
    conditions = np.array(levels, np.float32)[:, None].repeat(2, 1)
    return Selection(conditions, np.ones(len(levels), np.float32), conditions[:0], strength)


def key(level):
    return selection(level).keys[0]


MAGNITUDE = np.ones((32, CONFIG.bins), np.float32)


def test_strength_changes_at_its_frame_and_costs_no_row():
    network = Constant()
    masker = Masker(network, selection(0.5), Windows(32, 0, 0))
    masker.change(
        Transition(selection(0.5, strength=2.0), at=3700, touches=37, heard=40, released=44)
    )
    first, second = masker.push(np.concatenate([MAGNITUDE, MAGNITUDE]), last=False)
    assert (first[key(0.5)][0].real == 0.5).all()
    assert (second[key(0.5)][0][:8].real == 0.5).all()
    assert (second[key(0.5)][0][8:].real == 0.25).all()
    assert network.rows == [1, 1]


def test_a_query_is_asked_from_the_hop_of_its_frame_until_it_has_faded():
    network = Constant()
    masker = Masker(network, selection(1.0), Windows(32, 0, 0))
    masker.change(Transition(selection(0.25), at=6200, touches=62, heard=65, released=70))
    hops = masker.push(np.concatenate([MAGNITUDE] * 4), last=False)
    assert [set(hop) for hop in hops] == [
        {key(1.0)},
        {key(1.0), key(0.25)},
        {key(1.0), key(0.25)},
        {key(0.25)},
    ]
    assert network.rows == [1, 2, 2, 1]
    assert (hops[3][key(0.25)][0].real == 0.25).all()


@pytest.mark.parametrize("lead", [0, 1, 20, 31])
def test_the_first_hop_ends_where_the_grid_does(lead):
    masker = Masker(Constant(), selection(1.0), Windows(32, 8, 4), lead)
    sizes = []
    for _ in range(100):
        sizes += [len(hop[key(1.0)][0]) for hop in masker.push(MAGNITUDE[:1], last=False)]
    assert sizes == [32 - lead, 32, 32][: len(sizes)]
    sizes += [len(hop[key(1.0)][0]) for hop in masker.push(MAGNITUDE[:0], last=True)]
    assert sum(sizes) == 100


class Silent(Constant):
    """Too late from a call on."""

    def __init__(self, first=0):
        super().__init__()
        self._first = first

    def masks(self, magnitude, conditions):
        known = len(self.rows) < self._first
        return super().masks(magnitude, conditions) if known else None


def without(*levels, negative, **options):
    return dataclasses.replace(
        selection(*levels, **options), negative=selection(negative).conditions
    )


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_until_something_is_separated_the_mixture_passes(strength):
    asked = without(0.25, 0.5, negative=0.75, strength=strength)
    masker = Masker(Silent(), asked, Windows(32, 0, 0))
    (hop,) = masker.push(MAGNITUDE, last=False)
    assert set(hop) == {key(0.25), key(0.5)}
    for factors, top in hop.values():
        assert (factors == 0.5).all() and (top == 0.5).all()


def test_a_late_negative_query_takes_nothing_out():
    masker = Masker(Silent(1), selection(0.25), Windows(32, 0, 0))
    masker.push(MAGNITUDE, last=False)
    masker.change(
        Transition(without(0.25, negative=0.75), at=3200, touches=32, heard=32, released=32)
    )
    (hop,) = masker.push(MAGNITUDE, last=False)
    assert (hop[key(0.25)][0].real == 0.25).all()
