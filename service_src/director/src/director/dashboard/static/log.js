// The live log: one socket, the newest lines in memory, as many of them shown as pass the search.

import { $, clock, element } from "./dom.js";
import { Socket } from "./socket.js";

const KEPT = 5000;
const SHOWN = 1500;
const SOON = 80;
// Colours and cursor moves of terminals, and other characters that do not print.
const CONTROLS = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])|[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

// As words.py has them: what a line says of itself, and the time that it begins with, which stands beside it.
const LEVEL = /\[(error|critical|warning)\s*\]|"level": ?"(error|critical|warning)"/i;
const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?\s+/;

let lines = [];
let fresh = [];
let socket;
let paused = false;
let timer = 0;
let state = "connecting";

export function startLog() {
  const box = $("#lines");
  if (!box) return;
  box.replaceChildren();
  for (const id of ["log-name", "log-search", "log-pause", "log-clear"]) $(`#${id}`).disabled = false;
  $("#log-name").addEventListener("change", (event) => choose(event.target.value));
  $("#log-search").addEventListener("input", redraw);
  $("#log-pause").addEventListener("click", pause);
  $("#log-clear").addEventListener("click", clear);
  socket = new Socket("/ws", { message: take, state: connection });
}

export function choose(name) {
  const select = $("#log-name");
  if (![...select.options].some((option) => option.value === name)) select.append(element("option", { value: name }, name));
  select.value = name;
  clear();
  if (paused) pause();
  socket.move(name ? `/ws?name=${encodeURIComponent(name)}` : "/ws");
}

export function pause() {
  const button = $("#log-pause");
  paused = !paused;
  button.setAttribute("aria-pressed", String(paused));
  if (!paused) flush();
  foot();
}

function clear() {
  lines = [];
  fresh = [];
  redraw();
}

function connection(now) {
  if (now === "live") {
    // The server begins with the lines it keeps: those of before would stand here twice.
    lines = [];
    fresh = [];
    $("#lines").replaceChildren();
  }
  state = now;
  foot();
}

function take(line) {
  line.text = line.data.replace(CONTROLS, "").replace(STAMP, "");
  fresh.push(line);
  if (fresh.length > KEPT) fresh.splice(0, fresh.length - KEPT);
  if (!timer) timer = setTimeout(soon, SOON);
}

function soon() {
  timer = 0;
  if (paused) foot();
  else flush();
}

// Lines of several services begin with those of before, one service after the other: they are put in order.
function flush() {
  const added = fresh;
  fresh = [];
  if (!added.length) return;
  let last = lines.at(-1)?.ts ?? 0;
  let ordered = true;
  for (const line of added) {
    ordered &&= line.ts >= last;
    last = line.ts;
    lines.push(line);
  }
  if (!ordered) lines.sort((one, other) => one.ts - other.ts || (one.id.length - other.id.length || (one.id < other.id ? -1 : 1)));
  if (lines.length > KEPT) lines.splice(0, lines.length - KEPT);
  if (ordered) append(added);
  else redraw();
}

const query = () => $("#log-search").value.trim().toLowerCase();
const passes = (line, wanted) => !wanted || line.text.toLowerCase().includes(wanted) || line.cname.includes(wanted);

function append(added) {
  const box = $("#lines");
  const wanted = query();
  const end = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  box.append(...added.filter((line) => passes(line, wanted)).slice(-SHOWN).map((line) => row(line, wanted)));
  while (box.childElementCount > SHOWN) box.firstElementChild.remove();
  if (end) box.scrollTop = box.scrollHeight;
  foot();
}

function redraw() {
  const box = $("#lines");
  const wanted = query();
  box.replaceChildren(...lines.filter((line) => passes(line, wanted)).slice(-SHOWN).map((line) => row(line, wanted)));
  box.scrollTop = box.scrollHeight;
  foot();
}

function row(line, wanted) {
  const date = new Date(line.ts);
  const time = element("time", { datetime: date.toISOString(), title: date.toISOString() }, clock(date));
  const text = element("span", { class: "text" }, ...marked(line.text, wanted));
  const kind = line.source === "stdout" ? "" : `${line.source}: `;
  const who = element("span", { class: "who", title: line.cid }, line.cname);
  const level = line.text.match(LEVEL);
  const tone = level ? ` l-${/warning/i.test(level[0]) ? "warning" : "error"}` : "";
  return element("div", { class: `line s-${line.source}${tone}` }, time, who, kind ? element("span", { class: "sr" }, kind) : "", text);
}

function marked(text, wanted) {
  if (!wanted) return [text];
  const parts = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    parts.push(text.slice(from, at), element("mark", {}, text.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  parts.push(text.slice(from));
  return parts;
}

function foot() {
  const wanted = query();
  const shown = $("#lines").childElementCount;
  let text = wanted ? `${shown} of ${lines.length} lines have “${wanted}”` : `${lines.length} lines`;
  if (!lines.length) text = "No output yet.";
  if (paused) text = `Paused; ${fresh.length} new ${fresh.length === 1 ? "line waits" : "lines wait"}. ${text}`;
  if (state === "away") text = `Log stream disconnected; reconnecting. ${text}`;
  if (state === "slow") text = `Too many lines for this page; reconnecting. ${text}`;
  $("#log-state").textContent = text;
}
