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
  #recorder = null;
  #tries = 0;
  #timer = 0;
  #over = false;

  /** `tell` gets `level` (0..1), `state` (text, whether it is bad), and `over` once at the end. */
  constructor(session, channel, tell) {
    this.#session = session;
    this.#channel = channel;
    this.#tell = tell;
  }

  async start() {
    try {
      this.#tell.state('Waiting for the microphone …');
      this.#recorder = await record((block) => this.#hear(block), () => this.stop());
      this.#connect();
    } catch (error) {
      this.#finish(EXPLAINED[error.name] ?? error.message, true);
    }
  }

  /** Stops to listen; what was heard is still sent. */
  stop() {
    const recorder = this.#recorder;
    this.#recorder = null;
    if (!recorder) return;
    recorder.stop();
    this.#tell.level(0);
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
        ready = true;
        this.#tries = 0;
        this.#tell.state(this.#recorder ? 'Listening. What you say is sent to the gateway.' : 'Sending the rest …');
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
    if (this.#recorder || this.#socket.told) return;
    this.#socket.told = true;
    this.#socket.send(JSON.stringify({ type: 'close' }));
  }

  async #lost(ready, why) {
    if (this.#over) return;
    this.#socket = null;
    let problem = why && new Problem(why.status, why.title, why.detail);
    if (!problem && !ready) problem = await this.#refusal();
    if (problem && !problem.passing) {
      this.stop();
      this.#finish(problem.message, true);
      return;
    }
    this.#tell.state('Connection lost; what you say is kept, and sent when it is back', true);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), backoff(this.#tries++));
  }

  /** A browser does not tell why a WebSocket was refused; an empty message is refused alike. */
  async #refusal() {
    try {
      await request(at(this.#session, '/text'), { method: 'POST' });
    } catch (problem) {
      if ([401, 403].includes(problem.status)) return problem;
    }
    return null;
  }

  #finish(text, bad = false) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#tell.state(text, bad);
    this.#tell.over();
  }
}

const EXPLAINED = {
  NotAllowedError: 'The browser does not allow the microphone: change that beside the address, and try again',
  NotFoundError: 'There is no microphone',
  NotReadableError: 'Another program holds the microphone',
};

/** Records blocks of 16-bit audio until it is stopped; `lost` is called if the microphone goes. */
async function record(hear, lost) {
  if (!navigator.mediaDevices) throw new Error('A browser gives the microphone only to pages over https, or of this machine');
  const sound = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: sound });
  const context = new AudioContext();
  const stop = () => {
    for (const track of stream.getTracks()) track.stop();
    context.close();
  };
  try {
    await context.audioWorklet.addModule('/page/worklet.js');
    await context.resume();
    const node = new AudioWorkletNode(context, 'recorder', { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => hear(data);
    context.createMediaStreamSource(stream).connect(node);
    stream.getTracks()[0].onended = lost;
    return { stop };
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
