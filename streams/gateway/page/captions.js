/** A conversation as it is said, typed and shown: one element for each item, changed in place. */

import { h, icon, mark, say } from './dom.js';
import { clock, delay, percent, plural, speaker } from './format.js';

const DOUBT = 0.75; // words that are less likely are underlined
const MUCH_DOUBT = 0.45;
const SLICE_MS = 10; // of a frame, when there is much to show at once
const NEAR_END = 60;

const REASONS = {
  'no-audio': 'No audio came',
  repetition: 'Not recognised, the words repeat themselves',
  'no-speech': 'Not recognised, probably no speech',
  'recognition-failed': 'Recognition failed',
  'detection-failed': 'Detection of speech failed',
};

/** Words as spans where something is to be said of each, and as plain text otherwise. */
export function words({ said, final }, doubts) {
  if (!final) return runs(said.words, ({ stable }) => (stable ? '' : 'shaky'));
  if (!doubts) return [said.text];
  return said.words.flatMap(({ text, probability }) => [
    probability < DOUBT
      ? h('span', { class: 'doubt', 'data-much': probability < MUCH_DOUBT, title: percent(probability) }, text.trim(), h('span', { class: 'unseen' }, ` (${percent(probability)} sure)`))
      : h('span', { title: percent(probability) }, text.trim()),
    ' ',
  ]);
}

/** As few elements as there are runs of words of the same class. */
function runs(list, classOf) {
  const found = [];
  for (const word of list) {
    const name = classOf(word);
    if (found.at(-1)?.name === name) found.at(-1).texts.push(word.text.trim());
    else found.push({ name, texts: [word.text.trim()] });
  }
  return found.flatMap(({ name, texts }) => {
    const text = texts.join(' ');
    return [name ? h('span', { class: name }, text) : text, ' '];
  });
}

/** What of a caption's audio never came. */
const lost = ({ lost_ms: ms }) => (ms ? [h('p', { class: 'notes' }, `${delay(ms)} of this never arrived`)] : []);

export class Captions {
  #conversation;
  #palette;
  #pictures;
  #go;
  #elements = new Map();
  #items = new WeakMap();
  #waiting = [];
  #doubts = false;
  #cited = new Map();
  #fresh = 0;
  #follows = true;
  #top = 0;
  #zero = null;
  #stop = null; // the one of all times that Tab comes to; arrow keys lead to the others

  /** `go` is told of a time on which somebody clicked, and of an item to go to. */
  constructor(conversation, palette, pictures, go) {
    this.#conversation = conversation;
    this.#palette = palette;
    this.#pictures = pictures;
    this.#go = go;
    this.list = h('ol', { class: 'talk', 'aria-label': 'Conversation', onclick: (event) => this.#click(event), onkeydown: (event) => this.#roam(event) });
    this.element = h('div', { class: 'scroll', tabindex: 0, 'aria-label': 'Conversation', role: 'region' }, this.list);
    this.jump = h('button', { type: 'button', class: 'jump', hidden: true, onclick: () => this.toEnd() }, icon('down'), h('span'));
    for (const each of [this.element, document]) each.addEventListener('scroll', this.#scrolled, { passive: true });
    this.size = new ResizeObserver(() => this.#follows && this.#bottom());
    this.size.observe(this.list);
  }

  close() {
    this.size.disconnect();
    document.removeEventListener('scroll', this.#scrolled);
  }

  /** Shows what changed; true if there was more than fits in a frame, and it wants another. */
  draw() {
    this.#waiting.push(...this.#conversation.takeChanges());
    this.#renumber();
    const until = performance.now() + SLICE_MS;
    let done = 0;
    while (done < this.#waiting.length && performance.now() < until) this.#show(this.#waiting[done++]);
    this.#waiting.splice(0, done);
    if (!this.#stop?.isConnected) this.#stopAt(this.list.firstElementChild);
    if (this.#follows) this.#bottom();
    else this.#offer();
    return this.#waiting.length > 0;
  }

  showDoubts(wanted) {
    this.#doubts = wanted;
    for (const item of this.#conversation.items) {
      if (item.kind === 'speech' && item.final) this.#waiting.push(item);
    }
  }

  /** Marks what a score rests on; `weights` by id. */
  cite(weights) {
    const before = this.#cited;
    this.#cited = weights;
    for (const id of new Set([...before.keys(), ...weights.keys()])) {
      const element = this.#elements.get(this.#conversation.item(id));
      if (element) this.#citation(element, id);
    }
  }

  /** Brings an item into view, and marks it for a moment; its element, if there is one. */
  find(id) {
    const element = this.#elements.get(this.#conversation.item(id));
    if (!element) return undefined;
    this.#follows = false;
    element.scrollIntoView({ block: 'center' });
    element.setAttribute('data-found', '');
    setTimeout(() => element.removeAttribute('data-found'), 2500);
    return element;
  }

  /** The same, and whoever uses keys goes on from there. */
  goTo(id) {
    const element = this.find(id);
    if (!element) return;
    element.tabIndex = -1;
    element.focus({ preventScroll: true });
  }

  toEnd() {
    this.#follows = true;
    this.#bottom();
  }

  /** Something was added below. */
  settle() {
    if (this.#follows) this.#bottom();
  }

  #show(item) {
    if (item.gone) {
      const next = this.#elements.get(item)?.nextElementSibling;
      this.#elements.get(item)?.remove();
      this.#elements.delete(item);
      this.#join(next);
      return;
    }
    const known = this.#elements.get(item);
    const element = known || this.#make(item);
    if (!known) this.#fresh += 1;
    this.#place(item, element);
    this.#fill(item, element);
  }

  #make(item) {
    const element = h(
      'li',
      { class: 'item', 'data-kind': item.kind, 'data-voice': this.#palette.of(item.channel) },
      h('time', {}, h('button', { type: 'button', tabindex: -1, title: 'Shown on the timeline; arrow keys lead to other times' })),
      h('span', { class: 'who' }, speaker(item.channel)),
      h('div', { class: 'said' }),
    );
    this.#elements.set(item, element);
    this.#items.set(element, item);
    return element;
  }

  #place(item, element) {
    const { items } = this.#conversation;
    let next = null;
    for (let i = items.lastIndexOf(item) + 1; i < items.length && !next; i += 1) next = this.#elements.get(items[i]);
    if (element.isConnected && element.nextElementSibling === (next || null)) return;
    const after = element.nextElementSibling;
    this.list.insertBefore(element, next || null);
    for (const each of [element, element.nextElementSibling, after]) this.#join(each);
  }

  /** The name is shown where the speaker changes. */
  #join(element) {
    if (!element) return;
    const before = element.previousElementSibling;
    const same = before && this.#items.get(before)?.channel === this.#items.get(element)?.channel;
    mark(element, 'data-same', Boolean(same));
  }

  #fill(item, element) {
    mark(element, 'data-final', item.final);
    this.#tell(element, item);
    const content = this.#contents[item.kind](item);
    element.children[2].replaceChildren(...content, ...this.#matches(item));
    if (item.id) this.#citation(element, item.id);
  }

  #contents = {
    speech: (item) => [...words(item, this.#doubts), ...lost(item.said)],
    gap: ({ said }) => [`${REASONS[said.reason] || `Not recognised: ${said.reason}`} (${delay(said.end - said.start)})`],
    message: ({ said }) => [h('span', { class: 'typed' }, KINDS[said.kind] || 'typed'), said.text || said.vocabulary.join(', ')],
    picture: ({ said }) => this.#pictures.figure(said),
  };

  #matches(item) {
    if (!item.id) return [];
    const links = this.#conversation.matchesOf(item.id).map((match) => this.#link(item.id, match));
    return links.length ? [h('p', { class: 'notes' }, links)] : [];
  }

  #link(id, { left, right, right_session: elsewhere, probability, similarity }) {
    const other = left === id ? right : left;
    const item = this.#conversation.item(other);
    const sure = probability === null ? `similarity ${similarity.toFixed(2)}` : percent(probability);
    const name = item ? `${this.#name(item)} at ${clock(item.start - this.#zero)}` : 'something else';
    if (elsewhere) return h('span', {}, icon('link'), ` matches a picture of ${elsewhere} (${sure})`);
    return h('button', { type: 'button', class: 'text', 'data-go': other }, icon('link'), ` matches ${name} (${sure})`);
  }

  #name({ kind, said }) {
    if (kind === 'picture') return `picture${said.labels[0] ? ` “${said.labels[0].name}”` : ''}`;
    const text = said.text || '';
    return `“${text.length > 32 ? `${text.slice(0, 30).trim()}…` : text}”`;
  }

  #citation(element, id) {
    const weight = this.#cited.get(id);
    mark(element, 'data-cited', weight !== undefined);
    let note = element.querySelector('.cites');
    if (weight === undefined) {
      note?.remove();
      return;
    }
    note ||= h('span', { class: 'cites' });
    say(note, `cited, ${percent(weight)}`);
    element.children[2].append(note);
  }

  /** Times are told from the first result; when an earlier one comes, all are another. */
  #renumber() {
    const zero = this.#conversation.origin;
    if (zero === this.#zero) return;
    this.#zero = zero;
    for (const [item, element] of this.#elements) this.#tell(element, item);
  }

  #tell(element, item) {
    say(buttonOf(element), clock(item.start - this.#zero));
  }

  #click(event) {
    const link = event.target.closest('[data-go]');
    if (link) this.goTo(link.dataset.go);
    else if (event.target.closest('time')) {
      const element = event.target.closest('.item');
      this.#stopAt(element);
      this.#go(this.#items.get(element));
    }
  }

  /** From one time to another; not every one is shown on narrow screens. */
  #roam(event) {
    const step = STEPS[event.key];
    if (!step || !event.target.closest('time')) return;
    event.preventDefault();
    let element = step.from(this.list, event.target.closest('.item'));
    while (element && !buttonOf(element).checkVisibility()) element = element[step.on];
    if (!element) return;
    this.#stopAt(element);
    buttonOf(element).focus();
  }

  #stopAt(element) {
    if (!element) return;
    if (this.#stop) buttonOf(this.#stop).tabIndex = -1;
    this.#stop = element;
    buttonOf(element).tabIndex = 0;
  }

  get #scroller() {
    const own = this.element.scrollHeight > this.element.clientHeight + 1;
    return own ? this.element : document.scrollingElement;
  }

  /** Who scrolls up wants to read there; who scrolls to the end, to follow. */
  #scrolled = () => {
    if (!this.element.clientHeight) return; // another pane is shown
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    const up = scrollTop < this.#top;
    this.#top = scrollTop;
    const rest = scrollHeight - clientHeight - scrollTop;
    if (rest <= 1 || (!up && rest < NEAR_END)) this.#caughtUp();
    else if (up) this.#follows = false;
  };

  #bottom() {
    const scroller = this.#scroller;
    scroller.scrollTop = scroller.scrollHeight;
    this.#caughtUp();
  }

  #caughtUp() {
    this.#follows = true;
    this.#fresh = 0;
    this.jump.hidden = true;
  }

  #offer() {
    if (!this.#fresh) return;
    this.jump.hidden = false;
    say(this.jump.lastChild, `${plural(this.#fresh, 'new item')}`);
  }
}

/** What is pressed to go to its time. */
const buttonOf = (element) => element.children[0].firstChild;

/** Where keys lead: first there, and on until there is a time to be seen. */
const STEPS = {
  ArrowDown: { from: (list, element) => element.nextElementSibling, on: 'nextElementSibling' },
  ArrowUp: { from: (list, element) => element.previousElementSibling, on: 'previousElementSibling' },
  Home: { from: (list) => list.firstElementChild, on: 'nextElementSibling' },
  End: { from: (list) => list.lastElementChild, on: 'previousElementSibling' },
};

const KINDS = { note: 'note', vocabulary: 'vocabulary' };
