/** What a score rests on: the window, its shares, and the events it cites, each a way to them. */

import { h } from './dom.js';
import { clock, percent, signed, speaker, voice as voiceName } from './format.js';
import { CERTAIN, MODALITIES } from './model.js';
import { scoreBox, showScore } from './scores.js';

const MOST = 40;
const MOST_ROWS = 500;

export class Why {
  #conversation;
  #find;

  /** `find` brings an event into view, `leave` is told that the panel is closed. */
  constructor(conversation, { find, leave }) {
    this.#conversation = conversation;
    this.#find = find;
    this.leave = leave;
    this.element = h('section', { class: 'why-panel', hidden: true, tabindex: -1, 'aria-label': 'What the score rests on' });
  }

  close() {
    this.element.hidden = true;
  }

  show(window) {
    const zero = this.#conversation.origin;
    const box = scoreBox();
    showScore(box, window.score, window.label);
    const when = `${voiceName(window.channel)}, ${clock(window.start - zero)} to ${clock(window.end - zero)}`;
    const close = h('button', { type: 'button', class: 'quiet', onclick: () => this.leave() }, 'Close');
    const evidence = [...window.evidence].sort((a, b) => b.weight - a.weight);
    const causes = evidence.slice(0, MOST).map((each) => this.#cause(each, zero));
    this.element.replaceChildren(
      h('header', {}, h('h2', {}, when), box, close),
      h('p', { class: 'hint' }, about(window)),
      h('div', { class: 'share', 'aria-hidden': 'true' }, MODALITIES.filter((name) => window.contributions[name]).map((name) => bar(name, window.contributions[name]))),
      h('p', { class: 'hint' }, inWords(window.contributions)),
      h('ul', {}, causes, context(window.contributions.context)),
    );
    this.element.hidden = false;
  }

  #cause({ id, modality, channel, start, weight }, zero) {
    const item = this.#conversation.item(id);
    const note = `${HEARD[modality] ?? modality} of ${speaker(channel)} at ${clock(start - zero)}`;
    const quote = item ? quoted(item) : 'not on this page';
    const said = item ? h('button', { type: 'button', class: 'text', onclick: () => this.#find(id) }, quote) : quote;
    return h('li', { class: 'cause' }, h('b', {}, percent(weight)), h('div', {}, said, h('small', {}, note)));
  }
}

const HEARD = { text: 'words', voice: 'voice', face: 'face', image: 'picture' };

function about({ score, deviation, label, confidence, emotions, final, model }) {
  const [low, high] = [-1, 1].map((side) => signed(Math.max(-1, Math.min(1, score + side * CERTAIN * deviation))));
  const felt = Object.entries(emotions).sort((a, b) => b[1] - a[1]).slice(0, 3);
  const names = felt.map(([name, share]) => `${name} ${percent(share)}`).join(', ');
  const kind = final ? '' : ' Provisional.';
  return `${label}, ${percent(confidence)} sure; 90 % interval ${low} to ${high}. ${names}.${kind} ${model}`;
}

function quoted({ kind, said }) {
  if (kind === 'picture') return `Picture: ${said.labels[0]?.name ?? 'nothing known'}`;
  return `“${said.text}”`;
}

function bar(name, share) {
  const part = h('i', { 'data-ink': name });
  part.style.flexGrow = share;
  return part;
}

const inWords = (shares) =>
  MODALITIES.filter((name) => shares[name]).map((name) => `${name} ${percent(shares[name])}`).join(', ');

const context = (share) =>
  share > 0 && h('li', { class: 'cause' }, h('b', {}, percent(share)), h('div', {}, 'What was before', h('small', {}, 'memory of the conversation')));

/** The newest values of a voice as a table: the text of its lines. */
export function table({ name, windows: all }, zero) {
  const windows = all.slice(-MOST_ROWS);
  const emotions = Object.keys(windows.at(-1)?.emotions ?? {});
  const heads = ['Time', 'Score', '±', 'Label', 'Sure', ...emotions, 'Rests on'].map((text) => h('th', { scope: 'col' }, text));
  const rows = windows.map(({ start, score, deviation, label, confidence, emotions: felt, contributions }) =>
    h(
      'tr',
      {},
      h('td', {}, clock(start - zero)),
      [signed(score), (deviation * CERTAIN).toFixed(2), label, percent(confidence)].map((text) => h('td', {}, text)),
      emotions.map((each) => h('td', {}, percent(felt[each] ?? 0))),
      h('td', {}, inWords(contributions)),
    ),
  );
  const some = windows.length < all.length;
  const caption = h('caption', { class: some ? 'hint' : 'unseen' }, `Sentiment of ${voiceName(name)}${some ? `, the newest ${MOST_ROWS} windows of ${all.length}` : ''}`);
  return h('table', {}, caption, h('thead', {}, h('tr', {}, heads)), h('tbody', {}, rows));
}
