/** Begins a session of one's own. */

import { h, icon } from './dom.js';

/** A name that nobody else has chosen. */
function newName() {
  const random = crypto.getRandomValues(new Uint32Array(1))[0].toString(36).slice(0, 5);
  return `try-${new Date().toISOString().slice(0, 10)}-${random}`;
}

export class Begin {
  title = 'Try it · Tenor';
  nav = 'try';

  constructor(status) {
    status.show('idle');
    const name = h('input', { id: 'name', value: newName(), required: true, maxlength: 200, spellcheck: 'false' });
    const begin = (event) => {
      event.preventDefault();
      location.hash = `#/s/${encodeURIComponent(name.value.trim())}/try`;
    };
    this.element = h(
      'form',
      { class: 'page begin', onsubmit: begin },
      h('h1', {}, 'Try it'),
      h('p', {}, 'Begin a session of your own. Speak into the microphone, type, or drop a recording or a picture; captions and mood appear as you do. What you send goes to this gateway and to nobody else.'),
      h('label', { for: 'name' }, 'Name of the session'),
      name,
      h('p', { class: 'actions' }, h('button', { type: 'submit', class: 'first' }, icon('mic'), 'Begin')),
    );
  }

  close() {}
}
