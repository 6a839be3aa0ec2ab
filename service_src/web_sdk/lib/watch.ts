/** What a visitor does on the page: clicks, forms, activity, scrolling. Never the values of fields. */

import type { WebScroll } from "@rockstat/rock-me-ts";

type Track = (name: string, data?: Record<string, unknown>) => void;

const MAX_TEXT = 255;
const SCROLL_END_MS = 500;
const ACTIVITY = (
  "touchstart touchmove touchend touchcancel touchenter touchleave click mousedown mouseup mousemove wheel mousewheel " +
  "scroll keydown keypress keyup focus blur resize"
).split(" ");

const on = (types: string[], handler: (event: Event) => void): void => {
  for (const type of types) (type === "resize" ? window : document).addEventListener(type, handler, { capture: true, passive: true });
};

const closest = (event: Event, selector: string): HTMLElement | null =>
  event.target instanceof Element ? (event.target.closest(selector) as HTMLElement | null) : null;

const textOf = (element: HTMLElement): string => (element.textContent ?? "").trim().slice(0, MAX_TEXT);

export function watchClicks(track: Track, options: { allClicks?: boolean }): void {
  on(["click"], (event) => {
    const link = closest(event, "a") as HTMLAnchorElement | null;
    if (link) {
      const { href, target } = link;
      const outbound = `${link.protocol}//${link.host}` !== location.origin;
      track("link_click", { href: String(href), text: textOf(link), outbound, target });
    } else if (options.allClicks) {
      const element = closest(event, "*");
      if (element) track("element_click", { ...fieldData(element), text: element.closest("input,textarea,select") ? undefined : textOf(element) });
    }
  });
}

const attribute = (element: Element, name: string): string | null => element.getAttribute(name);

function formData(form: Element | null | undefined): Record<string, unknown> {
  if (!form) return { ferr: "Form element absent" };
  return {
    fmthd: attribute(form, "method"),
    fact: attribute(form, "action"),
    fname: attribute(form, "name"),
    fcls: attribute(form, "class") ?? "",
    fid: attribute(form, "id") ?? "",
  };
}

function fieldData(element: Element): Record<string, unknown> {
  return {
    etag: element.tagName.toLowerCase(),
    etype: attribute(element, "type"),
    ename: attribute(element, "name"),
    eph: attribute(element, "placeholder"),
    ecl: attribute(element, "class") ?? "",
    eid: attribute(element, "id") ?? "",
  };
}

export function watchForms(track: Track): void {
  on(["submit"], (event) => track("form_submit", { event: "submit", ...formData(closest(event, "form")) }));
  on(["focus", "blur", "change", "invalid"], (event) => {
    const field = closest(event, "input,textarea,select");
    if (field) track(`field_${event.type}`, { event: event.type, ...fieldData(field), ...formData(field.closest("form")) });
  });
}

let maxScroll = 0;

/** Returns how far the page is scrolled. */
export function position(): WebScroll {
  const html = document.documentElement;
  const docHeight = Math.max(html.scrollHeight, document.body?.scrollHeight ?? 0);
  const clientHeight = window.innerHeight;
  const topOffset = Math.round(window.scrollY);
  const hidden = docHeight - clientHeight;
  const scroll = Math.min(100, Math.max(0, hidden > 0 ? Math.round((100 * topOffset) / hidden) : 0));
  maxScroll = Math.max(maxScroll, scroll);
  return { docHeight, clientHeight, topOffset, scroll, maxScroll };
}

export interface Activity {
  /** Resets all counters for another page. */
  clear(): void;
  flush(): void;
}

export function watchActivity(track: Track, options: { zeroEvents?: boolean; flushInterval?: number; scrollEvents?: boolean; domEvents?: boolean }): Activity {
  const interval = options.flushInterval ?? 5;
  let counts: Record<string, number> = {};
  let iteration = 0;
  let active = 0;
  let scrolled: ReturnType<typeof setTimeout> | undefined;
  const flush = (): void => {
    if (!options.zeroEvents && !Object.keys(counts).length) return;
    track("activity", { interval, iteration, active: ++active, ...counts });
    counts = {};
  };
  on(ACTIVITY, ({ type }) => {
    counts[type] = (counts[type] ?? 0) + 1;
    if (type === "scroll" && options.scrollEvents !== false) {
      clearTimeout(scrolled);
      scrolled = setTimeout(track, SCROLL_END_MS, "scroll");
    }
  });
  if (options.domEvents !== false) {
    setInterval(() => {
      iteration++;
      flush();
    }, interval * 1000);
  }
  return {
    clear(): void {
      counts = {};
      iteration = active = maxScroll = 0;
    },
    flush: options.domEvents === false ? () => {} : flush,
  };
}

/** Calls back after each change of the page's address. */
export function watchRoutes(changed: () => void): void {
  const later = (): void => void setTimeout(changed, 0);
  for (const name of ["pushState", "replaceState"] as const) {
    const original = history[name];
    history[name] = function (this: History, ...given: Parameters<typeof original>): void {
      original.apply(this, given);
      later();
    };
  }
  for (const type of ["popstate", "hashchange"]) window.addEventListener(type, later);
}
