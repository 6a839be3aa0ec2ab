// Keeps the services, the folders, the events and the dead letters as the server sees them.

import { $, $$, element, localTimes, notice, parse } from "./dom.js";
import { morph } from "./morph.js";
import { Socket } from "./socket.js";

const MOST_EVENTS = 50;
const SAID_AFTER = 2500;
let away = 0;
let leaving = false;
let paused = false;

export function keepFresh() {
  link("wait", "connecting");
  new Socket("/dashboard/live", { message: take, state: connection });
  $("form[action='/dashboard/logout']")?.addEventListener("submit", () => (leaving = true));
  $("#events-pause")?.removeAttribute("disabled");
  $("#events-pause")?.addEventListener("click", pauseEvents);
}

function link(state, word) {
  const shown = $("#link");
  shown.dataset.state = state;
  $(".link-word", shown).textContent = word;
}

function connection(state) {
  if (state === "live") {
    clearTimeout(away);
    if ($("#link").dataset.state === "away") notice("ok", "The director is back");
    away = 0;
    link("live", "live");
  } else {
    if (!away) {
      link("wait", "connecting");
      away = setTimeout(() => link("away", "The director does not answer; trying again"), SAID_AFTER);
    }
    ended();
  }
}

// A session that has ended cannot be told from a director that is away by its socket alone.
// Log out closes the sockets before its own response leads to the login; a second way there would cross it.
async function ended() {
  if (leaving) return;
  const answer = await fetch("/list", { headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.status === 403) location.assign(`/dashboard/login?next=${encodeURIComponent(location.pathname)}`);
}

function take(message) {
  if (message.kind === "board") showBoard(message);
  else if (message.kind === "events") showEvents(message);
}

function showBoard({ parts, order, troubled }) {
  const grid = $("#grid");
  const only = grid?.dataset.only;
  const waiting = new Map();
  for (const [id, html] of Object.entries(parts)) {
    if (id === "dead" && $("#dead")?.dataset.only) continue;
    const [fresh] = parse(html);
    const old = document.getElementById(id);
    if (old && fresh) morph(old, fresh);
    else if (fresh && id.startsWith("card-")) waiting.set(id, fresh);
  }
  if (order && grid && !only) arrange(grid, order, waiting);
  if (troubled !== undefined && !only && $("#services-title")) document.title = `${troubled ? `(${troubled}) ` : ""}Rockstat Band`;
}

function arrange(grid, order, waiting) {
  const wanted = new Set(order.map(([name]) => `card-${name}`));
  for (const card of [...grid.children]) if (!wanted.has(card.id)) card.remove();
  order.forEach(([name, column, row], index) => {
    const card = document.getElementById(`card-${name}`) ?? waiting.get(`card-${name}`);
    if (!card) return;
    card.dataset.col = column;
    card.dataset.row = row;
    if (grid.children[index] !== card) grid.insertBefore(card, grid.children[index] ?? null);
  });
  grid.dataset.cols = Math.max(1, ...order.map(([, column]) => column));
  $("#none").hidden = order.length > 0;
  names(order.map(([name]) => name).sort());
}

function names(all) {
  const select = $("#log-name");
  const have = $$("option", select).slice(1).map((option) => option.value);
  if (have.join() === all.join()) return;
  const chosen = select.value;
  if (chosen && !all.includes(chosen)) all.push(chosen);
  select.replaceChildren(select.options[0], ...all.map((name) => element("option", { value: name }, name)));
  select.value = chosen;
}

function showEvents({ html, rate }) {
  const list = $("#event-list");
  if (!list) return;
  if (rate !== null) $("#events-rate").textContent = rate ? `${rate.toLocaleString()}/s` : "";
  if (paused) return;
  for (const text of html) {
    const [item] = parse(text);
    if (!item || document.getElementById(item.id)) continue;
    localTimes(item);
    item.classList.add("new");
    list.prepend(item);
  }
  for (const item of $$(":scope > .event", list).slice(MOST_EVENTS)) item.remove();
  $("#no-events").hidden = list.children.length > 0;
}

function pauseEvents({ currentTarget: button }) {
  paused = !paused;
  button.setAttribute("aria-pressed", String(paused));
}
