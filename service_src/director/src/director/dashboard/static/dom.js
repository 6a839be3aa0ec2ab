// Small helpers over the document. HTML from the server is escaped there; text from anywhere else is set as text.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// The elements of a piece of HTML that this server rendered.
export function parse(html) {
  return [...new DOMParser().parseFromString(html, "text/html").body.children];
}

const two = (number) => String(number).padStart(2, "0");

export function clock(date) {
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

// The server writes UTC; whoever looks has a clock of their own.
export function localTimes(root) {
  const times = root.matches?.("time[data-clock]") ? [root] : $$("time[data-clock]", root);
  for (const time of times) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    time.title = `${date.toISOString()}`;
    time.textContent = time.dataset.clock === "full" ? `${day} ${clock(date)}` : clock(date);
  }
}

const SHOWN_FOR = 6000;
const MOST_NOTICES = 4;

// Say what happened. What went well leaves by itself; an error stays until it is closed.
export function notice(tone, title, { text = "", lines = [] } = {}) {
  const close = element("button", { type: "button", class: "quiet", "aria-label": "Close this notice" }, "✕");
  const box = element("div", { class: `notice tone-${tone}`, role: tone === "bad" ? "alert" : "status" }, element("strong", {}, title), close);
  if (text) box.append(element("p", { class: "muted" }, text));
  if (lines.length) box.append(element("pre", { tabindex: "0", "aria-label": "Last lines" }, lines.join("\n")));
  close.addEventListener("click", () => box.remove());
  const all = $("#notices");
  all.append(box);
  while (all.children.length > MOST_NOTICES) all.firstElementChild.remove();
  if (tone !== "bad") setTimeout(() => box.remove(), SHOWN_FOR);
}
