/** The way to the gateway: requests with the key, its problems as errors, and results as a stream
that mends itself. The key is kept for this tab only, and is never part of an address. */

import { EventParser } from './sse.js';

const KEY = 'tenor.key';
const SILENT_MS = 45_000; // three pings of the gateway did not come: the connection is dead
const GONE = 410; // the log does not reach back to the cursor: all is told again
const FIRST_WAIT_MS = 500;
const SKEW_MS = 3000;
const LONGEST_WAIT_MS = 15_000;

/** An answer that is a problem (RFC 9457), or the network's failure (status 0). */
export class Problem extends Error {
  constructor(status, title, detail = '', retryAfterMs = 0) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.retryAfterMs = retryAfterMs;
  }

  /** All of it, for people. */
  get explained() {
    const hint = this.status === 401 ? ' Reload the page to give a key.' : '';
    return `${this.title}. ${this.message}.${hint}`;
  }

  /** Whether trying again may help without anybody doing something. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) || '',
  set: (value) =>
    value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY),
};

let askForKey = async () => false;

/** Says who asks people for a key; resolves to whether there is a new one. */
export function onKeyWanted(ask) {
  let asking = null;
  askForKey = (problem) => {
    asking ||= ask(problem).finally(() => {
      asking = null;
    });
    return asking;
  };
}

let ahead = 0; // of this machine's clock, if by more than the way here explains

/** The time of day (ms) as the gateway has it. */
export const now = () => Date.now() - ahead;

function compareClocks(response) {
  const by = Date.now() - Date.parse(response.headers.get('Date'));
  ahead = Math.abs(by) > SKEW_MS ? by : 0; // NaN is not more
}

/** A session's address below /v1. */
export const at = (session, rest) => `/v1/sessions/${encodeURIComponent(session)}${rest}`;

/** Answers a request, or throws a Problem; asks for a key when one is wanted, unless `quiet`, and
tries again. 304 is an answer, for who sent an If-None-Match. */
export async function request(path, { headers, quiet, ...options } = {}) {
  for (;;) {
    const used = key.get();
    const secret = used ? { Authorization: `Bearer ${used}` } : {};
    const response = await fetched(path, { ...options, headers: { ...headers, ...secret } });
    if (response.ok || response.status === 304) return response;
    const problem = await problemOf(response);
    const changed = problem.status === 401 && key.get() !== used;
    if (problem.status !== 401) throw problem;
    if (!changed && (quiet || !(await askForKey(problem)))) throw problem;
  }
}

async function fetched(path, options) {
  try {
    return await fetch(path, { cache: 'no-store', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, 'The gateway cannot be reached');
  }
}

async function problemOf(response) {
  const said = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get('Retry-After')) || 0;
  const title = said.title || `The gateway answered ${response.status}`;
  return new Problem(response.status, title, said.detail, seconds * 1000);
}

/** WebSocket subprotocols that carry the key. */
export const protocols = () => (key.get() ? ['tenor', key.get()] : []);

export function socketAddress(path) {
  const address = new URL(path, location.href);
  address.protocol = address.protocol.replace('http', 'ws');
  return address.href;
}

/** How long to wait before the nth try: doubled each time, and never the same for two pages. */
export function backoff(tries, random = Math.random()) {
  const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** tries);
  return longest * (0.5 + random / 2);
}

/**
 * Follows a stream of events for as long as it is wanted, over any number of connections: each
 * goes on behind the last event that came. `take` gets {id, type, data}, with data parsed.
 * `state` gets 'connecting', 'open', 'waiting' (with when it tries again) or 'refused' (a Problem).
 */
export class Stream {
  #take;
  #state;
  #path;
  #cursor = '';
  #tries = 0;
  #abort = null;
  #wake = () => {};
  #closed = false;
  #online = () => this.#wake();

  constructor(path, { take, state }) {
    this.#path = path;
    this.#take = take;
    this.#state = state;
    addEventListener('online', this.#online);
    queueMicrotask(() => this.#follow()); // who made it is not ready for a state yet
  }

  close() {
    this.#closed = true;
    removeEventListener('online', this.#online);
    this.#abort?.abort();
    this.#wake();
  }

  async #follow() {
    while (!this.#closed) {
      const problem = await this.#connect().catch((error) => {
        if (!(error instanceof Problem || this.#closed)) reportError(error); // a fault of this page
        return error;
      });
      if (this.#closed) return;
      if (problem?.status === GONE) this.#cursor = '';
      else if (problem instanceof Problem && !problem.passing) {
        this.#state('refused', problem);
        return;
      }
      await this.#pause(Math.max(problem?.retryAfterMs || 0, backoff(this.#tries++)));
    }
  }

  /** One connection, until it ends. */
  async #connect() {
    this.#state('connecting');
    this.#abort = new AbortController();
    const resume = this.#cursor ? { 'Last-Event-ID': this.#cursor } : {};
    const headers = { Accept: 'text/event-stream', ...resume };
    const response = await request(this.#path, { headers, signal: this.#abort.signal });
    compareClocks(response);
    this.#state('open');
    let silence = this.#watch();
    const parser = new EventParser();
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    try {
      for (;;) {
        const { value, done } = await reader.read().catch(() => ({ done: true }));
        if (done || this.#closed) return;
        clearTimeout(silence);
        silence = this.#watch();
        for (const event of parser.push(decoder.decode(value, { stream: true }))) this.#pass(event);
        this.#cursor = parser.id || this.#cursor;
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #pass(event) {
    this.#tries = 0;
    if (event.id) this.#cursor = event.id;
    try {
      this.#take({ ...event, data: JSON.parse(event.data) });
    } catch (error) {
      reportError(error); // the events behind it count all the same
    }
  }

  #watch() {
    const abort = this.#abort;
    return setTimeout(() => abort.abort(), SILENT_MS);
  }

  #pause(ms) {
    this.#state('waiting', Date.now() + ms);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
