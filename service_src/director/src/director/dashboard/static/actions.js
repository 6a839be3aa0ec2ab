// What can be done: each action is one POST to the director's API, asked for first where something is lost.

import { $, $$, element, localTimes, notice, parse } from "./dom.js";
import { choose } from "./log.js";
import { morph } from "./morph.js";

const DONE = { run: "is running", start: "started", restart: "restarted", stop: "stopped", rm: "removed", rollback: "rolled back" };

const QUESTIONS = {
  stop: (name) => ({ title: `Stop ${name}?`, text: "It stays stopped until it is started again, even across a host reboot.", yes: "Stop" }),
  restart: (name) => ({ title: `Restart ${name}?`, text: "A fresh container of the same image takes over when it answers.", yes: "Restart" }),
  rm: (name) => ({ title: `Remove ${name}?`, text: "Its containers and settings are removed, secrets included. Its volumes and images are kept.", yes: "Remove", danger: true }),
  rebuild: () => ({ title: "Rebuild changed services?", text: "Every running service whose folder changed is built and replaced, one after the other. The others are not touched.", yes: "Rebuild" }),
  "replay-all": (name) => ({ title: `Replay all dead letters of ${name}?`, text: "Each is processed again; those that fail come back here with the new reason.", yes: "Replay" }),
  "delete-all": (name) => ({ title: `Delete all dead letters of ${name}?`, text: "This cannot be undone.", yes: "Delete all", danger: true }),
  delete: () => ({ title: "Delete this dead letter?", text: "This cannot be undone.", yes: "Delete", danger: true }),
};

export async function act(button) {
  const { act: verb, name, id } = button.dataset;
  button.closest(".menu")?.removeAttribute("open");
  const back = button.closest(".menu")?.querySelector("summary") ?? button;
  if (verb === "log") return showLog(name);
  if (verb === "run") return runForm(name, back);
  if (verb === "rollback") return rollbackForm(name, back);
  if (verb === "move") return moveForm(name, back);
  const question = QUESTIONS[verb]?.(name);
  if (question && !(await confirmed(question, back))) return undefined;
  if (verb === "rebuild") return rebuild(button);
  if (verb.startsWith("replay")) return letters(button, "replay_dead_letters", name, id ? { id } : {});
  if (verb.startsWith("delete")) return letters(button, "delete_dead_letters", name, id ? { id } : { all: true });
  return change(verb, name, {}, button);
}

// POST, and say what came of it. Returns the answer, or `failed` when it failed.
async function post(path, body, what, failed = null) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    notice("bad", `${what}: the director does not answer`, { text: "It may still carry out the action. This page shows the result when the director is back." });
    return failed;
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  const { message = `status ${answer.status}`, hint = "", log = [], exit_code: code } = found.error ?? {};
  const ended = code === undefined || code === null ? "" : ` Exit code ${code}.`;
  notice("bad", `${what}: ${message}`, { text: `${hint}${ended}`, lines: Array.isArray(log) ? log.map(String) : [] });
  return failed;
}

async function change(verb, name, body, button) {
  button?.setAttribute("aria-busy", "true");
  const done = await post(`/${verb}/${encodeURIComponent(name)}`, body, `${name} was not ${verb === "run" ? "run" : DONE[verb]}`);
  button?.removeAttribute("aria-busy");
  if (done) notice("ok", `${name} ${DONE[verb]}`);
  if (done && verb === "rm" && $("#grid")?.dataset.only === name) location.assign("/");
  return done;
}

async function rebuild(button) {
  button.setAttribute("aria-busy", "true");
  const results = await post("/rebuild_all", {}, "Nothing was rebuilt");
  button.removeAttribute("aria-busy");
  if (!results) return;
  const failed = results.filter((one) => one.result === "failed");
  const rebuilt = results.filter((one) => one.result === "rebuilt").map((one) => one.name);
  for (const one of failed) notice("bad", `${one.name}: ${one.error?.message ?? "failed"}`, { text: one.error?.hint, lines: one.error?.log ?? [] });
  notice("ok", rebuilt.length ? `Rebuilt: ${rebuilt.join(", ")}` : "Nothing had changed");
}

async function letters(button, path, name, body) {
  button.setAttribute("aria-busy", "true");
  const done = await post(`/${path}/${encodeURIComponent(name)}`, body, "The dead letters were not changed");
  button.removeAttribute("aria-busy");
  if (!done) return;
  if (!path.startsWith("replay")) notice("ok", `${done.deleted ?? 0} deleted`);
  else if (done.started === false) notice("bad", "Nothing was replayed", { text: done.reason ?? "" });
  else if (done.stopped) notice("bad", `The replay stopped after ${done.replayed ?? 0} of ${done.letters}`, { text: `${done.stopped_at ?? ""} ${done.stopped}`.trim() });
  else notice("ok", "Replay started");
  const only = $("#dead").dataset.only;
  const fresh = await fetch(only ? `/dashboard/dead?name=${encodeURIComponent(only)}` : "/dashboard/dead");
  if (fresh.ok) morph($("#dead"), parse(await fresh.text())[0]);
}

function showLog(name) {
  if (!$("#log")) return location.assign(`/#log=${name}`);
  choose(name);
  $("#log").scrollIntoView({ block: "start" });
  return $("#lines").focus({ preventScroll: true });
}

// --- dialogs

// Show a dialog; resolves with the value of the button it was closed by ("" for Esc), focus goes back where it was.
export function ask(content, back) {
  const dialog = $("#dialog");
  dialog.replaceChildren(...content);
  localTimes(dialog);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "cancel" ? "" : dialog.returnValue);
      if (back?.isConnected) back.focus();
    }, { once: true });
  });
}

async function confirmed({ title, text, yes, danger = false }, back) {
  const form = element("form", { method: "dialog" },
    element("h2", { id: "dialog-title" }, title),
    element("p", { class: "muted" }, text),
    element("div", { class: "dialog-acts" },
      element("button", { value: "cancel", autofocus: true }, "Cancel"),
      element("button", { value: "go", class: danger ? "primary danger" : "primary" }, yes)));
  return (await ask([form], back)) === "go";
}

async function form(path, back) {
  const answer = await fetch(path).catch(() => null);
  if (!answer?.ok) {
    notice("bad", "The director did not answer", { text: "Try again in a moment." });
    return null;
  }
  const content = parse(await answer.text());
  return (await ask(content, back)) === "go" ? new FormData(content[0]) : null;
}

async function runForm(name, back) {
  const given = await form(`/dashboard/form/run/${encodeURIComponent(name)}`, back);
  if (!given) return;
  const stored = Boolean($("#dialog form")?.dataset.stored);
  const env = {};
  for (const [key, value] of given) if (key.startsWith("env.") && value) env[key.slice(4)] = value;
  if (given.get("more-key") && given.get("more-value")) env[given.get("more-key")] = given.get("more-value");
  $("#dialog").replaceChildren();
  const body = given.get("nocache") ? { nocache: true } : {};
  if (Object.keys(env).length && stored) {
    // What was given before stays: single keys are changed, where `env` of /run would replace them all.
    const changes = Object.fromEntries(Object.entries(env).map(([key, value]) => [`env.${key}`, value]));
    if (!(await post(`/update_config/${encodeURIComponent(name)}`, changes, `${name} was not run`))) return;
  } else if (Object.keys(env).length) {
    body.env = env;
  }
  notice("info", `${name}: building the image if it changed, then starting`);
  await change("run", name, body, null);
}

const FAILED = Symbol("failed"); // a method may return null

// Calls a method with what its form holds; empty fields are left out, the service checks the rest.
export async function callMethod(form) {
  const { name, method } = form.dataset;
  const shown = $("pre", form);
  let body = {};
  for (const field of $$("input, select, textarea", form)) {
    if (!field.value.trim()) continue;
    try {
      const value = field.dataset.json ? JSON.parse(field.value) : field.value;
      if (field.name) body[field.name] = value;
      else body = { ...body, ...value };
    } catch {
      notice("bad", `${method} was not called`, { text: `${field.name || "Parameters"}: not valid JSON` });
      return;
    }
  }
  const button = $("button", form);
  button.setAttribute("aria-busy", "true");
  shown.hidden = true;
  const found = await post(`/call/${encodeURIComponent(name)}/${encodeURIComponent(method)}`, body, "The call failed", FAILED);
  button.removeAttribute("aria-busy");
  if (found === FAILED) return;
  shown.hidden = false;
  // As the templates do: nothing in an answer hides or turns around text.
  shown.textContent = JSON.stringify(found, null, 2).replace(/[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, "\ufffd");
}

async function rollbackForm(name, back) {
  const given = await form(`/dashboard/form/rollback/${encodeURIComponent(name)}`, back);
  if (given?.get("to")) await change("rollback", name, { to: given.get("to") }, null);
}

async function moveForm(name, back) {
  const card = document.getElementById(`card-${name}`);
  const [column, row] = (card?.dataset.pos || `${card?.dataset.col ?? 1}x${card?.dataset.row ?? 1}`).split("x");
  const number = (label, value) => element("label", { class: "field" }, element("span", {}, label),
    element("input", { name: label.toLowerCase(), type: "number", min: "0", max: "99", value, required: true, inputmode: "numeric" }));
  const content = element("form", { method: "dialog" },
    element("h2", { id: "dialog-title" }, `Move ${name}`),
    element("p", { class: "muted" }, "Columns run from left to right, like the path of an event, rows from top to bottom. Empty ones are not shown."),
    element("div", { class: "pair-fields" }, number("Column", column), number("Row", row)),
    element("div", { class: "dialog-acts" }, element("button", { value: "cancel", formnovalidate: true }, "Cancel"), element("button", { value: "go", class: "primary" }, "Move")));
  if ((await ask([content], back)) !== "go") return;
  const given = new FormData(content);
  const pos = `${given.get("column")}x${given.get("row")}`;
  if (await post(`/set_pos/${encodeURIComponent(name)}`, { pos }, `${name} was not moved`)) notice("ok", `${name} moved to ${pos}`);
}

export function closeMenus(except = null) {
  for (const menu of $$(".menu[open]")) if (menu !== except) menu.removeAttribute("open");
}
