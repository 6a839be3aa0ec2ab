/** What a listener gets: events of its keys, with personal data, without it, or without those set aside and of visitors who objected. */

const OF_EVENT = new Set(["uid", "td"]);
/** `alias`, `context` and `user` are how libraries of other products name a visitor and a device. */
const OF_DATA = new Set(["alias", "context", "fpid", "stored", "uid", "user"]);
const OF_PLACE = new Set(["lat", "lon", "postal", "district_en"]);

type Fields = Record<string, unknown>;

/** Tells whether the sender of an event objects to being tracked: front marks it with the reasons. */
export function objected(event: Fields): boolean {
  const mark = event.privacy;
  return Array.isArray(mark) ? mark.length > 0 : Boolean(mark);
}

/** Returns an event without what names a person or a device; the event itself stays as it is. */
export function impersonal(event: Fields): Fields {
  const left = without(event, OF_EVENT);
  if (isFields(event.data)) {
    const data = without(event.data, OF_DATA);
    for (const [key, value] of Object.entries(data)) if (isFields(value) && "country_iso" in value) data[key] = without(value, OF_PLACE);
    left.data = data;
  }
  return left;
}

/** Tells whether an event's key is under one of some dotted prefixes; `*` stands for all. */
export function isUnder(key: unknown, prefixes: readonly string[]): boolean {
  const name = String(key ?? "");
  return prefixes.some((prefix) => prefix === "*" || name === prefix || name.startsWith(`${prefix}.`));
}

/** Returns a listener function that is only given events under `keys`; the others count as taken. */
export function choosing(func: (given: any, context: any) => unknown, keys: readonly string[], batch: boolean): (given: any, context: any) => unknown {
  return (given, context) => {
    if (!batch) return isUnder(given?.key, keys) ? func(given, context) : undefined;
    if (!Array.isArray(given)) return func(given, context); // called by hand
    const left = given.filter(({ key }) => isUnder(key, keys));
    return left.length ? func(left, context) : undefined;
  };
}

/** Returns a listener function that is only given what its declaration allows. */
export function guarded(func: (given: any, context: any) => unknown, personal: boolean, batch: boolean): (given: any, context: any) => unknown {
  const allowed = (events: Fields[]) => (personal ? events.filter((event) => !(event.aside || objected(event))) : events.map(impersonal));
  return (given, context) => {
    const left = allowed(batch ? given : [given]);
    return left.length ? func(batch ? left : left[0], context) : undefined;
  };
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function without(fields: Fields, names: Set<string>): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.has(name)));
}
