# ruff: noqa: E501 - a Markdown table has no short lines
"""The model card of the sentiment model, with the figures of the run that made it."""

from __future__ import annotations

from typing import Any, Final

_CARD: Final = """\
# Sentiment and emotion of a conversation: model card

Written by `python -m models.train.sentiment`; revision `{revision}`. The architecture is in
`models/fusion.py`: one small network per modality over frozen encoders, and a product of their
Gaussians with a prior.

## Data and licences

| corpus | used for | terms |
|---|---|---|
| GoEmotions (Demszky et al. 2020), Ekman's emotions | training and validation of the text expert | Apache-2.0 |
| four sets of scored sentences (Hutto and Gilbert 2014) | training and validation of the text expert | MIT |
| EMO-DB (Burkhardt et al. 2005), 8 speakers, acted German | training of the voice expert | free with citation |
| RAVDESS (Livingstone and Russo 2018), 12 speakers, acted English | measuring; may lower the voice expert's trust and sharpness, two numbers; no weight is learned from it | CC BY-NC-SA 4.0 |
| SST-2 dev (Socher et al. 2013), CMU-MOSI transcripts (Zadeh et al. 2016) | measuring only | research |

The film reviews among the scored sets are also SST-2's source: only sentences of SST-2's train part
are learned from (its list of sentences, not its labels), so its dev and test parts are unseen.

An emotion without a score is mapped: joy {polarity}, anger, disgust, fear and sadness -{polarity},
neutral, calm and boredom 0; surprise is unknown in text and 0 in speech. The voice expert hears each
clip twice, as recorded and as a telephone gives it (300-3400 Hz, mu-law).

## Figures

All are of sentences, sets or speakers that the measured network did not learn from; the label's two
cuts and stretch were fitted to the rows `text` and `voice` (EMO-DB) of the labels, and to no other. `coverage_90`
is how often the truth lies in the interval that should hold 90 %; `rmse_of_saying_0` is the error of
the prior alone; `calibration_error` is that of the label's confidence. `unseen_sets` leaves the
whole named set out of training. Voice figures count negative, neutral and positive clips alike.
Hyperparameters were chosen with these validation parts and with RAVDESS in view.

{tables}
### Trust

{trust}

Trust scales an expert's precision, and the number in brackets its emotion evidence. For text it is the
likeliest value on held-out sentences of known and of unseen sets together; for voice the lower of what
unseen EMO-DB speakers and RAVDESS ask for; 0 would silence the expert.

## Limits

- The voice expert learned from 8 actors speaking German. On English that it never heard it orders
  positive before negative better than chance (`sign_auc`) but explains little of the score (`rmse`
  against `rmse_of_saying_0`), and names emotions little better than chance. It knows: its deviation
  stays near the prior's {prior}, its emotions are damped, and a sure text expert outweighs it.
  Acted emotion is stronger than real.
- A speaker's resting voice, or the recording, can be taken for a mood: calmly read English comes out
  slightly negative. Read a window of voice alone by its confidence, not its label.
- Both modalities were calibrated one by one: there is no freely usable corpus here with both.
- The text expert reads single sentences with a frozen encoder: irony and what went before are lost.
  Its sentences are tweets, reviews, editorials and forum posts, not calls. English only.
- Disgust, fear and surprise are rare in the data and poorly told apart.
- Pictures contribute nothing: there is no sentiment data for scenes, and none was invented.
- Not for decisions about people (hiring, credit, discipline).
"""


def model_card(figures: dict[str, Any], polarity: float, prior: float) -> str:
    """The card in Markdown from the figures that `models.train.sentiment.train` returns."""
    return _CARD.format(
        revision=figures["revision"],
        polarity=polarity,
        prior=prior,
        tables="\n".join(_tables(figures)),
        trust=", ".join(
            f"{name} {value} (emotions {figures['sharpness'][name]})"
            for name, value in figures["trust"].items()
        ),
    )


def _tables(figures: dict[str, Any]) -> list[str]:
    text = dict(figures["text"])
    unseen = text.pop("unseen_sets")
    return [
        _table("Text", text),
        _table("Text, unseen sets", unseen),
        _table("Voice", figures["voice"]),
        _table("Labels", figures["labels"]),
        _sentences(figures["sentences"]),
    ]


def _table(title: str, rows: dict[str, dict[str, float]]) -> str:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [
        f"### {title}\n",
        "| | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
        *(
            f"| {name} | " + " | ".join(f"{row[c]:g}" if c in row else "" for c in columns) + " |"
            for name, row in rows.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _sentences(opinions: dict[str, dict[str, Any]]) -> str:
    lines = [
        "### Sentences that a customer might say\n",
        "| | score | deviation | label | emotion |",
    ]
    lines.append("|---|---|---|---|---|")
    for sentence, opinion in opinions.items():
        emotion = max(opinion["emotions"], key=opinion["emotions"].__getitem__)
        lines.append(
            f"| {sentence} | {opinion['score']:+.2f} | {opinion['deviation']:.2f} | "
            f"{opinion['label']} ({opinion['confidence']:.2f}) | {emotion} |"
        )
    return "\n".join(lines) + "\n"
