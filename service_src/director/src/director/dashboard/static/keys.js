// The keyboard: single keys while nobody writes, arrows from card to card.

import { $, $$ } from "./dom.js";
import { closeMenus } from "./actions.js";
import { pause } from "./log.js";

const writes = (target) => target.closest("input, textarea, select, [contenteditable], dialog") !== null;

function go(target, focus = target) {
  target?.scrollIntoView({ block: "start" });
  focus?.focus({ preventScroll: true });
}

const KEYS = {
  "/": () => go($("#log"), $("#log-search")),
  g: () => go($("#main"), $(".card-name") ?? $("#main")),
  l: () => go($("#log"), $("#lines")),
  e: () => go($("#events"), $("#event-list summary") ?? $("#events-title")),
  p: () => $("#log-pause") && pause(),
};

export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return escape(event);
    if (writes(event.target)) return undefined;
    if (event.key.startsWith("Arrow") && event.target.matches(".card-name")) return step(event);
    const found = { ...KEYS, ...actions }[event.key];
    if (!found) return undefined;
    event.preventDefault();
    return found();
  });
  document.addEventListener("click", (event) => closeMenus(event.target.closest(".menu")));
}

function escape(event) {
  const open = $(".menu[open]");
  if (open) {
    closeMenus();
    $("summary", open).focus();
  } else if (event.target.matches("#log-search")) {
    event.target.value = "";
    event.target.dispatchEvent(new Event("input"));
    event.target.blur();
  }
}

// To the nearest card in the direction of the arrow, by where they stand on the screen.
function step(event) {
  const from = event.target.closest(".card").getBoundingClientRect();
  const sign = event.key === "ArrowRight" || event.key === "ArrowDown" ? 1 : -1;
  const [main, side] = event.key === "ArrowLeft" || event.key === "ArrowRight" ? ["left", "top"] : ["top", "left"];
  const ahead = $$(".card")
    .map((card) => ({ card, place: card.getBoundingClientRect() }))
    .filter(({ place }) => sign * (place[main] - from[main]) > 4)
    .sort((one, other) => cost(one.place) - cost(other.place));
  function cost(place) {
    return Math.abs(place[main] - from[main]) + 3 * Math.abs(place[side] - from[side]);
  }
  if (!ahead.length) return;
  event.preventDefault();
  $(".card-name", ahead[0].card).focus();
}
