/** One session: the conversation beside its time lines, and what is done with them. */

import { at, key, request } from './api.js';
import { Captions } from './captions.js';
import { eachFrame, h, icon, mark, say } from './dom.js';
import { Feed } from './feed.js';
import { clock, date, signed, voice as voiceName } from './format.js';
import { Part } from './part.js';
import { Pictures } from './pictures.js';
import { Timeline } from './timeline.js';
import { Palette } from './voices.js';
import { Why, table } from './why.js';

const FORMATS = {
  vtt: 'WebVTT captions',
  srt: 'SubRip captions',
  txt: 'Plain text',
  json: 'Results as JSON',
};

/** Beside an icon: seen where there is room, and always heard. */
const word = (text) => h('span', { class: 'word' }, text);

export class SessionView {
  nav = 'session';
  #draw = eachFrame(() => this.#show());
  #told = null; // the ending that is shown

  constructor(session, status, { takesPart }) {
    this.session = session;
    this.status = status;
    this.title = `${session} · Tenor`;
    this.feed = new Feed(session, { changed: this.#draw, state: (...state) => this.#state(...state) });
    this.conversation = this.feed.conversation;
    this.pictures = new Pictures(session);
    const palette = new Palette();
    this.captions = new Captions(this.conversation, palette, this.pictures, (item) => this.timeline.goTo(item.start));
    this.timeline = new Timeline(this.conversation, palette, (channel, window) => this.#explain(channel, window));
    this.why = new Why(this.conversation, { find: (id) => this.#find(id), leave: () => this.#leave() });
    this.part = new Part(session, () => this.feed.askForTexts());
    this.#build();
    if (takesPart) this.#takePart();
    this.clock = setInterval(() => this.#tick(), 1000);
  }

  close() {
    clearInterval(this.clock);
    this.#draw.cancel();
    for (const each of [this.feed, this.captions, this.timeline, this.pictures, this.part]) each.close();
  }

  #build() {
    this.lamp = h('span', { class: 'lamp' });
    this.word = h('span');
    this.since = h('span', { class: 'num' });
    this.state = h('p', { class: 'state' }, this.lamp, this.word, this.since);
    this.problem = h('p', { class: 'notice', role: 'alert', hidden: true });
    this.empty = h('div', { class: 'empty' }, h('p', {}, 'Nothing has been said in this session yet.'));
    this.panes = h('div', { class: 'panes', 'data-pane': 'talk' }, this.#talkPane(), this.#linesPane());
    this.element = h('div', { class: 'session' }, this.#head(), this.feed.log, this.problem, this.panes);
    this.element.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#leave();
    });
    this.part.takeDropped(this.element, () => this.part.element.hidden && this.#takePart());
  }

  #head() {
    const back = h('a', { class: 'button', href: '#/', title: 'All sessions' }, icon('back'), h('span', { class: 'unseen' }, 'All sessions'));
    const panes = { talk: 'Conversation', lines: 'Mood' };
    const buttons = Object.entries(panes).map(([name, text]) =>
      h('button', { type: 'button', 'data-name': name, 'aria-pressed': name === 'talk', onclick: () => this.#turnTo(name) }, text),
    );
    this.switch = h('div', { class: 'choice switch', role: 'group', 'aria-label': 'What is shown' }, buttons);
    const big = h('a', { class: 'button', href: `#/s/${encodeURIComponent(this.session)}/captions` }, icon('captions'), word('Captions'));
    this.join = h('button', { type: 'button', 'aria-expanded': 'false', onclick: () => this.#takePart() }, icon('mic'), word('Take part'));
    return h('div', { class: 'head' }, back, h('h1', {}, this.session), this.state, h('div', { class: 'push' }, this.switch, this.join, big, this.#menu()));
  }

  #menu() {
    const items = Object.entries(FORMATS).map(([format, text]) =>
      h('button', { type: 'button', onclick: () => this.#save(`/export?format=${format}`, format) }, text, h('small', {}, `.${format}`)),
    );
    const report = h('button', { type: 'button', onclick: () => this.#report() }, 'Report', h('small', {}, '.html'));
    this.menu = h('details', { class: 'menu' }, h('summary', { class: 'button' }, icon('export'), word('Export')), h('div', {}, items, report));
    this.menu.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !this.menu.open) return;
      this.menu.open = false;
      this.menu.firstChild.focus();
      event.stopPropagation();
    });
    this.menu.addEventListener('focusout', (event) => {
      if (event.relatedTarget && !this.menu.contains(event.relatedTarget)) this.menu.open = false;
    });
    return this.menu;
  }

  #talkPane() {
    const doubts = h('input', { type: 'checkbox', onchange: (event) => this.#doubt(event.target.checked) });
    const check = h('label', { class: 'check' }, doubts, 'Doubtful words');
    const bar = h('div', { class: 'bar' }, h('h2', {}, 'Conversation'), check);
    this.captions.list.after(this.empty);
    this.over = h('section', { class: 'over', 'aria-label': 'How the session ended', hidden: true });
    this.captions.list.after(this.over);
    return h('section', { class: 'pane' }, bar, this.captions.element, this.captions.jump, this.part.element);
  }

  #linesPane() {
    const { timeline } = this;
    this.values = h('div', { class: 'values', tabindex: 0, role: 'region', 'aria-label': 'Values' });
    this.details = h('details', { ontoggle: () => this.#tabulate() }, h('summary', {}, 'Values as a table'), this.values);
    const lines = h('div', { class: 'lines' }, timeline.nows, timeline.range, timeline.plot, this.details);
    const scroll = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Time lines' }, lines);
    return h('section', { class: 'pane' }, h('div', { class: 'bar' }, h('h2', {}, 'Mood and talk')), scroll, this.why.element);
  }

  #state(state, detail) {
    this.status.show(state, detail);
    this.problem.hidden = state !== 'refused';
    if (state === 'refused') say(this.problem, detail.explained);
  }

  #show() {
    const more = this.captions.draw();
    this.timeline.refresh();
    this.empty.hidden = this.conversation.items.length > 0;
    this.#end();
    if (more) this.#draw();
    this.#tick();
  }

  #tick() {
    const { origin, ending, newest } = this.conversation;
    const begun = Number.isFinite(origin);
    mark(this.state, 'data-state', begun && !ending ? 'live' : 'over');
    say(this.word, ending ? 'ended' : begun ? 'live' : 'waiting');
    say(this.since, begun ? clock(newest - origin) : '');
    if (begun) this.since.title = `since ${date(origin)}`;
    this.status.lag(this.feed.age, ending ? null : this.feed.delays.median);
  }

  #end() {
    const { ending } = this.conversation;
    if (ending === this.#told) return;
    this.#told = ending;
    this.over.hidden = !ending;
    if (!ending) return;
    const lines = Object.entries(ending.channels).map(([name, { score, label, first, last, trend }]) =>
      h('li', {}, h('b', {}, voiceName(name)), ` ${signed(score)} on average (${label}), from ${signed(first)} to ${signed(last)}, trend ${signed(trend)} per minute`),
    );
    this.over.replaceChildren(h('h3', {}, 'The session has ended'), h('ul', {}, lines));
    this.captions.settle();
  }

  #doubt(wanted) {
    this.captions.showDoubts(wanted);
    this.#draw();
  }

  #explain(channel, window) {
    this.timeline.choose(channel, window);
    this.why.show(window);
    this.came ??= document.activeElement;
    this.why.element.focus({ preventScroll: true });
    const weights = new Map();
    for (const { id, weight } of window.evidence) weights.set(id, (weights.get(id) ?? 0) + weight);
    this.captions.cite(weights);
    const [heaviest] = [...weights].sort((a, b) => b[1] - a[1]);
    if (heaviest) this.captions.find(heaviest[0]);
    if (window.evidence.some(({ id }) => !this.conversation.item(id))) this.feed.askForTexts();
  }

  #leave() {
    this.why.close();
    this.timeline.choose(null, null);
    this.captions.cite(new Map());
    if (this.came) (this.came.isConnected ? this.came : this.timeline.axis).focus();
    this.came = null;
  }

  #find(id) {
    this.#turnTo('talk');
    this.captions.goTo(id);
  }

  #turnTo(name) {
    this.panes.dataset.pane = name;
    for (const button of this.switch.children) button.setAttribute('aria-pressed', button.dataset.name === name);
    if (name === 'lines') scrollTo(0, 0);
    this.#draw();
  }

  #takePart() {
    const open = this.part.element.hidden;
    this.part.element.hidden = !open;
    this.join.setAttribute('aria-expanded', open);
    if (open) this.part.focus();
  }

  #tabulate() {
    const { voices, origin, channels } = this.conversation;
    const judged = channels.map((name) => voices.get(name)).filter(({ windows }) => windows.length);
    const tables = judged.flatMap((each) => [h('h3', {}, voiceName(each.name)), table(each, origin)]);
    this.values.replaceChildren(...(this.details.open ? tables : []));
  }

  /** A tab of its own cannot be given the key. */
  #report() {
    this.menu.open = false;
    if (key.get()) this.#save('/report', 'html');
    else open(at(this.session, '/report'), '_blank', 'noopener');
  }

  /** Fetches a file with the key and hands it to whoever looks. */
  async #save(rest, format) {
    this.menu.open = false;
    try {
      const bytes = await (await request(at(this.session, rest))).blob();
      const address = URL.createObjectURL(bytes);
      h('a', { href: address, download: `${this.session.replace(/[^\w.-]+/g, '-')}.${format}` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    } catch (problem) {
      this.problem.hidden = false;
      say(this.problem, `The file could not be made: ${problem.message}`);
    }
  }
}
