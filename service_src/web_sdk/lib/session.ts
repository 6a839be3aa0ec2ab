/** Sessions: one ends after half an hour without an event, or when the visitor comes back from a campaign, a search or a network. */

import type { WebSession } from "@rockstat/rock-me-ts";
import { beginsSession, type Source, sourceOf } from "./source";
import * as storage from "./storage";

const SESSION = { session: true };

/** Counts an event, after the session that it begins, if it begins one: `begun` is called for that. */
export function countEvent(name: string, page: { url: string; ref: string }, seconds: number, campaignSeconds: number, begun: () => void): void {
  // Leaving a page that was forgotten is neither a visit nor a sign of life.
  if (name === "page_unload") {
    storage.count("scevs", SESSION);
    return;
  }
  const now = Date.now();
  const last = storage.get<number>("levent");
  const session = storage.get<Source>("lsess");
  storage.set("levent", now);
  const source = sourceOf(page.url, page.ref);
  const begins = !last || !session || now - last > seconds * 1000 || beginsSession(source, session);
  if (begins) {
    source.num = storage.count("csess");
    source.start = now;
    storage.set("lsts", now, SESSION);
    storage.set("scpages", 0, SESSION);
    storage.set("scevs", 0, SESSION);
    storage.set("lsess", source);
    if (source.type === "campaign") storage.set("lcamp", source, { expires: campaignSeconds });
  }
  storage.count(name === "page" ? "scpages" : "scevs", SESSION);
  if (begins) begun();
}

export const sessionNumber = (): number => storage.get<number>("csess") ?? 0;

/** Returns `sess` of an event. */
export function sessionData(): WebSession {
  const { refHash: _, ...session } = storage.get<Source>("lsess") ?? ({} as Source);
  return { pageNum: storage.get<number>("scpages", SESSION) ?? 0, eventNum: storage.get<number>("scevs", SESSION) ?? 0, ...session };
}
