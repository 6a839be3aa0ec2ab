import { expose, health, response, start } from "@rockstat/rock-me-ts";

expose("greet", ({ who }) => ({ hello: who ?? "world", release: 1 }));
expose.enricher({ keys: ["in.gen.track"], props: { ua: "td.ua" } }, ({ ua }) => ({ length: ua?.length ?? 0 }));
expose.handler("go", (event) => response.redirect({ location: String(event.data.to) }));
health("greeter", () => ({ status: "ok" }));
start();
