// Starts the page: fresh parts, the log, actions, keys, colours.

import { act, ask, callMethod } from "./actions.js";
import { keepFresh } from "./board.js";
import { $, localTimes } from "./dom.js";
import { listen } from "./keys.js";
import { choose, startLog } from "./log.js";
import { nextTheme, sayTheme } from "./theme.js";

const root = document.documentElement;
root.classList.add("js");
localTimes(document);
sayTheme();

const showKeys = (back) => ask([$("#keys").content.firstElementChild.cloneNode(true)], back);

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button || button.getAttribute("aria-busy") === "true") return;
  if (button.dataset.act === "theme") nextTheme();
  else if (button.dataset.act === "keys") showKeys(button);
  else act(button);
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches(".call-form")) return;
  event.preventDefault();
  callMethod(event.target);
});

listen({ t: nextTheme, "?": () => showKeys($("[data-act=keys]")) });
if (!$(".login")) {
  keepFresh();
  startLog();
  const wanted = /^#log=([a-z0-9_-]+)$/.exec(location.hash);
  if (wanted && $("#log")) {
    choose(wanted[1]);
    $("#log").scrollIntoView();
  }
}
