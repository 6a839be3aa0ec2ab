/** Batches of events to URLs, signed: one listener, with a consumer group of its own, for each destination. */

import { type BandEvent, cleanup, expose, type HealthFacts, health, logger, settings as readSettings, redis, start, worker } from "@rockstat/rock-me-ts";
import { Client } from "./client";
import { type Options, readOptions } from "./options";
import { Requests } from "./requests";
import { Sender } from "./sender";

/** Returning late is this listener's way to wait, so it gives nothing up by failing. */
const NEVER = 1_000_000_000;

/** Records all that the service does. */
export function define(service: string, options: Options): Sender[] {
  const clients: Client[] = [];
  const senders = options.destinations.map((destination) => {
    const client = new Client(destination, options.policy);
    clients.push(client);
    const { name: group, batch, linger, maxBytes: batchBytes, withholdsObjected } = destination;
    const mayHave = (event: BandEvent) => destination.wants(event) && !(withholdsObjected && event.privacy?.length);
    const requests = new Requests(redis, `${service}:sending:${group}`, group, batch, batchBytes, `${service}.${group}`, mayHave);
    const sender = new Sender(destination, client, requests, options);
    expose.listener(
      { name: `to_${group}`, group, batch, linger, batchBytes, maxAttempts: NEVER, http: false, personal: withholdsObjected ? true : undefined },
      (events, { signal }) => sender.take(events, signal),
    );
    return sender;
  });

  worker(() => {
    for (const { destination } of senders) logger.info({ destination: destination.name, host: destination.url.host }, "webhook");
  });
  cleanup(() => {
    for (const client of clients) client.close();
  });
  expose("stats", () => ({ destinations: Object.fromEntries(senders.map((sender) => [sender.destination.name, sender.stats()])) }));
  health("destinations", () => healthOf(senders));
  health("groups", () => healthOfGroups(service, senders));
  return senders;
}

/** The worst first. Where some work, one that does not makes the service degraded, not failing: it delays no other. */
function healthOf(senders: readonly Sender[]): HealthFacts {
  if (!senders.length) return { status: "failing", reason: "there is no destination", hint: "set WEBHOOK_DESTINATIONS, or WEBHOOK_URL and WEBHOOK_SECRET" };
  const order = ["failing", "degraded", "ok"];
  const all = senders.map((sender) => ({ name: sender.destination.name, facts: sender.health() }));
  const [worst] = [...all].sort((a, b) => order.indexOf(a.facts.status ?? "ok") - order.indexOf(b.facts.status ?? "ok"));
  const status = all.every(({ facts }) => facts.status === "failing") ? "failing" : worst.facts.status === "ok" ? "ok" : "degraded";
  if (all.length === 1) return worst.facts;
  return { ...worst.facts, status, destinations: Object.fromEntries(all.map(({ name, facts }) => [name, facts.status])) };
}

/** Groups of this service that no destination consumes as hold back the stream. */
async function healthOfGroups(service: string, senders: readonly Sender[]): Promise<HealthFacts> {
  if (!redis.connected) return { status: "ok" };
  const known = new Set(senders.map(({ destination }) => `${service}.${destination.name}`));
  // There may be no stream yet.
  const rows: Map<string, unknown>[] = await redis.command("XINFO", "GROUPS", "events").catch(() => []);
  const left = rows.map((row) => String(row.get("name"))).filter((name) => name.startsWith(`${service}.`) && !known.has(name));
  if (!left.length) return { status: "ok" };
  return {
    status: "degraded",
    reason: `the consumer group ${left.join(", ")} is left of a destination that is not in the settings any more; it holds back the stream`,
    hint: `put the destination back, or remove its group: docker exec redis redis-admin XGROUP DESTROY events ${left[0]}`,
  };
}

async function main(): Promise<void> {
  const settings = readSettings();
  define(String(settings.name ?? "send_webhook"), readOptions(settings, process.env));
  await start();
}

if (require.main === module) {
  main().catch((error: Error) => {
    process.stderr.write(`send_webhook: ${error.message}\n`);
    process.exit(1);
  });
}
