/** Where a visit comes from: marks in the page's URL, and rules for referrers. */

import type { SourceType, WebSession } from "@rockstat/rock-me-ts";
import { hashCode } from "./ids";

export interface Source extends WebSession {
  type: SourceType;
  marks: Record<string, string | number>;
  hasMarks: boolean;
  refHash: number;
}

/** Host, engine, and the parameter with the words that were searched for. A host that ends with a dot stands for any domain below. */
type Rule = [host: string, engine: string, words?: string];

const RULES: [SourceType, Rule[]][] = [
  [
    "organic",
    [
      ["google.", "google", "q"],
      ["com.google.android.", "google"],
      ["yandex.", "yandex", "text"],
      ["ya.ru", "yandex", "text"],
      ["bing.com", "bing", "q"],
      ["yahoo.", "yahoo", "p"],
      ["duckduckgo.com", "duckduckgo", "q"],
      ["ecosia.org", "ecosia", "q"],
      ["baidu.com", "baidu", "wd"],
      ["go.mail.ru", "mailru", "q"],
      ["rambler.ru", "rambler", "query"],
    ],
  ],
  [
    "social",
    [
      ["facebook.com", "fb"],
      ["instagram.com", "instagram"],
      ["vk.com", "vk"],
      ["ok.ru", "ok"],
      ["linkedin.com", "linkedin"],
      ["lnkd.in", "linkedin"],
      ["t.co", "twitter"],
      ["x.com", "twitter"],
      ["reddit.com", "reddit"],
      ["t.me", "telegram"],
      ["youtube.com", "youtube"],
    ],
  ],
  [
    "campaign",
    [
      ["doubleclick.net", "google"],
      ["googleadservices.com", "google"],
      ["googlesyndication.com", "google"],
    ],
  ],
];

const OPENSTAT = ["os_source", "os_campaign", "os_content", "os_place"];

const matches = (host: string, rule: string): boolean => (rule.endsWith(".") ? `.${host}`.includes(`.${rule}`) : `.${host}`.endsWith(`.${rule}`));

function urlOf(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

const bareHost = (url: URL): string => url.hostname.replace(/^www\./, "");

function openstat(value: string): Record<string, string> {
  let text = value;
  try {
    if (!text.includes(";")) text = atob(text);
  } catch {
    // Not base64: taken as it is.
  }
  return Object.fromEntries(text.split(";").flatMap((part, at) => (OPENSTAT[at] && part ? [[OPENSTAT[at], part]] : [])));
}

/** Returns the marks of a campaign, then those of a partner. */
function marksOf(query: URLSearchParams): [campaign: Source["marks"], partner: Source["marks"]] {
  const campaign: Source["marks"] = {};
  const partner: Source["marks"] = {};
  query.forEach((value, key) => {
    if (key.startsWith("utm_")) campaign[key] ??= value;
    else if (key === "gclid" || key === "yclid") campaign[`has_${key}`] = 1;
    else if (key === "_openstat") Object.assign(campaign, openstat(value));
    else if (key === "pid" || key === "cid") partner[key] ??= value;
  });
  return [campaign, partner];
}

const some = (record: object): boolean => Object.keys(record).length > 0;

/** Returns the source of a visit to `page` that came from `ref`. */
export function sourceOf(page: string, ref: string): Source {
  const here = urlOf(page);
  const from = urlOf(ref);
  const query = here?.searchParams ?? new URLSearchParams();
  const [campaign, partner] = marksOf(query);
  const marks = { ...partner, ...campaign };
  const source: Source = { type: "direct", marks, hasMarks: some(marks), refHash: hashCode(ref) };
  if (some(marks)) source.marksHash = hashCode(JSON.stringify(marks));
  if (from) {
    source.refhost = bareHost(from);
    if (here && source.refhost === bareHost(here)) source.type = "internal";
    else Object.assign(source, byRules(from));
  }
  if (some(campaign)) source.type = "campaign";
  else if (some(partner)) source.type = "partner";
  else if (source.type === "direct" && /^(1|true)$/.test(query.get("inWebView") ?? "")) source.type = "webview";
  return source;
}

function byRules(from: URL): Partial<Source> {
  const host = bareHost(from);
  for (const [type, rules] of RULES) {
    for (const [domain, engine, words] of rules) {
      if (matches(host, domain)) {
        const keyword = words && from.searchParams.get(words);
        return keyword ? { type, engine, keyword } : { type, engine };
      }
    }
  }
  return { type: "referral" };
}

/** Whether a source begins a session of its own while another lasts. Opening its first page again does not. */
export const beginsSession = (source: Source, last: Partial<Source>): boolean =>
  /^(campaign|partner|organic|social)$/.test(source.type) && (source.refHash !== last.refHash || source.marksHash !== last.marksHash);
