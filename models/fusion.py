"""Sentiment and emotion of a conversation, window by window: the whole fusion model.

A step is one window of one track: of a speaker, or of everybody together. Every modality has an
expert: its vector is projected into a common space [width] and judged there, a Gaussian about the
sentiment (-1 to 1) and evidence, in logits, for each emotion and for negative, neutral, positive;
what an encoder concludes is also heeded directly.
A modality that is missing is a learned token and no expert. A gated recurrent unit (Cho et al.,
2014) remembers what was before; its memory fades with the time that passed (Che et al., 2018,
arXiv:1606.01865), and what it leads one to expect is one expert more. The experts' Gaussians are
multiplied with a prior N(0, s0^2) (Hinton 2002; Wu and Goodman 2018, arXiv:1802.05335),

    precision = 1 / s0^2 + sum_m w_m / v_m        mean = sum_m w_m m_m / v_m / precision

so whoever is sure is heard, and a gated residual, which alone sees all of them together, corrects
the product. Several items of a modality in a window are not independent: their weights add up to
at most 1 (a covariance intersection), which is never surer than its parts however much is said.
At last the deviation and the logits are scaled by what the validation part asks for, for each
pattern of modalities that are there.

The network is written once over what numpy and torch share: numpy serves what torch trained
(`models.train.fusion`). It is strictly causal, a window costs the same however long the session is,
and rows of a batch never meet: a result has the same bits alone and in any batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_safetensors

from models.base import Encoder, Floats, ModelError

Array = Any
"""A float32 array of numpy or of torch."""
Integers = npt.NDArray[np.intp]
EMOTIONS: Final = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")
SENTIMENTS: Final = ("negative", "neutral", "positive")
CLASSES: Final = len(EMOTIONS) + len(SENTIMENTS)
CONTEXT: Final = "context"
"""What stands for everything before the window among the contributions."""
LOG_VARIANCE: Final = (-5.0, 8.0)  # from a deviation of 0.08 to one that says nothing
OUTLIER: Final = 4.0  # deviations; a feature farther out is held there
FORGOTTEN_S: Final = 60.0  # an age counts as this at most
WHOLE_S: Final = {"voice": 2.0}
"""Seconds from which a modality counts in full; others do, however short."""
SHORTEST_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Layout:
    """What the network looks like: how many of the last numbers of each modality's vectors it reads
    (encoders put last what they conclude), its own dimensions, and the prior."""

    dimensions: Mapping[str, int]
    width: int = 32
    memory: int = 32
    prior_deviation: float = 0.7

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.dimensions)

    @property
    def seen(self) -> int:
        """What the recurrent unit sees of a window: of each modality its place in the common space,
        whether it is there, its weight and its age."""
        return len(self.dimensions) * (self.width + 3)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The parameters by name."""
        outputs = 2 + CLASSES
        shapes: dict[str, tuple[int, ...]] = {"decay": (self.memory,), "prior": (CLASSES,)}
        for modality, dimension in self.dimensions.items():
            shapes[f"{modality}.shift"] = shapes[f"{modality}.scale"] = (dimension,)
            shapes[f"{modality}.missing"] = (self.width,)
            shapes |= _affine(f"{modality}.project", dimension, self.width)
            shapes |= _affine(f"{modality}.judge", self.width, outputs)
            shapes |= _affine(f"{modality}.heed", dimension, outputs)
        for name, size in (("window", self.seen), ("session", self.memory), ("own", self.memory)):
            shapes |= _affine(f"unit.{name}", size, 3 * self.memory)
        shapes |= _affine("before", 2 * self.memory, outputs)
        for name in ("residual", "gate"):
            shapes |= _affine(name, self.seen + 2 * self.memory, outputs)
        return shapes


@dataclass(frozen=True, slots=True)
class Belief:
    """What experts say of n items or windows: `place` [n, width] in the common space, `mean` [n]
    and `precision` [n] of the sentiment, `logits` [n, CLASSES] of emotions and sentiments."""

    place: Array
    mean: Array
    precision: Array
    logits: Array


@dataclass(frozen=True, slots=True)
class Seen:
    """n windows: beliefs by modality (anything where it is missing), and [n, modalities] of weight
    (0 where missing, at most 1) and age (seconds since it was there)."""

    beliefs: Mapping[str, Belief]
    weight: Array
    age: Array


@dataclass(frozen=True, slots=True)
class Before:
    """What n windows follow: the memories [n, memory] of the track itself and of everybody, and how
    long ago (seconds, [n]) these were made."""

    own: Array
    session: Array
    own_s: Array
    session_s: Array


@dataclass(frozen=True, slots=True)
class Fused:
    """n windows: `mean`, `precision` [n], `logits` [n, CLASSES], `shares` [n, modalities + 1] of
    the experts' precision, the last that of what was before, and the new `memory` [n, memory]."""

    mean: Array
    precision: Array
    logits: Array
    shares: Array
    memory: Array


def _same(x: Array) -> Array:
    return x


@dataclass(frozen=True, slots=True)
class Network:
    """`parameters` by the names and shapes of `layout.shapes()`, arrays of the library `xp`; `drop`
    is the dropout of a training."""

    layout: Layout
    parameters: Mapping[str, Array]
    xp: Any = np
    drop: Callable[[Array], Array] = _same

    def believe(self, modality: str, vectors: Array) -> Belief:
        """What the expert of `modality` says of vectors [n, its dimension or more]."""
        xp, p = self.xp, self.parameters
        read = vectors[..., -self.layout.dimensions[modality] :]
        standard = (read - p[f"{modality}.shift"]) / p[f"{modality}.scale"]
        held = self.drop(xp.clip(standard, -OUTLIER, OUTLIER))
        place = xp.tanh(self._norm(self._affine(f"{modality}.project", held)))
        judged = self._affine(f"{modality}.judge", self.drop(place))
        return Belief(place, *self._judged(judged + self._affine(f"{modality}.heed", held)))

    def step(self, seen: Seen, before: Before) -> Fused:
        """Judges n windows, each by what is seen in it and what was before."""
        xp, layout = self.xp, self.layout
        own = before.own * self._fading(before.own_s)
        session = before.session * self._fading(before.session_s)
        window = self._window(seen)
        memory = self._unit(window, own, session)
        mean, precision, logits = self._judged(self._affine("before", self._join(own, session)))
        weights = [seen.weight[:, i] for i in range(len(layout.modalities))]
        beliefs = [seen.beliefs[m] for m in layout.modalities]
        precisions = [w * b.precision for w, b in zip(weights, beliefs, strict=True)] + [precision]
        means = [*(b.mean for b in beliefs), mean]
        informed = sum(precisions)
        total = informed + layout.prior_deviation**-2
        product = sum(q * m for q, m in zip(precisions, means, strict=True)) / total
        pooled = sum(w[:, None] * b.logits for w, b in zip(weights, beliefs, strict=True))
        residual = self._residual(self._join(window, memory, session))
        return Fused(
            mean=product + residual[:, 0],
            precision=total * xp.exp(residual[:, 1]),
            logits=self.parameters["prior"] + logits + pooled + residual[:, 2:],
            shares=xp.stack([q / informed for q in precisions], -1),
            memory=memory,
        )

    def _fading(self, seconds: Array) -> Array:
        rate = self.xp.log1p(self.xp.exp(self.parameters["decay"]))
        return self.xp.exp(-rate * seconds[:, None])

    def _window(self, seen: Seen) -> Array:
        here = (seen.weight > 0) * self.xp.ones_like(seen.weight)
        places = [
            here[:, i, None] * seen.beliefs[m].place
            + (1 - here[:, i, None]) * self.parameters[f"{m}.missing"]
            for i, m in enumerate(self.layout.modalities)
        ]
        age = self.xp.log1p(self.xp.clip(seen.age, 0, FORGOTTEN_S)) / float(np.log1p(FORGOTTEN_S))
        return self.drop(self._join(*places, here, seen.weight, age))

    def _unit(self, window: Array, own: Array, session: Array) -> Array:
        n = self.layout.memory
        new = self._affine("unit.window", window) + self._affine("unit.session", session)
        old = self._affine("unit.own", own)
        reset = self._sigmoid(new[:, :n] + old[:, :n])
        keep = self._sigmoid(new[:, n : 2 * n] + old[:, n : 2 * n])
        return (1 - keep) * self.xp.tanh(new[:, 2 * n :] + reset * old[:, 2 * n :]) + keep * own

    def _residual(self, everything: Array) -> Array:
        gate = self._sigmoid(self._affine("gate", everything))
        return gate * self.xp.tanh(self._affine("residual", self.drop(everything)))

    def _judged(self, output: Array) -> tuple[Array, Array, Array]:
        precision = self.xp.exp(-self.xp.clip(output[..., 1], *LOG_VARIANCE))
        return self.xp.tanh(output[..., 0]), precision, output[..., 2:]

    def _affine(self, name: str, x: Array) -> Array:
        """Row by row: numpy calls BLAS for each with the same shapes, whatever the batch."""
        rows = x[..., None, :] @ self.parameters[f"{name}.weight"]
        return rows[..., 0, :] + self.parameters[f"{name}.bias"]

    def _norm(self, x: Array) -> Array:
        centred = x - x.mean(-1)[..., None]
        return centred / self.xp.sqrt((centred * centred).mean(-1)[..., None] + 1e-5)

    def _sigmoid(self, x: Array) -> Array:
        return (1 + self.xp.tanh(x / 2)) / 2

    def _join(self, *parts: Array) -> Array:
        return self.xp.concatenate(parts, -1)


def _affine(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}


@dataclass(frozen=True, slots=True)
class Item:
    """One feature of a window: `vector` [dimension] of `modality`.

    `seconds` is how long it lasted, or 0 where it has no length (a typed message, a face).
    """

    id: str
    modality: str
    vector: Floats
    encoder: str
    revision: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Track:
    """What is remembered of a speaker, or of everybody: the `memory` [memory], when that was made,
    and when each modality was last there (seconds; None: never)."""

    memory: bytes = b""
    at: float | None = None
    last: Mapping[str, float] = field(default_factory=dict[str, float])

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON values; the memory has 16 bits a number from the start."""
        return {"memory": self.memory.hex(), "at": self.at, "last": dict(self.last)}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        return cls(bytes.fromhex(state["memory"]), state["at"], dict(state["last"]))


NOTHING: Final = Track()


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a track that ends at `end` (seconds), what is in it, and what is remembered of
    that track and of everybody (the same where it is everybody's)."""

    items: Sequence[Item]
    end: float = 0.0
    own: Track = NOTHING
    session: Track = NOTHING


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a window says: `score` -1 (negative) to 1 (positive) with its standard deviation.

    `confidence` is the probability that `label` is right. `contributions`, per modality and of the
    `CONTEXT`, are shares of the experts' precision and sum to 1; `evidence` divides those of the
    modalities among the items by id. `track` is what is to be remembered from now on.
    """

    score: float
    deviation: float
    label: str
    confidence: float
    emotions: dict[str, float]
    contributions: dict[str, float]
    evidence: tuple[tuple[str, float], ...]
    track: Track = NOTHING


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of a pattern of modalities: the deviation is multiplied by `stretch`, so that 90 % of the
    truths lie within 1.645 of it; logits are divided by the temperatures (Guo et al., 2017)."""

    stretch: float = 1.0
    emotions: float = 1.0
    sentiments: float = 1.0


UNCALIBRATED: Final = Calibration()


@dataclass(frozen=True, slots=True)
class FusionModel:
    """Windows to opinions. `encoders` are those, by modality, whose vectors it was trained on;
    `calibration` is by pattern ("text+voice"); `cuts` part the scores into labels; `thresholds`
    are the probabilities from which an emotion is said to be there, beside others."""

    network: Network
    encoders: Mapping[str, Encoder]
    calibration: Mapping[str, Calibration]
    cuts: tuple[float, float]
    thresholds: Mapping[str, float]
    revision: str

    @classmethod
    def load(cls, path: Path) -> Self:
        """The model in directory `path`, from `model.json` and `model.safetensors`.

        The revision is a digest of both. Raises ModelError where they are missing or malformed.
        """
        try:
            description = (path / "model.json").read_bytes()
            tensors = (path / "model.safetensors").read_bytes()
            facts = json.loads(description)
            if (facts["emotions"], facts["sentiments"]) != (list(EMOTIONS), list(SENTIMENTS)):
                raise ValueError("other emotions or sentiments than ours")
            low, high = map(float, facts["cuts"])
            return cls(
                network=_network(Layout(**facts["layout"]), load_safetensors(tensors)),
                encoders={name: Encoder(**each) for name, each in facts["encoders"].items()},
                calibration={k: Calibration(**v) for k, v in facts["calibration"].items()},
                cuts=(low, high),
                thresholds={name: float(facts["thresholds"][name]) for name in EMOTIONS},
                revision=hashlib.sha256(description + tensors).hexdigest()[:12],
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"no usable fusion model in {path} ({error}); train one with tenor train fusion"
            ) from error

    def label(self, score: float) -> str:
        """What a mean of scores is called."""
        return SENTIMENTS[int(score >= self.cuts[0]) + int(score > self.cuts[1])]

    def named(self, emotions: Mapping[str, float]) -> list[str]:
        """The emotions, of these probabilities, that are said to be there: the likeliest one, and
        all that reach their thresholds."""
        likeliest = max(EMOTIONS, key=emotions.__getitem__)
        return [e for e in EMOTIONS if e == likeliest or emotions[e] >= self.thresholds[e]]

    def check(self, item: Item) -> None:
        """Raises ModelError for a vector of another encoder than was trained on."""
        trained = self.encoders[item.modality]
        known = (trained.id, trained.revision, trained.dimension)
        if (item.encoder, item.revision, *item.vector.shape) != known:
            made = Encoder(item.encoder, item.revision, len(item.vector))
            raise ModelError(f"item {item.id} was made by {made}, but trained on was {trained}")

    def judge(self, windows: Sequence[Window]) -> list[Opinion | None]:
        """One opinion per window, independent of the others; None where nothing can be scored.

        Items of a modality that was not trained on are passed over. Raises ModelError for an item
        of an encoder that was not trained on.
        """
        found: dict[str, list[tuple[int, Item]]] = {m: [] for m in self.encoders}
        for n, window in enumerate(windows):
            for item in window.items:
                if item.modality in found:
                    self.check(item)
                    found[item.modality].append((n, item))
        if not any(found.values()):
            return [None] * len(windows)
        modalities = self.network.layout.modalities
        pools = {m: self._pool(m, found[m], len(windows)) for m in modalities}
        seen = Seen(
            beliefs={m: pool.belief for m, pool in pools.items()},
            weight=np.stack([pool.weight for pool in pools.values()], -1),
            age=_since(windows, [[w.own.last.get(m) for m in modalities] for w in windows]),
        )
        return self._opinions(windows, pools, self.network.step(seen, self._before(windows)))

    def _pool(self, modality: str, found: Sequence[tuple[int, Item]], windows: int) -> Pool:
        """What a modality's items of each window say together: sums by window, in their order."""
        items, place = [item for _, item in found], np.array([n for n, _ in found], np.intp)
        read = self.network.layout.dimensions[modality]
        vectors = np.array([item.vector[-read:] for item in items], np.float32).reshape(-1, read)
        each = self.network.believe(modality, vectors)

        def summed(values: Floats) -> Floats:
            sums = np.zeros((windows, *values.shape[1:]), np.float32)
            np.add.at(sums, place, values)
            return sums

        weights = weights_of(modality, [item.seconds for item in items], place)
        sure = weights * each.precision
        weight, precision = summed(weights), summed(sure)
        share = np.where(weight > 0, weight, 1)
        belief = Belief(
            place=summed(weights[:, None] * each.place) / share[:, None],
            mean=summed(sure * each.mean) / np.where(precision > 0, precision, 1),
            precision=precision / share,
            logits=summed(weights[:, None] * each.logits) / share[:, None],
        )
        shares = np.divide(sure, precision[place], dtype=np.float64)
        return Pool(belief, weight, place, [item.id for item in items], shares)

    def _before(self, windows: Sequence[Window]) -> Before:
        own, session = [w.own for w in windows], [w.session for w in windows]
        since = _since(windows, [(w.own.at, w.session.at) for w in windows])
        return Before(self._memories(own), self._memories(session), since[:, 0], since[:, 1])

    def _memories(self, tracks: Sequence[Track]) -> Floats:
        """[n, memory]; one of another size is another network's, and as good as none."""
        size = self.network.layout.memory
        none = bytes(2 * size)
        whole = b"".join(t.memory if len(t.memory) == len(none) else none for t in tracks)
        return np.frombuffer(whole, "<f2").reshape(-1, size).astype(np.float32)

    def _opinions(
        self, windows: Sequence[Window], pools: Mapping[str, Pool], fused: Fused
    ) -> list[Opinion | None]:
        """Numbers of all windows leave numpy at once, which is slow where each is asked for."""
        weights = zip(*(pool.weight.tolist() for pool in pools.values()), strict=True)
        here = [[m for m, w in zip(pools, ws, strict=True) if w > 0] for ws in weights]
        scales = [self.calibration.get("+".join(names), UNCALIBRATED) for names in here]
        temperatures = np.array([(s.emotions, s.sentiments) for s in scales], np.float32)
        emotions = softmax(fused.logits[:, : len(EMOTIONS)] / temperatures[:, :1]).tolist()
        sentiments = softmax(fused.logits[:, len(EMOTIONS) :] / temperatures[:, 1:])
        said, confidence = sentiments.argmax(-1).tolist(), sentiments.max(-1).tolist()
        score, precision = np.clip(fused.mean, -1, 1).tolist(), fused.precision.tolist()
        shares, memory = fused.shares.tolist(), fused.memory.astype("<f2")
        evidence = _evidence(pools, fused)

        def opinion(n: int) -> Opinion:
            share = dict(zip((*pools, CONTEXT), shares[n], strict=True))
            end, last = windows[n].end, windows[n].own.last
            return Opinion(
                score=score[n],
                deviation=scales[n].stretch * precision[n] ** -0.5,
                label=SENTIMENTS[said[n]],
                confidence=confidence[n],
                emotions=dict(zip(EMOTIONS, emotions[n], strict=True)),
                contributions={name: share[name] for name in (*here[n], CONTEXT)},
                evidence=tuple(evidence[n]),
                track=Track(memory[n].tobytes(), end, {**last, **dict.fromkeys(here[n], end)}),
            )

        return [opinion(n) if names else None for n, names in enumerate(here)]


@dataclass(frozen=True, slots=True)
class Pool:
    """What n windows hold of a modality: belief and weight [n]. And of each item the `place` of its
    window among these, its id, and its share of what the modality is sure of there."""

    belief: Belief
    weight: Floats
    place: Integers
    ids: Sequence[str]
    shares: npt.NDArray[np.float64]


def _evidence(pools: Mapping[str, Pool], fused: Fused) -> list[list[tuple[str, float]]]:
    """By window the items' ids, with their shares of all experts' precision."""
    evidence: list[list[tuple[str, float]]] = [[] for _ in fused.mean]
    for i, pool in enumerate(pools.values()):
        shares = (pool.shares * fused.shares[pool.place, i]).tolist()
        for n, id_, share in zip(pool.place.tolist(), pool.ids, shares, strict=True):
            evidence[n].append((id_, share))
    return evidence


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits [n, classes]."""
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(odds / odds.sum(-1, keepdims=True), np.float32)


def weights_of(modality: str, seconds: Sequence[float], place: Integers) -> Floats:
    """Of a modality's items, by their lengths and the `place` of each one's window among all: in a
    window in all at most 1 and never 0."""
    whole = WHOLE_S.get(modality)
    lengths = np.maximum(seconds, SHORTEST_S if whole else 1.0)
    longest = np.maximum(np.bincount(place, lengths), whole or 1.0)
    return np.asarray(lengths / longest[place], np.float32)


def _since(windows: Sequence[Window], then: Sequence[Sequence[float | None]]) -> Floats:
    """How long before the ends of n windows some times of each were (seconds, [n, times]); None,
    which numpy reads as not a number, was never."""
    ends = np.array([window.end for window in windows])
    seconds = np.maximum(ends[:, None] - np.array(then, np.float64), 0)
    return np.where(np.isnan(seconds), FORGOTTEN_S, seconds).astype(np.float32)


def _network(layout: Layout, tensors: Mapping[str, Floats]) -> Network:
    """The network with float32 copies of the tensors. Raises ValueError where they do not fit."""
    parameters = {name: np.asarray(each, np.float32) for name, each in tensors.items()}
    if {name: each.shape for name, each in parameters.items()} != layout.shapes():
        raise ValueError("the tensors do not fit the layout")
    return Network(layout, parameters)
