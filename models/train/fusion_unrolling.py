"""Conversations side by side, and how the network of `models.fusion` goes through them in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.fusion import FORGOTTEN_S, Before, Belief, Fused, Layout, Network, Seen
from models.train.fusion_steps import UNKNOWN, Steps
from models.train.metrics import Integers


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Sessions side by side, [sessions, steps, ..] as in `Steps`. `rows` are the samples' numbers
    there; what is padded is `UNKNOWN`, weighs nothing and counts 0."""

    rows: Tensor
    vectors: dict[str, Tensor]
    weight: Tensor
    end: Tensor
    speaker: Tensor
    score: Tensor
    emotions: Tensor
    sentiment: Tensor
    counts: Tensor


def batches(steps: Steps, size: int, random: np.random.Generator | None) -> Iterator[Batch]:
    """All sessions, about `size` samples at a time; long ones with long ones, in random order."""
    sessions = sorted(steps.sessions(), key=len)
    groups: list[list[Integers]] = [[]]
    for session in sessions:
        if groups[-1] and (len(groups[-1]) + 1) * len(session) > size:
            groups.append([])
        groups[-1].append(session)
    order = random.permutation(len(groups)) if random else range(len(groups))
    for number in order:
        yield _batch(steps, groups[number])


def _batch(steps: Steps, sessions: Sequence[Integers]) -> Batch:
    longest = max(map(len, sessions))
    rows = np.stack([np.pad(s, (0, longest - len(s)), constant_values=s[0]) for s in sessions])
    real = np.stack([np.arange(longest) < len(s) for s in sessions])

    def tensor(values: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values[rows]))

    return Batch(
        rows=torch.from_numpy(np.where(real, rows, UNKNOWN)),
        vectors={m: tensor(v) for m, v in steps.vectors.items()},
        weight=tensor(steps.weight) * torch.from_numpy(real)[..., None],
        end=tensor(steps.end),
        speaker=tensor(steps.speaker),
        score=tensor(steps.score),
        emotions=tensor(steps.emotions),
        sentiment=tensor(steps.sentiment),
        counts=tensor(steps.counts) * torch.from_numpy(real),
    )


def unrolled(network: Network, batch: Batch) -> tuple[Fused, dict[str, Belief]]:
    """What the network says of a batch, [sessions * steps * tracks], and the experts' beliefs,
    [sessions, steps]. Sessions of one step have one track, others the speaker's and everybody's."""
    sessions, steps = batch.end.shape
    beliefs = {
        m: _shaped(network.believe(m, v.flatten(0, 1)), sessions, steps)
        for m, v in batch.vectors.items()
    }
    tracks = _Tracks(network.layout, batch)
    said = [
        tracks.step(network, {m: _now(b, t) for m, b in beliefs.items()}, t) for t in range(steps)
    ]
    stacked = (torch.stack([getattr(each, name) for each in said]) for name in Fused.__slots__)
    return Fused(*stacked), beliefs


def _shaped(belief: Belief, *shape: int) -> Belief:
    return Belief(*(getattr(belief, n).unflatten(0, shape) for n in Belief.__slots__))


def _now(belief: Belief, t: int) -> Belief:
    return Belief(*(getattr(belief, n)[:, t] for n in Belief.__slots__))


class _Tracks:
    """What is remembered of the speakers of a batch; the last one is everybody."""

    def __init__(self, layout: Layout, batch: Batch) -> None:
        sessions, steps = batch.end.shape
        self.batch = batch
        self.both = steps > 1
        speakers = int(batch.speaker.max()) + 2
        self.memory = torch.zeros(sessions, speakers, layout.memory)
        self.at = torch.full((sessions, speakers), -FORGOTTEN_S)
        self.last = torch.full((sessions, speakers, len(layout.modalities)), -1e6)
        self.numbers = torch.arange(speakers)
        self.rows = torch.arange(sessions)

    def step(self, network: Network, beliefs: Mapping[str, Belief], t: int) -> Fused:
        batch, rows, now = self.batch, self.rows, self.batch.end[:, t]
        tracks = [batch.speaker[:, t]]
        tracks += [torch.full_like(tracks[0], int(self.numbers[-1]))] * self.both
        age = torch.cat([now[:, None] - self.last[rows, track] for track in tracks])
        weight = torch.cat([batch.weight[:, t]] * len(tracks))
        seen = Seen({m: _twice(b, len(tracks)) for m, b in beliefs.items()}, weight, age.clamp(0))
        session, session_s = self.memory[:, -1], (now - self.at[:, -1]).clamp(0)
        before = Before(
            own=torch.cat([self.memory[rows, track] for track in tracks]),
            session=torch.cat([session] * len(tracks)),
            own_s=torch.cat([(now - self.at[rows, track]).clamp(0) for track in tracks]),
            session_s=torch.cat([session_s] * len(tracks)),
        )
        fused = network.step(seen, before)
        for track, memory in zip(tracks, fused.memory.split(len(rows)), strict=True):
            self._remember(track, memory, t)
        return fused

    def _remember(self, track: Tensor, memory: Tensor, t: int) -> None:
        here = self.batch.weight[:, t] > 0
        chosen = (self.numbers == track[:, None]) & here.any(-1, keepdim=True)
        now = self.batch.end[:, t, None]
        self.memory = torch.where(chosen[..., None], memory[:, None], self.memory)
        self.at = torch.where(chosen, now, self.at)
        self.last = torch.where(chosen[..., None] & here[:, None], now[..., None], self.last)


def _twice(belief: Belief, times: int) -> Belief:
    return Belief(*(torch.cat([getattr(belief, n)] * times) for n in Belief.__slots__))
