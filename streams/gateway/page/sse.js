/** Server-Sent Events out of pieces of text (WHATWG HTML, 9.2.6). Pure.

`EventSource` cannot send an Authorization header, hence a parser of our own. */

export class EventParser {
  #rest = '';
  #event = { type: '', data: [] };
  id = ''; // the last one, which may come with no data

  /** The events that a piece of text completes, as {id, type, data}. */
  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    return lines.map((line) => this.#take(line)).filter(Boolean);
  }

  #take(line) {
    if (line === '') return this.#dispatch();
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === 'data') this.#event.data.push(value);
    if (field === 'event') this.#event.type = value;
    if (field === 'id' && !value.includes('\0')) this.id = value;
    return null;
  }

  #dispatch() {
    const { type, data } = this.#event;
    this.#event = { type: '', data: [] };
    return data.length ? { id: this.id, type: type || 'message', data: data.join('\n') } : null;
  }
}
