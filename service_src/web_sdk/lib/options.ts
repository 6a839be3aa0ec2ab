/** The options of `configure`, and what follows from them. */

export type Mode = "off" | "opt-in" | "opt-out" | "cookieless";

export interface Options {
  /** Host, or URL, of the server; default: where the script came from. */
  server: string;
  /** A path before the server's own, such as `/stats`. */
  pathPrefix: string;
  urlMark: string;
  projectId: number | string;
  /** The project's public key. */
  key: string;
  sessionTimeout: number;
  lastCampaignExpires: number;
  cookieDomain: string;
  cookiePath: string;
  cookiePrefix: string;
  lcPrefix: string;
  /** A mode, or what the site's own banner knows: true, false. */
  consent?: Mode | boolean | string;
  trackActivity: boolean | { zeroEvents?: boolean; flushInterval?: number; scrollEvents?: boolean; domEvents?: boolean };
  trackClicks: boolean | { allClicks?: boolean };
  trackForms: boolean;
  /** A page view at each change of the route. */
  trackPages: boolean;
  trackVitals: boolean;
  /** false: does nothing on pages without TLS. */
  allowHTTP?: boolean;
  allowSendBeacon: boolean;
  allowXHR: boolean;
}

const GRANTS = ["1", "true", "yes", "on", "given", "granted"];
const MODES = ["off", "opt-in", "opt-out", "cookieless"];

export const grants = (word: unknown): boolean => GRANTS.includes(String(word).trim().toLowerCase());

export const refuses = (word: unknown): boolean => /^(0|false|no|off|denied|refused)$/i.test(String(word));

/** Returns the mode that the option `consent` names; undefined if it names none. */
export function modeOf(consent: unknown): Mode | undefined {
  if (consent === "required") return "opt-in";
  return MODES.includes(consent as string) ? (consent as Mode) : undefined;
}

/** Returns the URL of the server, without a slash at its end. */
export function baseOf(server: string, pathPrefix: string, script: string, allowHTTP: boolean | undefined): string {
  if (!server) return script.replace(/\/lib\.js.*$/, "");
  const url = /^https?:\/\//.test(server) ? server : `${allowHTTP ? location.protocol : "https:"}//${server.replace(/^\/\//, "")}`;
  return (url + pathPrefix).replace(/\/+$/, "");
}
