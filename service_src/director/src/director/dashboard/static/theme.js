// Light, dark, or as the system has it; remembered in a cookie, so that the server sends the page in it at once.

const ORDER = ["", "light", "dark"];
const WORDS = { "": "system", light: "light", dark: "dark" };
const YEAR = 365 * 24 * 3600;
const root = document.documentElement;

const now = () => root.dataset.theme ?? "";

export function nextTheme() {
  const theme = ORDER[(ORDER.indexOf(now()) + 1) % ORDER.length];
  if (theme) root.dataset.theme = theme;
  else delete root.dataset.theme;
  document.querySelector("meta[name=color-scheme]").content = theme || "light dark";
  document.cookie = `band_theme=${theme}; path=/; max-age=${theme ? YEAR : 0}; SameSite=Strict`;
  sayTheme();
}

export function sayTheme() {
  const label = `Theme: ${WORDS[now()]}`;
  const button = document.querySelector("[data-act=theme]");
  button.setAttribute("aria-label", label);
  button.title = label;
}
