/** Scores as they are shown everywhere: a signed number on a tint, and small lines of them. */

import { h, mark, say, svg } from './dom.js';
import { signed } from './format.js';

const NEUTRAL = 0.15;

/** The colour's word of a score where no label came with it. */
export function moodOf(score) {
  if (score === null || score === undefined) return 'none';
  if (Math.abs(score) < NEUTRAL) return 'neutral';
  return score < 0 ? 'negative' : 'positive';
}

export const scoreBox = () => h('span', { class: 'score', 'data-mood': 'none' }, '–');

export function showScore(box, score, label) {
  const there = score !== null && score !== undefined;
  say(box, there ? signed(score) : '–');
  mark(box, 'data-mood', there ? label || moodOf(score) : 'none');
  if (there) box.style.setProperty('--tint', `${Math.round(8 + Math.abs(score) * 14)}%`);
}

const [WIDTH, HEIGHT] = [104, 27];

/** A line of scores between -1 and 1 around a zero axis. */
export class Spark {
  #line = svg('polyline', { points: '' });
  #dot = svg('path');
  #points = '';

  constructor() {
    const axis = svg('line', { class: 'axis', x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 });
    const box = `0 0 ${WIDTH} ${HEIGHT}`;
    this.element = svg(
      'svg',
      { class: 'spark', viewBox: box, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      axis,
      this.#line,
      this.#dot,
    );
  }

  show(scores) {
    const step = WIDTH / Math.max(1, scores.length - 1);
    const y = (score) => ((1 - score) * HEIGHT) / 2;
    const places = scores.map((score, i) => `${(i * step).toFixed(1)},${y(score).toFixed(1)}`);
    const points = places.join(' ');
    if (points === this.#points) return;
    this.#points = points;
    this.#line.setAttribute('points', points);
    this.#dot.setAttribute('d', places.length ? `M${places.at(-1)}h0` : '');
  }
}
