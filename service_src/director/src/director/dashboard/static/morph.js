// Makes an element like another one with the fewest changes: focus, open menus and selections stay as they are.
// What has no id is told apart by its place among its siblings: what people open or focus needs one where others come and go.

import { localTimes } from "./dom.js";

// What the person who looks has changed, and not the server.
const THEIRS = new Set(["open", "aria-expanded"]);

export function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    if (fresh.nodeType === Node.ELEMENT_NODE) localTimes(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.matches("time[data-clock]") && old.getAttribute("datetime") === fresh.getAttribute("datetime")) return;
  attributes(old, fresh);
  children(old, fresh);
  if (old.matches("time[data-clock]")) localTimes(old);
}

function attributes(old, fresh) {
  for (const { name, value } of [...fresh.attributes]) {
    if (!THEIRS.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    const waits = name === "aria-busy" && old.nodeName === "BUTTON"; // an action of this page is under way
    if (!fresh.hasAttribute(name) && !THEIRS.has(name) && name !== "title" && !waits) old.removeAttribute(name);
  }
}

function children(old, fresh) {
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  const staying = new Set([...fresh.children].map((child) => child.id).filter((id) => known.has(id)));
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const same = wanted.id ? known.get(wanted.id) : null;
    // What goes is taken away from before it: an element that is moved loses the focus of what is in it.
    while (same && at && at !== same && !staying.has(at.id)) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
    if (same && same !== at) old.insertBefore(same, at);
    if (same) {
      morph(same, wanted);
      at = same.isConnected ? same.nextSibling : at;
    } else if (at && !(at.id || wanted.id)) {
      const next = at.nextSibling;
      morph(at, wanted);
      at = next;
    } else {
      old.insertBefore(wanted, at);
      if (wanted.nodeType === Node.ELEMENT_NODE) localTimes(wanted);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
