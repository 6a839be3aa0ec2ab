/** Positions in the stream of events, as people write them: an end of it, a time, or the id of an entry. */

const LAST = 2n ** 64n - 1n;
const ID = /^[0-9]{1,20}-[0-9]{1,20}$/;
const MILLISECONDS = /^[0-9]{11,14}$/;
const SECONDS = /^[0-9]{9,10}(\.[0-9]{1,9})?$/;
const ISO = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)(Z|[+-]\d{2}:?\d{2})?)?$/;

/**
 * Returns the first id of a range; `$` for "now", behind all that is there.
 *
 * @param given `beginning`, `now`, a time (a Date; a text of ISO 8601, UTC where it names no zone; seconds or milliseconds since
 *   1970), or an entry's id
 * @throws RangeError where it is none of these
 */
export function firstId(given: string | number | Date): string {
  return idOf(given, "$", 0n);
}

/** Returns the last id of a range, which is in it; `+` for "now". Otherwise as `firstId`. */
export function lastId(given: string | number | Date): string {
  return idOf(given, "+", LAST);
}

/** Returns the id behind which a new group begins, so that the entry at the place is the first that it gets. As `firstId`. */
export function groupStart(given: string | number | Date): string {
  const first = firstId(given);
  return first === "$" ? first : before(first);
}

function idOf(given: string | number | Date, now: string, number: bigint): string {
  const text = given instanceof Date ? String(given.getTime()) : String(given).trim();
  if (text === "now") return now;
  if (text === "beginning") return "0-0";
  // Redis refuses a command with a larger number.
  return ID.test(text) && order(text).every((part) => part <= LAST) ? text : `${milliseconds(text)}-${number}`;
}

function milliseconds(text: string): number {
  if (MILLISECONDS.test(text)) return Number(text);
  if (SECONDS.test(text)) return Math.floor(Number(text) * 1000);
  const [, day, time = "00:00", zone = "Z"] = ISO.exec(text) ?? [];
  const moment = day ? Date.parse(`${day}T${time}${zone.replace(/(\d{2})(\d{2})$/, "$1:$2")}`) : Number.NaN;
  if (Number.isNaN(moment)) {
    throw new RangeError(
      `"${text.slice(0, 50)}" is not a place in the stream; give beginning, now, a time as in 2026-11-27T09:30, ` +
        "milliseconds since 1970, or an entry's id as in 1795470000000-0",
    );
  }
  return Math.max(0, moment);
}

/** Returns an entry's id as numbers, for comparison as Redis compares. */
export function order(id: string): [bigint, bigint] {
  const [first, number] = id.split("-");
  return [BigInt(first || 0), BigInt(number || 0)];
}

/** Tells whether one id is older than another. */
export function isOlder(one: string, other: string): boolean {
  const [a, b] = [order(one), order(other)];
  return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);
}

/** Returns the id before one: a group that begins there is given that one first. */
export function before(id: string): string {
  const [first, number] = order(id);
  if (number) return `${first}-${number - 1n}`;
  return first ? `${first - 1n}-${LAST}` : "0-0";
}
