/** Runs beside the page: what the microphone hears, as blocks of 100 ms of 16-bit audio. */

import { RATE, Resampler, pcm16 } from './resample.js';

const BLOCK = RATE / 10;

class Recorder extends AudioWorkletProcessor {
  #resampler = new Resampler(sampleRate);
  #samples = [];

  process([input]) {
    if (!input.length) return true;
    this.#samples.push(...this.#resampler.push(mixed(input)));
    while (this.#samples.length >= BLOCK) {
      const block = pcm16(this.#samples.splice(0, BLOCK));
      this.port.postMessage(block.buffer, [block.buffer]);
    }
    return true;
  }
}

function mixed([first, ...others]) {
  if (!others.length) return first;
  return first.map((sample, i) => others.reduce((sum, each) => sum + each[i], sample) / (others.length + 1));
}

registerProcessor('recorder', Recorder);
