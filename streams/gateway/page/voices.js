/** Which colour a speaker has: the same in all parts of a view. */

const COLOURS = 5;

export class Palette {
  #places = new Map([['customer', 0], ['agent', 1]]);
  #next = 2;

  /** The value of data-voice. */
  of(channel) {
    if (channel === '') return 'all';
    if (!this.#places.has(channel)) this.#places.set(channel, this.#next++);
    return this.#places.get(channel) % COLOURS;
  }
}

/** What a colour of the sheet is just now, for a canvas, which knows no variables. */
const probe = document.createElement('span');
const known = new Map();
document.addEventListener('colours', () => known.clear());

export function ink(name) {
  if (!known.has(name)) {
    if (!probe.isConnected) {
      probe.hidden = true;
      document.body.append(probe);
    }
    probe.style.color = `var(--${name})`;
    known.set(name, getComputedStyle(probe).color);
  }
  return known.get(name);
}
