/** What is drawn along time: pure functions from windows to marks on a canvas. */

import { CERTAIN, EMOTIONS, MODALITIES, after } from './model.js';
import { ink } from './voices.js';

/** From a time to a place on a canvas of some width. */
export class Scale {
  constructor(from, to, width) {
    Object.assign(this, { from, to, width, perMs: width / Math.max(1, to - from) });
  }

  x(time) {
    return (time - this.from) * this.perMs;
  }

  time(x) {
    return this.from + x / this.perMs;
  }
}

/** The windows that a scale shows, with one more on each side so that lines go on. */
export function visible(windows, { from, to }) {
  return windows.slice(Math.max(0, after(windows, from) - 2), after(windows, to) + 1);
}

/**
 * Windows as columns {x, left, right, ...values}: several that share a pixel or two become one,
 * of their means. `read` gives the numbers of a window.
 */
export function columns(windows, scale, read, width = 2) {
  const made = [];
  let sum = null;
  for (const window of visible(windows, scale)) {
    const [left, right, values] = [scale.x(window.start), scale.x(window.end), read(window)];
    if (sum && right - sum.left < width) add(sum, right, values, window);
    else made.push((sum = { left, right, values: [...values], count: 1, window }));
  }
  for (const column of made) {
    column.values = column.values.map((value) => value / column.count);
    column.x = (column.left + column.right) / 2;
  }
  return made;
}

function add(sum, right, values, window) {
  Object.assign(sum, { right, window, count: sum.count + 1 });
  values.forEach((value, i) => (sum.values[i] += value));
}

/** Columns in stretches without a hole of more than a window's length between them. */
export function stretches(made) {
  const found = [];
  for (const column of made) {
    const before = found.at(-1)?.at(-1);
    const length = column.right - column.left;
    if (before && column.left - before.right <= Math.max(length, 2)) found.at(-1).push(column);
    else found.push([column]);
  }
  return found;
}

/** A line through a stretch: from its left edge through the middles to its right edge. */
function path(stretch, value) {
  const [first, last] = [stretch[0], stretch.at(-1)];
  const middles = stretch.map((column) => [column.x, value(column)]);
  return [[first.left, value(first)], ...middles, [last.right, value(last)]];
}

function trace(pen, points) {
  points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
}

const clamp = (score) => Math.max(-1, Math.min(1, score));

/** Scores with the band in which 90 % of the truths are; the line has the mood's colour. */
export function sentiment(pen, { scale, height, voice, colour, chosen }) {
  const y = (score) => 3 + ((1 - clamp(score)) * (height - 6)) / 2;
  rule(pen, scale.width, y(0));
  const read = ({ score, deviation }) => [score, deviation * CERTAIN];
  const made = columns(voice.windows, scale, read);
  for (const stretch of stretches(made)) {
    const high = path(stretch, ({ values: [score, more] }) => y(score + more));
    const low = path(stretch, ({ values: [score, more] }) => y(score - more));
    pen.globalAlpha = 0.17;
    pen.fillStyle = colour;
    pen.beginPath();
    trace(pen, [...high, ...low.reverse()]);
    pen.fill();
    pen.globalAlpha = 1;
    pen.strokeStyle = moods(pen, y);
    pen.lineWidth = 2;
    pen.lineJoin = 'round';
    pen.beginPath();
    trace(pen, path(stretch, ({ values: [score] }) => y(score)));
    pen.stroke();
  }
  for (const column of made) point(pen, column, y, chosen);
}

function moods(pen, y) {
  const fill = pen.createLinearGradient(0, y(1), 0, y(-1));
  const stops = [[0, 'positive'], [0.4, 'positive'], [0.5, 'neutral'], [0.6, 'negative'], [1, 'negative']];
  for (const [place, name] of stops) fill.addColorStop(place, ink(name));
  return fill;
}

/** Windows are points where there is room for them: hollow as long as they may change. */
function point(pen, { x, left, right, count, values: [score], window }, y, chosen) {
  const picked = window.start === chosen;
  if (!picked && (count > 1 || right - left < 9)) return;
  pen.beginPath();
  pen.arc(x, y(score), picked ? 5 : 2.8, 0, 7);
  pen.fillStyle = window.final ? moods(pen, y) : ink('surface');
  pen.fill();
  pen.lineWidth = picked ? 2.5 : 1.5;
  pen.strokeStyle = picked ? ink('text') : moods(pen, y);
  pen.stroke();
}

function rule(pen, width, y) {
  pen.fillStyle = ink('line');
  pen.fillRect(0, Math.round(y), width, 1);
}

export const EMOTION_HEIGHT = 18.4;
const REACHES = [0.25, 0.5, 0.75];

/** Each emotion has a row of its own, and its probability is the height in it; returns what
probability the rows reach to. */
export function emotions(pen, { scale, voice }) {
  const made = columns(voice.windows, scale, (window) => EMOTIONS.map((name) => window.emotions[name] ?? 0));
  const highest = Math.max(0, ...made.flatMap(({ values }) => values));
  const reach = REACHES.find((each) => each >= highest) ?? 1;
  EMOTIONS.forEach((name, row) => {
    const bottom = (row + 1) * EMOTION_HEIGHT - 1;
    rule(pen, scale.width, bottom);
    pen.fillStyle = ink(name);
    for (const { left, right, values } of made) {
      const height = (values[row] / reach) * (EMOTION_HEIGHT - 3);
      pen.fillRect(left, bottom - height, Math.max(1, right - left - 0.6), height);
    }
  });
  return reach;
}

/** Shares of the modalities, stacked to the full height, a line of the surface between them. */
export function contributions(pen, { scale, height, voice }) {
  const read = (window) => MODALITIES.map((name) => window.contributions[name] ?? 0);
  for (const { left, right, values } of columns(voice.windows, scale, read)) {
    let top = 0;
    const width = Math.max(1, right - left - 0.6);
    MODALITIES.forEach((name, i) => {
      pen.fillStyle = ink(`mod-${name}`);
      pen.fillRect(left, top * height, width, Math.max(0, values[i] * height - 1));
      top += values[i];
    });
  }
}

export const TALK_HEIGHT = 18.4;

/** Who speaks when; gaps as outlines; what was typed and shown as marks below. */
export function talk(pen, { scale, rows, items }) {
  rows.forEach(({ voice, colour }, row) => {
    const top = row * TALK_HEIGHT + 3;
    pen.fillStyle = colour;
    for (const { start, end } of visible(voice.spoken, scale)) {
      pen.fillRect(scale.x(start), top, Math.max(1, scale.x(end) - scale.x(start)), TALK_HEIGHT - 6);
    }
    pen.strokeStyle = ink('muted');
    pen.lineWidth = 1;
    pen.setLineDash([2, 2]);
    for (const { start, end } of visible(voice.gaps, scale)) {
      pen.strokeRect(scale.x(start) + 0.5, top + 0.5, Math.max(1, scale.x(end) - scale.x(start) - 1), TALK_HEIGHT - 7);
    }
    pen.setLineDash([]);
  });
  const middle = rows.length * TALK_HEIGHT + TALK_HEIGHT / 2;
  for (const { kind, start } of items) {
    pen.fillStyle = ink(kind === 'picture' ? 'mod-image' : 'mod-text');
    pen.beginPath();
    if (kind === 'picture') pen.rect(scale.x(start) - 3.5, middle - 3.5, 7, 7);
    else pen.arc(scale.x(start), middle, 3.5, 0, 7);
    pen.fill();
  }
}

const LABEL = 16; // half a name, in pixels

/** Times for the marks of an axis, as far apart as there is room for their names. */
export function ticks({ from, to, width }, zero, room = 72) {
  const least = ((to - from) / Math.max(1, width)) * room;
  const step = STEPS.find((each) => each >= least) ?? STEPS.at(-1);
  const made = [];
  const last = to - zero - (least * LABEL) / room; // whose name is not cut off at the edge
  for (let time = Math.ceil((from - zero) / step) * step; time <= last; time += step) made.push(time + zero);
  return made;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400].map((s) => s * 1000);
