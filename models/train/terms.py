"""The terms of the corpora: what may be done with weights that learned from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a corpus may be used; `free`: what learned from it may be used by anybody."""

    title: str
    licence: str
    free: bool


TERMS: Final = {
    "meld": Terms("MELD (Poria et al. 2019)", "GPL-3.0", free=False),
    "mosi": Terms("CMU-MOSI (Zadeh et al. 2016)", "research only", free=False),
    "goemotions": Terms("GoEmotions (Demszky et al. 2020)", "Apache-2.0", free=True),
    "sst2": Terms("SST-2 (Socher et al. 2013)", "research only", free=False),
    "scored": Terms("four sets of scored sentences (Hutto and Gilbert 2014)", "MIT", free=True),
    "ravdess": Terms("RAVDESS (Livingstone and Russo 2018)", "CC BY-NC-SA 4.0", free=False),
    "emodb": Terms("EMO-DB (Burkhardt et al. 2005)", "free with citation", free=True),
    "fer2013": Terms("FER2013 (Goodfellow et al. 2013)", "research only", free=False),
    "flickr8k": Terms("Flickr8k (Hodosh et al. 2013)", "research, non-commercial", free=False),
    "coco": Terms(
        "COCO (Lin et al. 2014), a selection", "Creative Commons, per picture", free=True
    ),
    "speech": Terms("short recordings with transcripts", "per recording", free=True),
    "manifest": Terms("own recordings", "the owner's", free=False),
}
