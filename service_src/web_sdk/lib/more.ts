/** `/lib.js?part=more`: what few pages use, loaded after the page. */

import { onCLS, onFCP, onINP, onLCP, onTTFB } from "web-vitals";

const more = {
  /** Reports each of the Core Web Vitals, and those beside them, as the page is left. */
  measure(report: (name: string, value: number) => void): void {
    for (const measured of [onCLS, onFCP, onINP, onLCP, onTTFB]) measured(({ name, value }) => report(name, Math.round(value * 1000) / 1000));
  },
};

(window as any)._rstatMore?.(more);
