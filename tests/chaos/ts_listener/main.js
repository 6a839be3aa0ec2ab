// A durable listener on the TypeScript framework beside send_mixpanel: it has the double count the id of each event.
const { expose, start } = require("@rockstat/rock-me-ts");

let poisoned = false;

expose("poison", ({ on }) => {
  poisoned = String(on) === "true";
  return { poisoned };
});

expose.listener({ batch: 200, linger: 0.1, inFlight: 2, maxAttempts: 2 }, async (events, { signal }) => {
  const poison = poisoned && events.find(({ data }) => data.chaos?.number % 10 === 7);
  if (poison) throw new Error(`the event ${poison.id} is poison`);
  // The address that fails for nobody: the faults that scenarios order are for send_mixpanel.
  const records = events.map(({ id, uid, time }) => ({ event: "ts", properties: { time, distinct_id: uid, $insert_id: `ts-${id}` } }));
  const headers = { "content-type": "application/json" };
  const response = await fetch(process.env.DOUBLE_URL, { method: "POST", headers, body: JSON.stringify(records), signal });
  if ((await response.text()) !== "1") throw new Error(`the double answered ${response.status}`);
});

start({ name: "ts_listener" });
