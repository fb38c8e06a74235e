/** What a microphone hears, to the gateway: nothing is lost or sent twice when the connection drops. */

import { Problem, at, backoff, protocols, request, socketAddress } from './api.js';

const BLOCK_MS = 100;
const MOST_BLOCKS = 1200; // two minutes wait for the gateway, then recording stops
const AHEAD_BYTES = 200_000; // in the browser's own buffer, not yet on the network

/**
 * Blocks of 100 ms that the gateway has not confirmed yet, over any number of connections. Pure.
 * Each message of the gateway says where a line of audio is (`start`, `sequence`), and how much of
 * what this connection sent is confirmed; a new connection goes on there.
 */
export class Outbox {
  #blocks = [];
  #first = 0; // number of the oldest block that is held
  #next = 0; // number of the block that is to be sent next
  #base = 0; // number of the block with which this connection began
  #place = null;

  get length() {
    return this.#blocks.length;
  }

  add(block) {
    this.#blocks.push(block);
  }

  /** A connection begins: what is to be said in its address. */
  begin() {
    this.#next = this.#base = this.#first;
    const { start, sequence } = this.#place ?? {};
    return start === undefined || start === null ? {} : { start, sequence };
  }

  /** The next block for this connection, or null. */
  take() {
    const block = this.#blocks[this.#next - this.#first];
    if (block === undefined) return null;
    this.#next += 1;
    return block;
  }

  /** The gateway says how far it is. */
  confirmed({ start, sequence, confirmed_ms: confirmedMs }) {
    this.#place = { start, sequence };
    const until = this.#base + Math.floor(confirmedMs / BLOCK_MS);
    this.#blocks.splice(0, until - this.#first);
    this.#first = Math.max(this.#first, until);
  }
}

export class Microphone {
  #session;
  #channel;
  #tell;
  #outbox = new Outbox();
  #socket = null;
  #wanted = new AbortController();
  #records = false;
  #served = false;
  #tries = 0;
  #timer = 0;
  #over = null;

  /** `tell` gets `level` (0..1) and `state` (text, whether it is bad). */
  constructor(session, channel, tell) {
    this.#session = session;
    this.#channel = channel;
    this.#tell = tell;
  }

  /** Listens until it is stopped; resolves when it is over, to whether all that was heard is sent. */
  start() {
    const over = new Promise((resolve) => {
      this.#over = resolve;
    });
    this.#listen();
    return over;
  }

  async #listen() {
    try {
      this.#tell.state('Waiting for the microphone …');
      await record((block) => this.#hear(block), () => this.stop(), this.#wanted.signal);
      this.#records = true;
      this.#connect();
    } catch (error) {
      this.#finish(EXPLAINED[error.name] ?? error.message, true);
    }
  }

  get #listens() {
    return !this.#wanted.signal.aborted;
  }

  /** Stops to listen, also if it has not begun to; what was heard is still sent. */
  stop() {
    if (!this.#listens) return;
    this.#wanted.abort();
    this.#tell.level(0);
    if (!this.#records) this.#finish('Stopped.');
    if (this.#socket) this.#tell.state('Sending the rest …');
    this.#pump();
  }

  #hear(block) {
    this.#outbox.add(block);
    this.#tell.level(loudness(block));
    if (this.#outbox.length >= MOST_BLOCKS) {
      this.stop();
      this.#tell.state('The gateway is away for too long: recording has stopped, what was recorded is sent later', true);
    }
    this.#pump();
  }

  #connect() {
    const query = new URLSearchParams({ channel: this.#channel, encoding: 'linear16', sample_rate: 16000, ...this.#outbox.begin() });
    const socket = new WebSocket(socketAddress(at(this.#session, `/audio?${query}`)), protocols());
    this.#socket = socket;
    let ready = false;
    let why = null;
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === 'error') why = message.problem;
      else this.#outbox.confirmed(message);
      if (message.type === 'ready') {
        ready = this.#served = true;
        this.#tries = 0;
        this.#tell.state(this.#listens ? 'Listening. What you say is sent to the gateway.' : 'Sending the rest …');
      }
      if (message.type === 'closed') this.#finish('Everything was sent.');
      else this.#pump();
    };
    socket.onclose = () => this.#lost(ready, why);
  }

  #pump() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    while (this.#socket.bufferedAmount < AHEAD_BYTES) {
      const block = this.#outbox.take();
      if (block) this.#socket.send(block);
      else {
        this.#rest();
        return;
      }
    }
  }

  /** All was sent; if nothing more is to come, the gateway is told, and confirms it. */
  #rest() {
    if (this.#listens || this.#socket.told) return;
    this.#socket.told = true;
    this.#socket.send(JSON.stringify({ type: 'close' }));
  }

  async #lost(ready, why) {
    if (!this.#over) return;
    this.#socket = null;
    let problem = why && new Problem(why.status, why.title, why.detail);
    if (!problem && !ready) problem = await this.#refusal();
    const busy = problem?.status === 429;
    if (problem && (!problem.passing || (busy && !this.#served))) {
      this.#finish(problem.message, true);
      return;
    }
    this.#tell.state(`${busy ? problem.message : 'Connection lost'}; what you say is kept, and sent when it is back`, true);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), Math.max(problem?.retryAfterMs ?? 0, backoff(this.#tries++)));
  }

  /** A browser does not tell why a WebSocket was refused; an empty recording is refused alike. */
  async #refusal() {
    try {
      await request(at(this.#session, '/audio'), { method: 'POST', headers: { 'Content-Type': 'audio/wav' } });
    } catch (problem) {
      if ([401, 403, 429].includes(problem.status)) return problem;
    }
    return null;
  }

  #finish(text, bad = false) {
    const over = this.#over;
    this.#over = null;
    if (!over) return;
    this.#wanted.abort();
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#tell.state(text, bad);
    over(!bad);
  }
}

const EXPLAINED = {
  NotAllowedError: 'The browser does not allow the microphone: change that beside the address, and try again',
  NotFoundError: 'There is no microphone',
  NotReadableError: 'Another program holds the microphone',
};

/** Records blocks of 16-bit audio until `signal` is aborted; `lost` is called if the microphone goes. */
async function record(hear, lost, signal) {
  if (!navigator.mediaDevices) throw new Error('A browser gives the microphone only to pages over https, or of this machine');
  const sound = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: sound });
  const context = new AudioContext();
  const stop = () => {
    for (const track of stream.getTracks()) track.stop();
    context.close().catch(() => {}); // it is closed already
  };
  signal.addEventListener('abort', stop);
  try {
    signal.throwIfAborted();
    await context.audioWorklet.addModule('/page/worklet.js');
    await context.resume();
    signal.throwIfAborted();
    const node = new AudioWorkletNode(context, 'recorder', { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => hear(data);
    context.createMediaStreamSource(stream).connect(node);
    stream.getTracks()[0].onended = lost;
  } catch (error) {
    stop();
    throw error;
  }
}

/** From silence (0) to as loud as can be (1), as ears hear it. */
function loudness(block) {
  const samples = new Int16Array(block);
  const mean = samples.reduce((sum, each) => sum + each * each, 0) / samples.length;
  return Math.max(0, Math.min(1, 1 + Math.log10(Math.sqrt(mean) / 32768 + 1e-6) / 2.5));
}
