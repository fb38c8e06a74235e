/** Where the page begins: which view an address names, the colours, the key, the connection. */

import { key, onKeyWanted } from './api.js';
import { Begin } from './begin.js';
import { Display } from './display.js';
import { say } from './dom.js';
import { Overview } from './overview.js';
import { SessionView } from './session.js';
import { Status } from './status.js';

const main = document.getElementById('main');
const status = new Status();
let view = null;

/** The view of an address such as #/s/call-17/captions. */
function viewOf(hash) {
  const [, kind, session, mode] = hash.split('/').map(decoded);
  if (kind === 'try') return new Begin(status);
  if (kind !== 's' || !session) return new Overview(status);
  if (mode === 'captions') return new Display(session, status);
  return new SessionView(session, status, { takesPart: mode === 'try' });
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function route() {
  const first = !view;
  view?.close();
  view = viewOf(location.hash);
  main.replaceChildren(view.element);
  document.title = view.title;
  for (const link of document.querySelectorAll('[data-nav]')) {
    if (link.dataset.nav === view.nav) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (!first) main.focus();
}

const THEMES = ['automatic', 'light', 'dark'];

function dress(theme) {
  const root = document.documentElement;
  if (theme === 'automatic') delete root.dataset.theme;
  else root.dataset.theme = theme;
  say(document.getElementById('theme-name'), `Colours: ${theme}`);
  document.getElementById('theme').title = `Colours: ${theme}`;
  document.dispatchEvent(new Event('colours'));
}

let theme = localStorage.getItem('tenor.theme') || THEMES[0];

document.getElementById('theme').addEventListener('click', () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  localStorage.setItem('tenor.theme', theme);
  dress(theme);
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => dress(theme));

/** Asks for a key; resolves to whether one was given. */
function askForKey(problem) {
  const dialog = document.getElementById('ask-key');
  const field = document.getElementById('ask-key-value');
  say(document.getElementById('ask-key-why'), key.get() ? problem.message : '');
  field.value = '';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      'close',
      () => {
        const used = dialog.returnValue === 'use' && field.value.trim();
        if (used) key.set(used);
        field.value = '';
        resolve(Boolean(used));
      },
      { once: true },
    );
  });
}

onKeyWanted(askForKey);
document.getElementById('ask-key-cancel').addEventListener('click', () => document.getElementById('ask-key').close());
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault(); // the address after # is the view's
  main.focus();
});
addEventListener('hashchange', route);
dress(theme);
route();
