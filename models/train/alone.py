"""What an encoder says by itself, without the fusion model: its own labels measured on its corpus.

From the very vectors that the fusion model reads, which end with what the encoder judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from models import affect, registry
from models.affect import HEADS, Layout
from models.base import Floats
from models.fusion import EMOTIONS
from models.train import metrics, text_report, voice
from models.train.corpora import Sample
from models.train.material import ours
from models.train.metrics import Figures, Integers
from models.train.text_batches import OUTPUTS, TAUGHT, target

SHORT: Final = {"meld_emotions": "emotion", "meld_sentiments": "sentiment"}


def of_texts(
    dataset: str, samples: Sequence[Sample], made: Mapping[str, Floats], source: str
) -> Figures:
    """Of the heads that learned from this corpus; `made` are vectors by the sample's id, `source`
    the encoder's URI. Those of a corpus with one head stand by themselves."""
    facts = affect.read_facts(registry.resolve(source))
    heads = tuple(facts["heads"])
    vectors = np.stack([made[sample.id] for sample in samples])
    layout = Layout(vectors.shape[1] - sum(len(HEADS[head]) for head in heads), heads)
    cuts = [float(facts["cuts"][name]) for name in EMOTIONS]
    targets = np.stack([target(dataset, sample) for sample in samples])
    found = {}
    for head in TAUGHT[dataset]:
        true = targets[:, OUTPUTS.head(head)]
        known = ~np.isnan(true[:, 0])
        if head in heads and known.any():
            answers = text_report.Answers(head, true[known], vectors[known, layout.head(head)])
            found[SHORT.get(head, head)] = text_report.figures_of(answers, cuts)
    return found if len(TAUGHT[dataset]) > 1 else next(iter(found.values()), {})


def of_clips(samples: Sequence[Sample], source: str, cache: Path | None = None) -> Figures:
    """Of a corpus's emotions by its own names; vectors come from the `cache`."""
    return _figures(*voice.judged(registry.resolve(source), samples, cache))


def of_faces(samples: Sequence[Sample], made: Mapping[str, Floats]) -> Figures:
    """Of our seven emotions, whose log-probabilities a vector ends with."""
    named = [sample for sample in samples if ours(sample)]
    vectors = np.stack([made[sample.id] for sample in named])
    true = np.array([EMOTIONS.index(ours(sample)[0]) for sample in named])
    return _figures(true, np.exp(vectors[:, -len(EMOTIONS) :]))


def _figures(true: Integers, shares: Floats) -> Figures:
    said = shares.argmax(axis=1)
    sure = metrics.rounded(ece=metrics.ece(shares.max(axis=1), said == true))
    return {"n": len(true), **metrics.classification(true, said), **sure}
