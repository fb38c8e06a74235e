/** A session's results on their way to its conversation; and the final captions to screen readers. */

import { Stream, at, now, request } from './api.js';
import { h } from './dom.js';
import { speaker } from './format.js';
import { Conversation } from './model.js';
import { Delays } from './status.js';

const HEARD = 3; // captions that the live region holds
const TEXTS_MS = 5000; // typed messages are no results, and are asked for so often

export class Feed {
  delays = new Delays();
  #texts = 0;
  #asking = false;
  #tag = ''; // of the texts that came last
  #complete = null; // the ending after which texts were asked for

  /** `changed` is told that there is something new, `state` how the stream is. */
  constructor(session, { changed, state }) {
    this.session = session;
    this.conversation = new Conversation(session);
    this.changed = changed;
    this.log = h('div', { class: 'unseen', role: 'log', 'aria-live': 'polite', 'aria-label': 'Live captions' });
    this.stream = new Stream(at(session, '/results'), {
      take: (event) => this.#take(event.data),
      state: (name, detail) => {
        if (name === 'open') this.#ask();
        state(name, detail);
      },
    });
    this.#texts = setInterval(this.#ask, TEXTS_MS);
    document.addEventListener('visibilitychange', this.#ask);
  }

  close() {
    this.stream.close();
    clearInterval(this.#texts);
    document.removeEventListener('visibilitychange', this.#ask);
  }

  /** How old the newest result is (ms), or null where there is none, or nothing is to come. */
  get age() {
    const { newest, ending } = this.conversation;
    return newest === -Infinity || ending ? null : Math.max(0, now() - newest);
  }

  /** Asks as long as something may be typed, and once more after the end. */
  #ask = () => {
    const { ending } = this.conversation;
    if (!ending || ending !== this.#complete) this.askForTexts();
  };

  async askForTexts() {
    if (this.#asking || document.hidden) return;
    this.#asking = true;
    const { ending } = this.conversation;
    try {
      const headers = { Accept: 'application/json', 'If-None-Match': this.#tag };
      const answer = await request(at(this.session, '/texts'), { quiet: true, headers });
      const before = this.conversation.version;
      if (answer.status !== 304) this.conversation.takeTexts((await answer.json()).texts);
      this.#tag = answer.headers.get('ETag') || '';
      this.#complete = ending;
      if (this.conversation.version !== before) this.changed();
    } catch {
      // The stream says what is wrong with the gateway; this is tried again.
    } finally {
      this.#asking = false;
    }
  }

  #take(result) {
    const late = now() - result.time;
    this.conversation.take(result);
    if (this.conversation.ending === result.data) this.#ask();
    if (result.data.final !== false) this.delays.add(late); // else its time is yet to come
    if (result.type === 'tenor.caption.final.v1' && late < Delays.LIVE_MS) this.#announce(result.data);
    this.changed();
  }

  #announce({ channel, text }) {
    this.log.append(h('p', {}, `${speaker(channel)}: ${text}`));
    while (this.log.childElementCount > HEARD) this.log.firstChild.remove();
  }
}
