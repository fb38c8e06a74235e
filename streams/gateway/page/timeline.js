/** How a conversation goes, along its time: mood, emotions, what that rests on, and who speaks.

The axis is a slider, so that everything that can be pointed at can be reached and read by keys. */

import { arrange, eachFrame, h, mark, say } from './dom.js';
import { clock, likeliest, percent, signed, speaker, voice as voiceName } from './format.js';
import * as lanes from './lanes.js';
import { EMOTIONS, MODALITIES } from './model.js';
import { showScore, scoreBox } from './scores.js';
import { ink } from './voices.js';

const RANGES = { All: Infinity, '10 min': 600_000, '2 min': 120_000 };
const LEAST_MS = 30_000;
const FRESH_MS = 250;
const SENTIMENT_HEIGHT = 66;
const SHARES_HEIGHT = 44;

export class Timeline {
  #conversation;
  #palette;
  #choose;
  #lanes = [];
  #cards = new Map();
  #shown = '';
  #speaker = null;
  #cursor = null;
  #length = Infinity;
  #begin = null;
  #chosen = null;
  #scale = new lanes.Scale(0, 1, 1);
  #drawn = 0;
  #waits = 0;
  redraw = eachFrame(() => this.#draw());

  /** `choose` is told of a window on which somebody clicked, with its voice. */
  constructor(conversation, palette, choose) {
    this.#conversation = conversation;
    this.#palette = palette;
    this.#choose = choose;
    this.#build();
    this.size = new ResizeObserver(this.redraw);
    this.size.observe(this.plot);
    document.addEventListener('colours', this.redraw);
  }

  close() {
    this.size.disconnect();
    document.removeEventListener('colours', this.redraw);
    this.redraw.cancel();
    clearTimeout(this.#waits);
  }

  /** Draws what is new; not at once, if that was done just now. */
  refresh() {
    const since = performance.now() - this.#drawn;
    if (since >= FRESH_MS) this.redraw();
    else this.#waits ||= setTimeout(this.redraw, FRESH_MS - since);
  }

  /** Marks a window as chosen. */
  choose(channel, window) {
    this.#chosen = window && { channel, start: window.start };
    if (channel !== null && window) this.#speaker = channel;
    this.redraw();
  }

  /** Puts the cursor on a time, and the time into view. */
  goTo(time) {
    this.#cursor = time;
    if (this.#length < Infinity && (time < this.#scale.from || time > this.#scale.to)) {
      this.#begin = time - this.#length / 2;
    }
    this.redraw();
  }

  #build() {
    this.nows = h('div', { class: 'nows', role: 'group', 'aria-label': 'Mood now' });
    this.axis = h('div', {
      class: 'axis',
      role: 'slider',
      tabindex: 0,
      'aria-label': 'Time, to read the values',
      'aria-valuemin': 0,
      onkeydown: (event) => this.#key(event),
      onfocus: () => this.redraw(),
    });
    this.hairTime = h('span');
    this.hair = h('div', { class: 'hair', hidden: true }, this.hairTime);
    this.plot = h('div', { class: 'plot' }, this.axis, this.hair);
    this.ranges = Object.keys(RANGES).map((name) =>
      h('button', { type: 'button', 'aria-pressed': name === 'All', onclick: () => this.#zoom(name) }, name),
    );
    this.pan = h('input', { type: 'range', min: 0, max: 1000, hidden: true, 'aria-label': 'Move through time', oninput: () => this.#move() });
    const choice = h('div', { class: 'choice', role: 'group', 'aria-label': 'How much time' }, this.ranges);
    this.range = h('div', { class: 'range' }, choice, this.pan);
    this.speakers = h('div', { class: 'choice', role: 'group', 'aria-label': 'Whose emotions' });
    for (const [name, act] of Object.entries(this.#pointer)) this.plot.addEventListener(name, act);
  }

  #pointer = {
    pointermove: (event) => this.#point(event),
    pointerleave: () => {
      this.#cursor = null;
      this.redraw();
    },
    click: (event) => {
      if (!event.target.closest('canvas, .axis')) return;
      this.#point(event);
      this.#pick(event.target.closest('.lane')?.dataset.channel);
    },
  };

  #point(event) {
    const { left } = this.axis.getBoundingClientRect();
    if (event.clientX < left) return;
    this.#cursor = this.#scale.time(event.clientX - left);
    this.redraw();
  }

  #pick(channel = this.#speaker) {
    const voice = this.#conversation.voices.get(channel);
    const window = voice?.at(this.#cursor ?? Infinity);
    if (window) this.#choose(channel, window);
  }

  #key(event) {
    const voice = this.#conversation.voices.get(this.#speaker);
    const { windows } = voice || { windows: [] };
    if (!windows.length) return;
    const place = windows.indexOf(voice.at(this.#cursor ?? Infinity));
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 12, PageDown: -12, Home: -Infinity, End: Infinity };
    if (event.key === 'Enter' || event.key === ' ') this.#pick();
    else if (event.key in steps) {
      const next = Math.max(0, Math.min(windows.length - 1, place + steps[event.key]));
      this.goTo((windows[next].start + windows[next].end) / 2);
    } else return;
    event.preventDefault();
  }

  #zoom(name) {
    this.#length = RANGES[name];
    this.#begin = null;
    for (const button of this.ranges) button.setAttribute('aria-pressed', button.textContent === name);
    this.redraw();
  }

  /** The slider at its right end follows what comes. */
  #move() {
    const { origin, end } = this.#conversation;
    const room = Math.max(0, end - origin - this.#length);
    this.#begin = Number(this.pan.value) >= 1000 ? null : origin + (room * this.pan.value) / 1000;
    this.redraw();
  }

  #rescale() {
    const { origin, end } = this.#conversation;
    const width = this.axis.clientWidth;
    const last = Math.max(end, origin + LEAST_MS);
    const from = last - origin <= this.#length ? origin : this.#begin ?? last - this.#length;
    this.#scale = new lanes.Scale(from, Math.min(last, from + this.#length), width);
    this.pan.hidden = last - origin <= this.#length;
    const place = (from - origin) / Math.max(1, last - origin - this.#length);
    if (document.activeElement !== this.pan || this.#begin === null) this.pan.value = place * 1000;
  }

  #draw() {
    clearTimeout(this.#waits);
    this.#waits = 0;
    this.#drawn = performance.now();
    const { channels, origin, voices } = this.#conversation;
    const judged = channels.filter((name) => voices.get(name).windows.length);
    this.#speaker ??= judged.find((name) => name.startsWith('customer')) ?? judged[0] ?? null;
    const shown = JSON.stringify([judged, this.#speaker, this.#conversation.shares.map(({ name }) => name)]);
    if (shown !== this.#shown) this.#arrange(judged);
    this.#shown = shown;
    for (const now of this.now ?? []) this.#showNow(now);
    if (!Number.isFinite(origin) || !this.axis.clientWidth) return;
    this.#rescale();
    this.#drawAxis(origin);
    for (const lane of this.#lanes) {
      paint(lane.canvas, this.#scale.width, lane.height(), (pen, height) => lane.draw(pen, height));
      lane.read(this.#cursor);
    }
  }

  /** Makes the lanes anew: when there is another speaker, or another is chosen. */
  #arrange(judged) {
    const focused = document.activeElement?.dataset?.speaker;
    this.now = judged.map((channel) => this.#cards.get(channel) ?? this.#makeNow(channel));
    judged.forEach((channel, i) => this.#cards.set(channel, this.now[i]));
    arrange(this.nows, this.now.map(({ element }) => element));
    this.speakers.replaceChildren(
      ...judged.map((channel) =>
        h('button', { type: 'button', 'data-speaker': `.${channel}`, 'aria-pressed': channel === this.#speaker, onclick: () => this.#turnTo(channel) }, voiceName(channel)),
      ),
    );
    const chosen = this.#conversation.voices.get(this.#speaker);
    this.#lanes = [
      ...judged.map((channel) => this.#sentiment(channel)),
      ...(chosen ? [this.#emotions(chosen), this.#contributions(chosen)] : []),
      this.#talk(),
    ];
    arrange(this.plot, [this.axis, ...this.#lanes.map(({ element }) => element), this.hair]);
    if (focused) this.speakers.querySelector(`[data-speaker="${CSS.escape(focused)}"]`)?.focus();
  }

  #turnTo(channel) {
    this.#speaker = channel;
    this.redraw();
  }

  #makeNow(channel) {
    const box = scoreBox();
    const word = h('small');
    const pick = () => this.#choose(channel, this.#conversation.voices.get(channel).latest);
    const element = h(
      'button',
      { type: 'button', class: 'now', 'data-voice': this.#palette.of(channel), title: 'Show what this rests on', onclick: pick },
      h('b', {}, voiceName(channel)),
      box,
      word,
    );
    return { element, box, word, channel };
  }

  #showNow({ box, word, channel }) {
    const { latest } = this.#conversation.voices.get(channel);
    showScore(box, latest.score, latest.label);
    say(word, `${latest.label}, ${percent(latest.confidence)}`);
  }

  #sentiment(channel) {
    const voice = this.#conversation.voices.get(channel);
    const [score, word] = [scoreBox(), h('dd')];
    const notes = h('dl', {}, h('div', {}, h('dt', {}, voiceName(channel)), h('dd', {}, score), word));
    const lane = this.#lane('sentiment', null, notes, () => SENTIMENT_HEIGHT, channel);
    const colour = this.#palette.of(channel);
    lane.draw = (pen, height) => {
      const chosen = this.#chosen?.channel === channel ? this.#chosen.start : null;
      const tint = ink(colour === 'all' ? 'neutral' : `speaker-${colour}`);
      lanes.sentiment(pen, { scale: this.#scale, height, voice, colour: tint, chosen });
    };
    lane.read = (time) => {
      const window = voice.at(time ?? Infinity);
      showScore(score, window?.score, window?.label);
      say(word, window ? `± ${(window.deviation * 1.645).toFixed(2)}` : '');
    };
    return lane;
  }

  #emotions(voice) {
    this.reach = h('span', { class: 'hint' });
    const title = h('h3', {}, 'Emotions', this.speakers, this.reach);
    return this.#shares(voice, 'emotions', title, EMOTIONS, () => EMOTIONS.length * lanes.EMOTION_HEIGHT);
  }

  #contributions(voice) {
    const title = h('h3', {}, 'What the score rests on');
    return this.#shares(voice, 'contributions', title, MODALITIES, () => SHARES_HEIGHT);
  }

  /** A lane of named shares of the chosen voice, each with its value at the cursor. */
  #shares(voice, kind, title, names, height) {
    const values = names.map((name) => ({ name, row: h('div', { 'data-ink': name }, h('dt', {}, name), h('dd')) }));
    const notes = h('dl', {}, values.map(({ row }) => row));
    const lane = this.#lane(kind, title, notes, height, voice.name);
    lane.draw = (pen, space) => {
      const reach = lanes[kind](pen, { scale: this.#scale, height: space, voice });
      if (reach) say(this.reach, reach < 1 ? `full height: ${percent(reach)}` : '');
    };
    lane.read = (time) => {
      const shares = voice.at(time ?? Infinity)?.[kind] ?? {};
      for (const { name, row } of values) {
        row.hidden = !(name in shares) && kind === 'contributions';
        say(row.lastChild, name in shares ? percent(shares[name]) : '–');
      }
    };
    return lane;
  }

  #talk() {
    const rows = this.#conversation.shares.map(({ name }) => ({ name, voice: this.#conversation.voices.get(name), dd: h('dd') }));
    const notes = h(
      'dl',
      {},
      rows.map(({ name, dd }) => h('div', { 'data-voice': this.#palette.of(name), 'data-ink': 'speaker' }, h('dt', {}, speaker(name)), dd)),
      h('div', {}, h('dt', { 'data-ink': 'text' }, 'typed'), h('dt', { 'data-ink': 'image' }, 'shown')),
    );
    const parts = rows.map(({ name }) => h('i', { 'data-voice': this.#palette.of(name), 'data-ink': 'speaker' }));
    const bar = h('span', { class: 'share', 'aria-hidden': 'true' }, parts);
    const lane = this.#lane('talk', h('h3', {}, 'Who speaks', bar), notes, () => (rows.length + 1) * lanes.TALK_HEIGHT);
    lane.draw = (pen) => {
      const drawn = rows.map(({ name, voice }) => ({ voice, colour: ink(`speaker-${name === '' ? 4 : this.#palette.of(name)}`) }));
      const items = this.#conversation.items.filter(({ kind }) => kind === 'message' || kind === 'picture');
      lanes.talk(pen, { scale: this.#scale, rows: drawn, items });
    };
    lane.read = () => {
      const shares = new Map(this.#conversation.shares.map((each) => [each.name, each]));
      rows.forEach(({ name, dd }, i) => {
        const { share, talkMs } = shares.get(name);
        say(dd, percent(share));
        dd.title = clock(talkMs);
        parts[i].style.flexGrow = share;
      });
    };
    return lane;
  }

  #lane(kind, title, notes, height, channel = null) {
    const canvas = h('canvas', { 'aria-hidden': 'true' });
    const attributes = { class: 'lane', 'data-lane': kind, 'data-channel': channel, 'data-voice': channel === null ? null : this.#palette.of(channel) };
    return { element: h('section', attributes, title, notes, canvas), canvas, height };
  }

  #drawAxis(zero) {
    const { from, to } = this.#scale;
    const names = lanes.ticks(this.#scale, zero).map((time) => {
      const name = h('span', {}, clock(time - zero));
      name.style.left = `${this.#scale.x(time)}px`;
      return name;
    });
    this.axis.replaceChildren(...names);
    const time = this.#cursor;
    const there = time !== null && time >= from && time <= to;
    this.hair.hidden = !there;
    if (there) {
      this.hair.style.transform = `translateX(${this.#scale.x(time)}px)`;
      say(this.hairTime, clock(time - zero));
    }
    const shown = time ?? this.#conversation.end;
    mark(this.axis, 'aria-valuemax', Math.round((this.#conversation.end - zero) / 1000));
    mark(this.axis, 'aria-valuenow', Math.max(0, Math.round((shown - zero) / 1000)));
    if (document.activeElement === this.axis || !this.axis.hasAttribute('aria-valuetext')) {
      mark(this.axis, 'aria-valuetext', this.#tell(shown, zero));
    }
  }

  /** The values at a time, as a sentence. */
  #tell(time, zero) {
    const parts = this.#lanes
      .filter(({ element }) => element.dataset.lane === 'sentiment')
      .map(({ element }) => this.#conversation.voices.get(element.dataset.channel))
      .map((voice) => [voice.name, voice.at(time)])
      .filter(([, window]) => window)
      .map(([name, { score, label, emotions }]) => `${voiceName(name)} ${signed(score)}, ${label}, ${likeliest(emotions)[0]}`);
    return [clock(time - zero), ...parts].join('; ');
  }
}

/** Draws on a canvas at the screen's own resolution. */
function paint(canvas, width, height, draw) {
  const fine = devicePixelRatio || 1;
  const [across, down] = [Math.round(width * fine), Math.round(height * fine)];
  if (canvas.width !== across || canvas.height !== down) {
    Object.assign(canvas, { width: across, height: down });
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext('2d');
  pen.setTransform(fine, 0, 0, fine, 0, 0);
  pen.clearRect(0, 0, width, height);
  draw(pen, height);
}
