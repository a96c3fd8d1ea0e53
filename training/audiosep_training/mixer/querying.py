"""What a mixture is asked for: one of its sounds by a phrase, its family, or what it lacks."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from audiosep_training.mixer.chance import Chance
from audiosep_training.mixer.vocabulary import Phrasings, Vocabulary

#: How often a query that a mixture does not answer is asked, if nothing else is said.
ABSENT = 0.07
_BY_FAMILY = 0.12
#: Classes that are tried for a query that a mixture does not answer.
_CANDIDATES = 12
#: Two phrasings of one thing are blended this often, and all get a little noise.
_BLENDED, _NOISE = 0.25, 0.012


@dataclasses.dataclass
class DrawnQueries:
    """What is asked.

    Attributes:
        condition: (queries, condition_size) float32 of unit length.
        label: (queries,) class that is asked for, itself or by its family.
        family: (queries,) family that is asked for, -1 for a query for the class.
        absent: (queries,) bool: nothing in the mixture answers.
    """

    condition: Tensor
    label: Tensor
    family: Tensor
    absent: Tensor


class Inquirer:
    """Makes queries.

    Args:
        vocabulary: The words.
        present: Classes that there are sounds of, by their numbers.
        device: Where queries are made.
    """

    def __init__(self, vocabulary: Vocabulary, present: list[int], device: torch.device) -> None:
        self._classes = _Phrases(vocabulary.classes, device)
        self._families = _Phrases(vocabulary.families, device)
        self._conflict = torch.as_tensor(vocabulary.conflict, device=device)
        self._family = torch.as_tensor(vocabulary.family, device=device)
        self._present = torch.tensor(present, device=device)

    def ask(
        self,
        labels: Tensor,
        inside: Tensor,
        wanted: Tensor,
        chance: Chance,
        absent_share: float = ABSENT,
    ) -> DrawnQueries:
        """A query for each mixture.

        A family is asked for only where no other sound of the mixture belongs to it. A class that
        is absent is none that a sound of the mixture could be confused with.

        Args:
            labels: (mixtures, sources) classes.
            inside: (mixtures, sources) bool: which sources are in the mixture.
            wanted: (mixtures,) the source that is asked for; where it is not in the mixture,
                something absent is.
            chance: What is drawn from.
            absent_share: How often something absent is asked for all the same.
        """
        count = len(labels)
        missing = ~inside.gather(1, wanted[:, None])[:, 0]
        tried = self._present[chance.integers(len(self._present), count, _CANDIDATES)]
        clash = self._conflict[tried[:, :, None], labels[:, None]] & inside[:, None]
        clash = clash.any(2)
        chosen = (~clash).float().argmax(1, keepdim=True)
        free = ~clash.gather(1, chosen)[:, 0]
        absent = (chance.happens(absent_share, count) | missing) & free
        # Where nothing absent was found, the first source is always there.
        wanted = torch.where(missing & ~free, 0, wanted)
        label = labels.gather(1, wanted[:, None])[:, 0]
        label = torch.where(absent, tried.gather(1, chosen)[:, 0], label)
        condition = self._classes.draw(label, chance)

        others = inside.clone()
        others.scatter_(1, wanted[:, None], absent[:, None] & inside.gather(1, wanted[:, None]))
        of_label = self._family[label].float()
        family = chance.one_of(of_label)
        taken = (self._family[labels, family[:, None]] & others).any(1)
        broad = chance.happens(_BY_FAMILY, count) & (of_label.sum(1) > 0) & ~taken
        by_family = self._families.draw(family, chance)
        condition = torch.where(broad[:, None], by_family, condition)
        return DrawnQueries(condition, label, torch.where(broad, family, -1), absent)


class _Phrases:
    """Embeddings of the phrasings of numbered things, on a device."""

    def __init__(self, phrasings: Phrasings, device: torch.device) -> None:
        self._embeddings = torch.as_tensor(phrasings.embeddings, device=device).float()
        self._rows = torch.as_tensor(phrasings.rows, device=device).long()
        self._ranges = torch.as_tensor(phrasings.ranges, device=device).long()

    def draw(self, things: Tensor, chance: Chance) -> Tensor:
        """(count,) numbers of things to (count, condition_size) embeddings of unit length."""
        count = len(things)
        first, end = self._ranges[things].unbind(1)
        one, other = (
            self._embeddings[
                self._rows[first + (chance.uniform(0, 1, count) * (end - first)).long()]
            ]
            for _ in range(2)
        )
        share = (chance.uniform(0, 1, count) * chance.happens(_BLENDED, count))[:, None]
        blended = one + share * (other - one)
        blended = blended / blended.norm(dim=1, keepdim=True)
        noisy = blended + _NOISE * chance.normal(*blended.shape)
        return noisy / noisy.norm(dim=1, keepdim=True)
