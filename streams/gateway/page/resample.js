/** Audio at any rate to 16 kHz, by a windowed sinc: what is above 8 kHz does not fold back. Pure. */

export const RATE = 16_000;
const LOBES = 16;
const CUTOFF = 0.92; // of the half rate

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

export class Resampler {
  #step;
  #filters;
  #held = new Float32Array(0);
  #place = 0; // of the next sample, in parts of an input sample

  constructor(rate) {
    const common = divisor(rate, RATE);
    this.parts = RATE / common;
    this.#step = rate / common;
    const width = Math.max(1, rate / RATE);
    this.taps = Math.ceil(LOBES * width) * 2;
    this.#filters = Array.from({ length: this.parts }, (_, part) => filter(this.taps, part / this.parts, CUTOFF / width));
  }

  /** What can be told of the samples so far; the rest waits for those that follow. */
  push(samples) {
    const input = new Float32Array(this.#held.length + samples.length);
    input.set(this.#held);
    input.set(samples, this.#held.length);
    const made = [];
    for (;;) {
      const first = Math.floor(this.#place / this.parts);
      if (first + this.taps > input.length) break;
      made.push(dot(this.#filters[this.#place % this.parts], input, first));
      this.#place += this.#step;
    }
    const used = Math.min(input.length, Math.floor(this.#place / this.parts));
    this.#place -= used * this.parts;
    this.#held = input.slice(used);
    return made;
  }
}

function filter(taps, shift, cutoff) {
  const made = Array.from({ length: taps }, (_, i) => {
    const x = i - taps / 2 - shift;
    const lobe = x === 0 ? cutoff : Math.sin(Math.PI * cutoff * x) / (Math.PI * x);
    return lobe * (0.5 + 0.5 * Math.cos((2 * Math.PI * x) / (taps + 2)));
  });
  const sum = made.reduce((total, each) => total + each, 0);
  return Float32Array.from(made, (each) => each / sum);
}

function dot(weights, input, first) {
  let sum = 0;
  for (let i = 0; i < weights.length; i += 1) sum += weights[i] * input[first + i];
  return sum;
}

/** Samples between -1 and 1 as 16-bit numbers. */
export const pcm16 = (samples) => Int16Array.from(samples, (each) => Math.max(-1, Math.min(1, each)) * 32767);
