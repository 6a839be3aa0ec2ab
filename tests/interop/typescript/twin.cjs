// The same service as `twin` in test_interop_typescript.py, on the TypeScript framework.
const { InvalidParams, cleanup, expose, rpc, start } = require(process.env.ROCKME);

expose.enricher({ keys: ["in.gen.track"], props: { ua: "td.ua" } }, ({ ua }) => {
  if (typeof ua !== "string") throw new InvalidParams("missing a required argument: 'ua'");
  return { length: ua.length, text: "Боxфорд" };
});
expose.handler("go", { alias: "away", timeout: 500 }, ({ name }) => ({ type__: "data", statusCode: 201, data: { name } }));
expose("echo", (params) => params);
expose("late", async ({ n }) => {
  await new Promise((resolve) => setTimeout(resolve, 5));
  return n;
});
expose("fails", () => {
  throw new RangeError("no such place");
});
expose("replicas", () => rpc.presence.replicas());
expose("tell", ({ to, params }) => rpc.notify(to, "heard", params));
expose("relay", ({ to, method }) => rpc.call(to, method, { n: 7 }));
if (process.env.LISTEN) expose.listener({ batch: 10, maxAttempts: 1 }, async (events) => {
  if (events.some(({ n }) => n === 13)) throw new Error("unlucky");
  for (const { n } of events) rpc.notify("lab", "heard", { n });
});
if (process.env.TYPED) {
  const { z } = require(`${process.env.ROCKME}/node_modules/zod`);
  expose.listener({ name: "sink", description: "Stores visits.", data: z.object({ pages: z.int() }) }, () => {});
}
cleanup(() => process.stdout.write("cleaned\n"));
start();
