/** How the page is connected, and how far behind: for all views, in the head of the page. */

import { say } from './dom.js';
import { delay, span } from './format.js';

const WORDS = { connecting: 'connecting', open: 'connected', idle: 'not connected' };

export class Status {
  #box = document.getElementById('link');
  #word = document.getElementById('link-state');
  #lag = document.getElementById('link-lag');
  #until = 0;
  #timer = 0;

  /** Takes a state as `Stream` says it. */
  show(state, detail) {
    this.#box.dataset.state = state;
    clearInterval(this.#timer);
    if (state === 'waiting') {
      this.#until = detail;
      say(this.#word, 'connection lost');
      this.#timer = setInterval(() => this.#count(), 1000);
      this.#count();
      return;
    }
    say(this.#word, state === 'refused' ? detail.title : WORDS[state]);
    this.#box.title = state === 'refused' ? detail.message : '';
    if (state !== 'open') say(this.#lag, '');
  }

  /** How old the newest result is, and how long results take from the event to the page (ms). */
  lag(age, late) {
    if (this.#box.dataset.state !== 'open') return;
    const parts = [late === null ? '' : `delay ${delay(late)}`, age === null ? '' : `newest ${delay(age)} old`];
    say(this.#lag, parts.filter(Boolean).map((part) => `· ${part}`).join(' '));
  }

  #count() {
    say(this.#lag, `· again in ${span(Math.max(0, this.#until - Date.now()))}`);
  }
}

/** The delay of live results: the median of the newest, from their event time to their arrival. */
export class Delays {
  #newest = [];

  /** What came later than this was not live, but told again. */
  static LIVE_MS = 20_000;

  add(ms) {
    if (ms > Delays.LIVE_MS) return;
    this.#newest.push(ms);
    if (this.#newest.length > 21) this.#newest.shift();
  }

  get median() {
    const sorted = [...this.#newest].sort((a, b) => a - b);
    return sorted.length ? sorted[sorted.length >> 1] : null;
  }
}
