/** Captions and nothing else, large, for a display in a room: the last lines, the newest below. */

import { words } from './captions.js';
import { arrange, eachFrame, h, icon, mark, say } from './dom.js';
import { Feed } from './feed.js';
import { speaker } from './format.js';
import { Palette } from './voices.js';

const LINES = 14;
const [SMALLEST, LARGEST] = [1, 9]; // rem
const AWAKE_MS = 3000;
const CONTENTS = {
  speech: (item) => words(item, false),
  gap: ({ said }) => [said.reason === 'no-audio' ? '[no audio]' : '[inaudible]'],
  message: ({ said }) => [said.text],
};

export class Display {
  nav = 'session';
  #elements = new Map();
  #palette = new Palette();
  #size = Number(localStorage.getItem('tenor.size')) || 3;
  #draw = eachFrame(() => this.#show());
  #sleep = 0;

  constructor(session, status) {
    this.title = `Captions of ${session}`;
    this.feed = new Feed(session, { changed: this.#draw, state: (...state) => this.#state(status, ...state) });
    this.#build(session);
    this.#resize(0);
    document.addEventListener('keydown', this.#keys);
    this.#behind(true);
    this.clock = setInterval(() => status.lag(this.feed.age, this.feed.delays.median), 1000);
  }

  close() {
    clearInterval(this.clock);
    clearTimeout(this.#sleep);
    this.#draw.cancel();
    this.feed.close();
    document.removeEventListener('keydown', this.#keys);
    this.#behind(false);
    if (document.fullscreenElement) document.exitFullscreen();
  }

  #build(session) {
    const button = (name, text, onclick) => h('button', { type: 'button', title: text, onclick }, icon(name), h('span', { class: 'unseen' }, text));
    this.word = h('p', { role: 'status' });
    const tools = h(
      'nav',
      { 'aria-label': 'Display' },
      this.word,
      button('minus', 'Smaller', () => this.#resize(-1)),
      button('plus', 'Larger', () => this.#resize(1)),
      button('theme', 'Light or dark', () => this.#invert()),
      button('full', 'Full screen', () => this.#full()),
      h('a', { class: 'button', href: `#/s/${encodeURIComponent(session)}`, title: 'Leave' }, icon('close'), h('span', { class: 'unseen' }, 'Back to the session')),
    );
    this.list = h('ol', { 'aria-label': 'Captions' });
    this.element = h('section', { class: 'display', 'aria-label': this.title, onpointermove: () => this.#wake() }, tools, this.list, this.feed.log);
    mark(this.element, 'data-paper', localStorage.getItem('tenor.paper') === 'yes');
  }

  #show() {
    this.feed.conversation.takeChanges();
    const last = this.feed.conversation.items.filter(({ kind }) => kind in CONTENTS).slice(-LINES);
    for (const item of this.#elements.keys()) if (!last.includes(item)) this.#elements.delete(item);
    last.forEach((item, i) => this.#line(item, last[i - 1]));
    arrange(this.list, last.map((item) => this.#elements.get(item)));
  }

  #line(item, before) {
    const { said, kind, channel } = item;
    const known = this.#elements.get(item);
    const element = known ?? h('li', { class: kind, 'data-voice': this.#palette.of(channel) }, h('span', { class: 'who' }, speaker(channel)), h('span'));
    this.#elements.set(item, element);
    mark(element, 'data-same', before?.channel === channel);
    if (element.said === said) return;
    element.said = said;
    element.lastChild.replaceChildren(...CONTENTS[kind](item));
  }

  #state(status, state, detail) {
    status.show(state, detail);
    say(this.word, { open: '', connecting: '', waiting: 'Connection lost, trying again', refused: detail?.message }[state]);
    if (state !== 'open') this.#wake();
  }

  #resize(step) {
    this.#size = Math.min(LARGEST, Math.max(SMALLEST, this.#size * 1.15 ** step));
    localStorage.setItem('tenor.size', this.#size);
    this.element.style.setProperty('--size', `${this.#size}rem`);
  }

  #invert() {
    const paper = !this.element.hasAttribute('data-paper');
    mark(this.element, 'data-paper', paper);
    localStorage.setItem('tenor.paper', paper ? 'yes' : 'no');
  }

  #full() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.element.requestFullscreen?.();
  }

  /** What the display covers cannot be reached. */
  #behind(covered) {
    for (const each of document.querySelectorAll('.top, .skip')) each.inert = covered;
  }

  #keys = ({ key, target, ctrlKey, metaKey, altKey }) => {
    if (ctrlKey || metaKey || altKey || target.closest('input, dialog')) return;
    const acts = { '+': () => this.#resize(1), '-': () => this.#resize(-1), f: () => this.#full() };
    acts[key]?.();
  };

  /** The controls are plain to see while somebody is there. */
  #wake() {
    this.element.dataset.awake = '';
    clearTimeout(this.#sleep);
    this.#sleep = setTimeout(() => delete this.element.dataset.awake, AWAKE_MS);
  }
}
