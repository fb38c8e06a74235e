/** What is known of one session, made of its results in whatever order they come, any of them
twice. Pure: no page and no clock. Fields of results: docs/schemas. */

export const EMOTIONS = ['anger', 'disgust', 'fear', 'sadness', 'surprise', 'joy', 'neutral'];
export const MODALITIES = ['text', 'voice', 'face', 'image', 'context'];
export const CERTAIN = 1.645; // 90 % of the truths are within so many deviations

/** One channel: what it said and how it is meant. `until` is how far its audio is accounted for. */
class Voice {
  windows = [];
  spoken = [];
  gaps = [];
  talkMs = 0;
  until = -Infinity;
  partial = null;

  constructor(name) {
    this.name = name;
  }

  /** The window that holds a time, or the one before it. */
  at(time) {
    return this.windows[after(this.windows, time) - 1];
  }

  get latest() {
    return this.windows.at(-1);
  }

  /** Takes what is said of a window, unless more is known already; whether it was taken. */
  judge(window) {
    const place = after(this.windows, window.start);
    const known = this.windows[place - 1];
    if (known?.start !== window.start) this.windows.splice(place, 0, window);
    else if (outdoes(window, known)) this.windows[place - 1] = window;
    else return false;
    return true;
  }
}

/** Final beats provisional, then the higher revision counts. */
function outdoes(window, known) {
  if (window.final !== known.final) return window.final;
  return window.revision >= known.revision;
}

/** Where in a list in order of `start` something that starts then would be put. */
export function after(list, start) {
  let [low, high] = [0, list.length];
  if (high && list[high - 1].start <= start) return high;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].start <= start) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * `items` are what a conversation shows, in order of time: {kind, id, channel, start, end, said},
 * kind one of speech, gap, message, picture; `said` is the result. Of speech, `final` is false as
 * long as it may change; it stays the same item when it turns final.
 */
export class Conversation {
  items = [];
  voices = new Map();
  ending = null;
  zero = Infinity;
  end = -Infinity;
  newest = -Infinity;
  version = 0;
  #known = new Map();
  #matches = new Map();
  #changed = new Set();

  constructor(session) {
    this.session = session;
  }

  /** Takes one result as the gateway says it: {type, id, time, channel, data}. */
  take({ type, id, data }) {
    const taken = this.#kinds[type]?.(data, id);
    if (!taken) return;
    if (this.ending && data !== this.ending && (data.start ?? data.time) >= this.ending.end) this.ending = null;
    this.version += 1;
    if (data.final !== false) this.newest = Math.max(this.newest, data.end ?? data.time);
  }

  /** Takes the typed texts, which are no results. */
  takeTexts(texts) {
    for (const text of texts) {
      if (this.#known.has(text.id)) continue;
      this.version += 1;
      this.#reach(text.time, text.time);
      this.#add({ kind: 'message', channel: text.channel, said: text }, text.id, text.time);
    }
  }

  /** The items that changed since this was last asked; `gone` is set on those that went. */
  takeChanges() {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  /** A caption, message or picture by its id. */
  item(id) {
    return this.#known.get(id);
  }

  /** The matches that an item has a part in. */
  matchesOf(id) {
    return this.#matches.get(id) || [];
  }

  /** Where its time begins. */
  get origin() {
    if (this.zero < Infinity) return this.zero;
    const starts = [...this.voices.values()].map(({ windows }) => windows[0]?.start ?? Infinity);
    return Math.min(...starts);
  }

  /** Channels in the order in which they are shown: the customer first, everybody last. */
  get channels() {
    const rank = (name) => (name === 'customer' ? 0 : name === '' ? 2 : 1);
    return [...this.voices.keys()].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  }

  /** Those that speak, with their share of the talk. */
  get shares() {
    const voices = this.channels.map((name) => this.voices.get(name)).filter((v) => v.talkMs > 0);
    const total = voices.reduce((sum, { talkMs }) => sum + talkMs, 0);
    return voices.map(({ name, talkMs }) => ({ name, talkMs, share: talkMs / total }));
  }

  #kinds = {
    'tenor.caption.partial.v1': (said) => this.#partial(said),
    'tenor.caption.final.v1': (said, id) => this.#account(said, id, 'speech'),
    'tenor.caption.gap.v1': (said, id) => this.#account(said, id, 'gap'),
    'tenor.caption.silence.v1': (said, id) => this.#account(said, id, ''),
    'tenor.image.recognized.v1': (said) => this.#picture(said),
    'tenor.match.v1': (said, id) => this.#match(said, id),
    'tenor.sentiment.window.v1': (said) => this.#window(said),
    'tenor.sentiment.session.v1': (said) => this.#ended(said),
  };

  #voice(channel) {
    if (!this.voices.has(channel)) this.voices.set(channel, new Voice(channel));
    return this.voices.get(channel);
  }

  #partial(said) {
    const voice = this.#voice(said.channel);
    const known = voice.partial;
    if (said.start < voice.until || (known && outdated(said, known.said))) return false;
    this.#reach(said.start, said.end);
    if (!known) voice.partial = this.#add({ kind: 'speech', channel: said.channel, said }, '', said.start);
    else this.#change(known, said, said.start);
    return true;
  }

  /** A final caption, gap or silence: it takes the place of the partial that it reaches beyond. */
  #account(said, id, kind) {
    if (this.#known.has(id)) return false;
    const voice = this.#voice(said.channel);
    this.#reach(said.start, said.end);
    voice.until = Math.max(voice.until, said.end);
    if (kind === 'speech') voice.talkMs += said.end - said.start - (said.lost_ms ?? 0);
    const spans = { speech: voice.spoken, gap: voice.gaps }[kind];
    spans?.splice(after(spans, said.start), 0, { start: said.start, end: said.end });
    const partial = voice.partial && said.end > voice.partial.start ? voice.partial : null;
    if (partial) voice.partial = null;
    this.#settle(partial, said, id, kind);
    return true;
  }

  #settle(partial, said, id, kind) {
    if (partial && kind === 'speech') {
      Object.assign(partial, { id, final: true });
      this.#change(partial, said, said.start);
      this.#name(id, partial);
      return;
    }
    if (partial) this.#remove(partial);
    if (kind) this.#add({ kind, channel: said.channel, said, final: true }, id, said.start);
    else this.#known.set(id, null);
  }

  #picture(said) {
    if (this.#known.has(said.image)) return false;
    this.#reach(said.time, said.time);
    this.#add({ kind: 'picture', channel: said.channel, said }, said.image, said.time);
    return true;
  }

  #match(said, id) {
    if (this.#known.has(id)) return false;
    this.#known.set(id, null);
    for (const side of [said.left, said.right]) {
      this.#matches.set(side, [...this.matchesOf(side), said]);
      this.#touch(side);
    }
    return true;
  }

  #touch(id) {
    const item = this.#known.get(id);
    if (item) this.#changed.add(item);
  }

  /** From now on an item is known by its id, also to those that match it. */
  #name(id, item) {
    this.#known.set(id, item);
    for (const { left, right } of this.matchesOf(id)) this.#touch(left === id ? right : left);
  }

  #window(said) {
    if (!this.#voice(said.channel).judge(said)) return false;
    this.end = Math.max(this.end, said.end);
    return true;
  }

  #ended(said) {
    this.ending = said;
    return true;
  }

  #reach(start, end) {
    this.zero = Math.min(this.zero, start);
    this.end = Math.max(this.end, end);
  }

  #add(fields, id, start) {
    const item = { id, final: false, gone: false, ...fields, start, end: fields.said.end ?? start };
    this.items.splice(after(this.items, start), 0, item);
    if (id) this.#name(id, item);
    this.#changed.add(item);
    return item;
  }

  #change(item, said, start) {
    if (start !== item.start) {
      this.items.splice(this.items.indexOf(item), 1);
      this.items.splice(after(this.items, start), 0, item);
    }
    Object.assign(item, { said, start, end: said.end });
    this.#changed.add(item);
  }

  #remove(item) {
    item.gone = true;
    this.items.splice(this.items.indexOf(item), 1);
    this.#changed.add(item);
  }
}

/** Whether a partial caption says less than the one that is known. */
function outdated(said, known) {
  if (said.start !== known.start) return said.start < known.start;
  return said.revision < known.revision;
}
