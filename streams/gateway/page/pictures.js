/** Pictures of a session, fetched with the key when they are about to be seen, and what was found
in them: labels, faces and their expressions. */

import { at, request } from './api.js';
import { h } from './dom.js';
import { percent } from './format.js';

const FACE = 0.5; // a box that is less likely a face is not drawn
const LABELS = 4;

export class Pictures {
  #session;
  #watch = new IntersectionObserver((seen) => seen.forEach(({ target, isIntersecting }) => target.show(isIntersecting)), {
    rootMargin: '400px',
  });
  #shown = new Set();

  constructor(session) {
    this.#session = session;
  }

  close() {
    this.#watch.disconnect();
    for (const frame of this.#shown) frame.show(false);
  }

  /** The picture with its boxes, and the list of what it shows. Only those near what is seen are
  held: a call may have thousands. */
  figure({ image, time, labels, faces }) {
    const sure = faces.filter(({ confidence }) => confidence >= FACE);
    const path = at(this.#session, `/images/${encodeURIComponent(image)}?time=${time}`);
    const names = labels.slice(0, 2).map(({ name }) => name).join(', ');
    const alt = names ? `Picture of: ${names}` : 'Picture';
    const said = labels.slice(0, LABELS).map(({ name, probability }) => `${name} ${percent(probability)}`);
    const all = [...said, ...sure.map(faceText)];
    const list = h('ul', { class: 'labels', 'aria-label': 'What it shows' }, all.map((text) => h('li', {}, text)));
    return [this.#frame(path, alt, sure), list];
  }

  #frame(path, alt, faces) {
    const wait = h('span', { class: 'wait' }, 'picture');
    const frame = h('div', { class: 'frame' }, wait);
    let address = '';
    let wanted = false;
    frame.show = async (near) => {
      if (near === wanted) return;
      wanted = near;
      if (near) this.#shown.add(frame);
      else this.#shown.delete(frame);
      try {
        if (near && !address) address = await fetched(path);
        const picture = h('img', { alt, src: address });
        if (near) await picture.decode();
        if (near && wanted) frame.replaceChildren(picture, ...faces.map(faceBox));
      } catch (problem) {
        wait.textContent = `The picture is not there: ${problem.message}`;
      }
      if (wanted || !address) return;
      keepSize(wait, frame);
      frame.replaceChildren(wait);
      URL.revokeObjectURL(address);
      address = '';
    };
    this.#watch.observe(frame);
    return frame;
  }
}

const fetched = async (path) => URL.createObjectURL(await (await request(path, { cache: 'default' })).blob());

/** What stands for a picture takes the same room. */
function keepSize(wait, { clientWidth, clientHeight }) {
  if (clientWidth) Object.assign(wait.style, { width: `${clientWidth}px`, height: `${clientHeight}px` });
}

function faceText({ confidence, expression }) {
  const [first] = expression;
  if (!first) return `face ${percent(confidence)}`;
  return `face: ${first.name} ${percent(first.probability)}`;
}

function faceBox({ x, y, width, height, expression }) {
  const box = h('div', { class: 'face', 'aria-hidden': 'true' }, expression[0] && h('span', {}, expression[0].name));
  const places = { left: x, top: y, width, height };
  for (const [name, share] of Object.entries(places)) box.style[name] = `${share * 100}%`;
  return box;
}
