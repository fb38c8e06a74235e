/** Taking part in a session: microphone, files and typed text, sent to the gateway as any client
would send them. */

import { at, request } from './api.js';
import { h, icon, mark, say } from './dom.js';
import { Microphone } from './microphone.js';

export class Part {
  #session;
  #sent;
  #microphone = null;
  #heard = null; // resolves when the microphone is over

  /** `sent` is called when text was accepted. */
  constructor(session, sent) {
    this.#session = session;
    this.#sent = sent;
    this.#build();
  }

  close() {
    this.#microphone?.stop();
  }

  focus() {
    this.toggle.focus();
  }

  #build() {
    this.name = h('input', { value: 'customer', maxlength: 100, list: 'speakers', spellcheck: 'false' });
    this.text = h('input', { placeholder: 'Type a message', maxlength: 16384, 'aria-label': 'Message' });
    this.toggle = h('button', { type: 'button', class: 'first', onclick: () => this.#listen() }, icon('mic'), h('span', {}, 'Start microphone'));
    this.level = h('i');
    this.meter = h('span', { class: 'level', hidden: true, 'aria-hidden': 'true' }, this.level);
    this.files = h('input', { type: 'file', accept: 'audio/*,image/*', multiple: true, hidden: true, onchange: () => this.#take(this.files.files) });
    this.report = h('p', { class: 'report', role: 'status' });
    const attach = h('button', { type: 'button', onclick: () => this.files.click() }, icon('file'), h('span', { class: 'word' }, 'Audio or picture'));
    const end = h('button', { type: 'button', onclick: () => this.#end() }, 'End', h('span', { class: 'word' }, ' session'));
    const speakers = h('datalist', { id: 'speakers' }, ['customer', 'agent'].map((value) => h('option', { value })));
    const means = h('div', { class: 'means' }, this.toggle, this.meter, attach, this.files, end);
    const as = h('label', { class: 'as' }, 'as', this.name, speakers);
    const send = h('button', { type: 'submit' }, icon('send'), h('span', { class: 'word' }, 'Send'));
    const form = h('form', { onsubmit: (event) => this.#type(event) }, as, this.text, send);
    this.element = h('section', { class: 'part', 'aria-label': 'Take part', hidden: true }, means, form, this.report);
  }

  get #channel() {
    return this.name.value.trim() || 'customer';
  }

  #path(rest) {
    return at(this.#session, `${rest}?channel=${encodeURIComponent(this.#channel)}`);
  }

  #tell(text, bad = false) {
    say(this.report, text);
    mark(this.report, 'data-bad', bad);
  }

  /** Does something at the gateway, and says what became of it. */
  async #try(doing, act, done) {
    this.#tell(doing);
    try {
      await act();
      this.#tell(done);
    } catch (problem) {
      this.#tell(problem.message, true);
    }
  }

  async #listen() {
    if (this.#microphone) {
      this.#microphone.stop();
      return;
    }
    this.#microphone = new Microphone(this.#session, this.#channel, {
      level: (share) => {
        this.level.style.transform = `scaleX(${share})`;
      },
      state: (text, bad) => this.#tell(text, bad),
    });
    this.#show(true);
    this.#heard = this.#microphone.start();
    await this.#heard;
    this.#microphone = null;
    this.#show(false);
  }

  #show(listening) {
    this.toggle.replaceChildren(icon(listening ? 'stop' : 'mic'), h('span', {}, listening ? 'Stop microphone' : 'Start microphone'));
    this.meter.hidden = !listening;
    this.name.disabled = listening;
  }

  #type(event) {
    event.preventDefault();
    const text = this.text.value.trim();
    if (!text) return;
    const body = JSON.stringify({ text, speaker: this.#channel, kind: 'message' });
    this.#try('Sending …', async () => {
      await request(this.#path('/text'), { method: 'POST', body, headers: { 'Content-Type': 'application/json' } });
      this.text.value = '';
      this.#sent();
    }, 'Sent.');
  }

  /** Sends files, and says at the end what became of them all. */
  #take(list) {
    const files = [...list];
    this.files.value = '';
    if (!files.length) return;
    const what = files.length === 1 ? files[0].name : `${files.length} files`;
    const all = async () => {
      const failures = (await Promise.all(files.map((file) => this.#send(file)))).filter(Boolean);
      if (failures.length) throw new Error(failures.join('; '));
    };
    this.#try(`Sending ${what} …`, all, `${what} ${files.length === 1 ? 'was' : 'were'} accepted.`);
  }

  /** Why it was not sent, or ''. */
  async #send(file) {
    const kind = { audio: 'audio', image: 'images', video: 'audio' }[file.type.split('/')[0]];
    if (!kind) return `${file.name} is neither audio nor a picture`;
    try {
      await request(this.#path(`/${kind}`), { method: 'POST', body: file, headers: { 'Content-Type': file.type } });
      return '';
    } catch (problem) {
      return `${file.name}: ${problem.message}`;
    }
  }

  /** What the microphone has heard goes before the end; if that fails, it stays to be read. */
  async #end() {
    this.#microphone?.stop();
    if (this.#microphone && !(await this.#heard)) return;
    this.#try('Ending …', () => request(at(this.#session, '/end'), { method: 'POST' }), 'The session is ended; what is still to come appears in a moment.');
  }

  /** Sends files that are dropped on an element; `opens` is called before. */
  takeDropped(element, opens) {
    const over = (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      mark(element, 'data-drop', event.type === 'dragover');
      if (event.type === 'drop') {
        opens();
        this.#take(event.dataTransfer.files);
      }
    };
    for (const name of ['dragover', 'dragleave', 'drop']) element.addEventListener(name, over);
  }
}
