/** The method that replays events of the stream; every service whose listener consumes the durable stream has it. */

import { InvalidParams } from "../errors";
import type { EventReplay, Told, Wish } from "./replay";

/** How the replays of a service with several listeners are, by group. */
interface ToldOfAll {
  state: Told["state"];
  replayed: number;
  groups: Record<string, Told>;
}

/** The replays of a service's listeners, each by itself. */
export class EventReplays {
  constructor(
    private readonly service: string,
    private readonly replays: readonly EventReplay[],
  ) {}

  /** The functions to expose, by name. */
  methods(): Record<string, (params: any) => Promise<unknown>> {
    return { replay_events: (params) => this.ask(params ?? {}) };
  }

  run(): void {
    for (const replay of this.replays) replay.run();
  }

  async stop(timeout: number): Promise<void> {
    await Promise.all(this.replays.map((replay) => replay.stop(timeout)));
  }

  /** Of several listeners, `group` chooses one; a stop without it stops all, and nothing at all tells of all. */
  private async ask({ group = "", ...wish }: Wish & { group?: unknown }): Promise<Told | ToldOfAll> {
    const names = this.replays.map((replay) => replay.group);
    if (group !== "" && group !== null) {
      const chosen = this.replays.find((replay) => replay.group === group || replay.group === `${this.service}.${group}`);
      if (!chosen) throw new InvalidParams(`this service has no listener of the group "${String(group).slice(0, 50)}"; it has ${names.join(", ")}`);
      return chosen.ask(wish);
    }
    if (this.replays.length === 1) return this.replays[0].ask(wish);
    const { start, resume } = wish;
    if (start || resume) throw new InvalidParams(`this service has several listeners; say which with group: ${names.join(", ")}`);
    const told = await Promise.all(this.replays.map((replay) => replay.ask(wish)));
    const state = (["running", "stopped", "done"] as const).find((one) => told.some((each) => each.state === one)) ?? "none";
    const replayed = told.reduce((sum, each) => sum + (each.replayed ?? 0), 0);
    return { state, replayed, groups: Object.fromEntries(this.replays.map((replay, index) => [replay.group, told[index]])) };
  }
}
