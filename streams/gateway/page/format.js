/** How numbers, times and names are said to people. Pure. */

const MINUS = '\u2212';

/** A score as +0.42 or −0.42: the sign is never left to the colour alone. */
export function signed(score) {
  const digits = Math.abs(score).toFixed(2);
  if (digits === '0.00') return digits;
  return (score < 0 ? MINUS : '+') + digits;
}

export const percent = (share) => `${Math.round(share * 100)} %`;

/** A place in a conversation: m:ss, or h:mm:ss from an hour on. */
export function clock(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const two = (number) => String(number).padStart(2, '0');
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** A length of time in its largest unit: 8 s, 4 min, 2 h, 3 d. */
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** A delay, finer than a span as long as it is short. */
export const delay = (ms) => (ms < 9950 ? `${Math.max(0, ms / 1000).toFixed(1)} s` : span(ms));

export const date = (ms) =>
  new Date(ms).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** A channel as people know it; '' is everybody in sentiment, and nobody in particular in speech. */
export const speaker = (channel) => channel || 'speaker';
export const voice = (channel) => channel || 'together';

/** The likeliest of named probabilities, as [name, probability]. */
export const likeliest = (shares) =>
  Object.entries(shares).reduce((best, each) => (each[1] > best[1] ? each : best), ['', 0]);

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
