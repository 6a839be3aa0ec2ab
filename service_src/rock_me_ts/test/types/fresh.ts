// The new face, and what its types say.
import {
  cleanup,
  crontab,
  expose,
  health,
  type InvalidParams,
  logger,
  Reject,
  Retry,
  type RpcRemoteError,
  redis,
  response,
  rpc,
  type StandardSchema,
  settings,
  setup,
  start,
  worker,
} from "@rockstat/rock-me-ts";
import { captureLogs, makeEvent, running } from "@rockstat/rock-me-ts/testing";

declare const Top: StandardSchema<{ limit?: string }, { limit: number }>;
interface Geo {
  get(params: { ip: string }): Promise<{ city: string }>;
}
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <T extends true>(value?: T): T | undefined => value;

expose.enricher({ keys: ["in.gen.track"], props: { ua: "td.ua", url: "data.page.url", uid: "uid", odd: "x.y" }, cache: 300 }, ({ ua, url, uid }) => {
  same<Equal<typeof ua, string | undefined>>();
  same<Equal<typeof url, string | undefined>>();
  same<Equal<typeof uid, string | undefined>>();
  return { length: ua?.length ?? 0 };
});
expose.handler("go", { alias: "away", timeout: 500 }, (event) => response.redirect({ location: String(event.data.to) }));
expose.handler("*", (event) => event.key.length);
expose.listener({ batch: 500, linger: 1, maxAttempts: 10, inFlight: 2, personal: true }, async (events, { signal }) => {
  same<Equal<typeof signal, AbortSignal>>();
  return events.map((event) => event.uid.length);
});
expose.listener((event) => event.time.toFixed());
expose.listener({ timeout: 10, backoff: 1, backoffMax: 60, start: new Date() }, (event) => event.uid.length);
expose.listener({ start: "beginning" }, () => {});
declare const Page: StandardSchema<unknown, { title: string }>;
expose.listener({ data: Page }, ({ data, uid }) => {
  same<Equal<typeof data, { title: string }>>();
  return data.title + uid;
});
expose.listener({ data: Page, batch: 10 }, (events) => events.map(({ data }) => data.title.length));
expose("top", { params: Top }, async ({ limit }, { from }) => limit.toFixed() + from);
expose("plain", (params) => params);
health("queue", () => ({ status: "ok", waiting: 1 }));
health("off", async () => false);
setup(async () => {});
worker(async ({ signal }) => signal.aborted);
cleanup(() => {});
crontab("*/5 * * * *", () => {});
export async function main(): Promise<void> {
  const { city } = await rpc.service<Geo>("mmgeo").get({ ip: "1.2.3.4" });
  const number = await rpc.call<number>("a", "b", { c: 1 }, { timeout: 100, signal: new AbortController().signal });
  const many: (string | RpcRemoteError)[] = await rpc.callMany<string>("a", "b", [{}]);
  const found = await rpc.gather("enrich", "enrich", {}, { expect: ["a"] });
  await redis.command("GET", `s:${city}:${number}`);
  logger.info({ many, found }, "text");
  settings<{ url: string }>().url.length;
  const bench = await running("./handlers.js");
  await bench.enrich(makeEvent("in.gen.track.page", { uid: "1" }));
  const [id]: string[] = await bench.append(makeEvent());
  await bench.settled();
  const letters = await bench.deadLetters();
  const { replayed } = await bench.replayDeadLetters({ ids: letters.map((letter) => letter.stream_id) });
  if (replayed && id) throw new Retry({ after: 30 });
  if (letters[0].reason) throw new Reject("why");
  captureLogs().stop();
  await start();
}
export const typed = (error: InvalidParams): string => error.message;
