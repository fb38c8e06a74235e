/** All sessions at a glance, the live ones first; each row changes in place. */

import { Stream, now } from './api.js';
import { arrange, eachFrame, h, icon, mark, say } from './dom.js';
import { plural, signed, span, voice } from './format.js';
import { Spark, moodOf, scoreBox, showScore } from './scores.js';

const TOLD_MS = 2000; // what a new connection has not told by then was forgotten meanwhile
const SHOWN = { all: () => true, live: (each) => !each.ended, alerts: (each) => Boolean(each.alert) };
const ORDERS = {
  newest: (a, b) => b.start - a.start,
  mood: (a, b) => lowest(a) - lowest(b),
  name: (a, b) => a.session.localeCompare(b.session),
};

/** The score that counts most: the customer's, or else the lowest. */
function lowest({ channels }) {
  if (channels.customer?.score != null) return channels.customer.score;
  return Math.min(2, ...Object.values(channels).map(({ score }) => score ?? 2));
}

export class Overview {
  title = 'Sessions · Tenor';
  nav = 'list';
  #rows = new Map();
  #stale = new Set(); // not told again yet by this connection
  #dropping = 0;
  #changed = new Set();
  #order = '';
  #shown = 'all';
  #by = 'newest';
  #sought = '';
  #filled = false;
  #draw = eachFrame(() => this.#show());

  constructor(status) {
    this.status = status;
    this.#build();
    this.stream = new Stream('/v1/sessions/events', {
      take: ({ data }) => this.#take(data),
      state: (state, detail) => this.#state(state, detail),
    });
    this.clock = setInterval(() => this.#tick(), 1000);
  }

  close() {
    this.stream.close();
    clearInterval(this.clock);
    clearTimeout(this.#dropping);
    this.#draw.cancel();
  }

  #build() {
    const seek = (event) => {
      this.#sought = event.target.value.trim().toLowerCase();
      this.#draw();
    };
    const sort = (event) => {
      this.#by = event.target.value;
      this.#draw();
    };
    this.counts = h('p', { class: 'counts' });
    this.list = h('ul', { class: 'rows', 'aria-label': 'Sessions' });
    this.empty = h('div', { class: 'empty' }, h('p', {}, 'Waiting for the gateway …'));
    this.news = h('p', { class: 'unseen', role: 'status' });
    this.buttons = Object.keys(SHOWN).map((name) =>
      h('button', { type: 'button', 'data-shown': name, onclick: () => this.#choose(name) }, name),
    );
    const orders = [
      h('option', { value: 'newest' }, 'Newest first'),
      h('option', { value: 'mood' }, 'Lowest mood first'),
      h('option', { value: 'name' }, 'By name'),
    ];
    this.element = h(
      'div',
      { class: 'page' },
      h('h1', {}, 'Sessions'),
      this.counts,
      h(
        'div',
        { class: 'tools' },
        h(
          'label',
          { class: 'search' },
          h('span', { class: 'unseen' }, 'Search sessions'),
          icon('search'),
          h('input', { type: 'search', placeholder: 'Search by name or speaker', oninput: seek }),
        ),
        h('div', { class: 'choice', role: 'group', 'aria-label': 'Which sessions' }, this.buttons),
        h('label', {}, h('span', { class: 'unseen' }, 'Order'), h('select', { onchange: sort }, orders)),
      ),
      this.news,
      this.list,
      this.empty,
    );
    this.#choose('all');
  }

  #choose(name) {
    this.#shown = name;
    for (const button of this.buttons) {
      button.setAttribute('aria-pressed', button.dataset.shown === name);
    }
    this.#draw();
  }

  #state(state, detail) {
    this.status.show(state, detail);
    if (state === 'open') {
      this.#filled = true;
      this.#stale = new Set(this.#rows.keys());
      clearTimeout(this.#dropping);
      this.#dropping = setTimeout(() => this.#drop(), TOLD_MS);
    }
    if (state === 'refused') say(this.empty.firstChild, detail.explained);
    this.#draw();
  }

  #drop() {
    for (const session of this.#stale) this.#rows.delete(session);
    this.#stale.clear();
    this.#draw();
  }

  #take(summary) {
    const { session } = summary;
    const row = this.#rows.get(session);
    this.#stale.delete(session);
    if (summary.forgotten) {
      row?.element.remove();
      this.#rows.delete(session);
    } else if (row) {
      if (summary.alert && !row.summary.alert) say(this.news, `${session}: ${alertText(summary.alert)}`);
      row.summary = summary;
    } else this.#rows.set(session, new Row(summary));
    this.#changed.add(session);
    this.#draw();
  }

  /** Brings what changed to the page: rows in place, their order only where it is another. */
  #show() {
    for (const session of this.#changed) this.#rows.get(session)?.draw();
    this.#changed.clear();
    const rows = [...this.#rows.values()];
    const wanted = rows.filter(({ summary }) => SHOWN[this.#shown](summary) && this.#matches(summary));
    wanted.sort((a, b) => compare(a.summary, b.summary, ORDERS[this.#by]));
    const order = wanted.map(({ summary }) => summary.session).join('\n');
    if (order !== this.#order) {
      this.#order = order;
      arrange(this.list, wanted.map(({ element }) => element));
    }
    this.#count(rows.map(({ summary }) => summary));
    this.list.hidden = !wanted.length;
    this.empty.hidden = Boolean(wanted.length);
    if (this.#filled && !wanted.length) this.#explain(rows.length);
  }

  #matches({ session, channels }) {
    const names = [session, ...Object.keys(channels)].join('\n').toLowerCase();
    return names.includes(this.#sought);
  }

  #count(all) {
    const [live, alerts] = [all.filter(SHOWN.live).length, all.filter(SHOWN.alerts).length];
    say(this.counts, `${live} live, ${all.length - live} ended, ${plural(alerts, 'alert')}`);
    document.title = alerts ? `(${alerts}) ${this.title}` : this.title;
    const counts = { all: all.length, live, alerts };
    for (const button of this.buttons) {
      const { shown } = button.dataset;
      say(button, `${shown[0].toUpperCase()}${shown.slice(1)} ${counts[shown]}`);
    }
  }

  #explain(count) {
    const first = 'No session yet. Send audio, text or pictures to the gateway, or ';
    if (count) this.empty.replaceChildren(h('p', {}, 'No session matches.'));
    else this.empty.replaceChildren(h('p', {}, first, h('a', { href: '#/try' }, 'try it here'), '.'));
  }

  #tick() {
    const time = now();
    for (const row of this.#rows.values()) row.tick(time);
    const newest = Math.max(...[...this.#rows.values()].map(({ summary }) => (summary.ended ? 0 : summary.last)));
    this.status.lag(newest > 0 ? Math.max(0, time - newest) : null, null);
    if (document.hidden) this.#count([...this.#rows.values()].map(({ summary }) => summary));
  }
}

function compare(a, b, by) {
  return Boolean(a.ended) - Boolean(b.ended) || by(a, b) || a.session.localeCompare(b.session);
}

function alertText({ channel, reason, from, to }) {
  const name = voice(channel);
  return reason === 'fell' ? `${name}'s mood fell from ${signed(from)} to ${signed(to)}` : `${name}'s mood is bad: ${signed(to)}`;
}

/** One session. What it shows is touched only where it is another than before. */
class Row {
  #moods = new Map();

  constructor(summary) {
    this.summary = summary;
    this.name = h('a', { class: 'name' });
    this.lamp = h('span', { class: 'lamp' });
    this.word = h('span');
    this.state = h('span', { class: 'state' }, this.lamp, this.word);
    this.moods = h('div', { class: 'moods' });
    this.alert = h('div', { class: 'mark' });
    this.length = h('span', { class: 'num' });
    this.last = h('small', { class: 'num' });
    const when = h('div', { class: 'when' }, this.length, this.last);
    const title = h('div', {}, this.name, this.state);
    this.element = h('li', { class: 'row' }, title, this.moods, this.alert, when);
    this.draw();
  }

  draw() {
    const { session, ended, channels, alert } = this.summary;
    say(this.name, session);
    mark(this.name, 'href', `#/s/${encodeURIComponent(session)}`);
    mark(this.state, 'data-state', ended ? 'over' : 'live');
    mark(this.element, 'data-over', Boolean(ended));
    say(this.word, ended ? 'ended' : 'live');
    for (const name of ordered(channels)) this.#mood(name, channels[name]);
    const text = alert ? alertText(alert) : '';
    if (text !== (this.alert.title || '')) {
      this.alert.title = text;
      const parts = [icon('fall'), `${voice(alert?.channel)}: ${alert?.reason === 'fell' ? 'mood fell' : 'bad mood'}`];
      this.alert.replaceChildren(...(alert ? [h('span', { class: 'alert' }, parts)] : []));
    }
    this.tick(now());
  }

  #mood(name, { score, label, history }) {
    if (!this.#moods.has(name)) {
      const [box, spark, trend] = [scoreBox(), new Spark(), h('span', { class: 'unseen' })];
      const element = h('div', { class: 'mood' }, h('span', { title: voice(name) }, voice(name)), box, spark.element, trend);
      this.#moods.set(name, { element, box, spark, trend });
      this.moods.append(element);
    }
    const { element, box, spark, trend } = this.#moods.get(name);
    mark(element, 'data-mood', label || moodOf(score));
    showScore(box, score, label);
    spark.show(history);
    if (history.length > 1) say(trend, `before ${signed(history[0])}`);
  }

  tick(time) {
    const { start, last, ended } = this.summary;
    say(this.length, span((ended ? last : Math.max(last, time)) - start));
    say(this.last, time - last < 2000 && !ended ? 'now' : `${span(time - last)} ago`);
  }
}

/** Speakers before everybody together, the customer first, and at most four. */
function ordered(channels) {
  const names = Object.keys(channels).filter((name) => name || Object.keys(channels).length === 1);
  return names.sort((a, b) => (b === 'customer') - (a === 'customer') || a.localeCompare(b)).slice(0, 4);
}
