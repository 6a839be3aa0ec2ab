/** What leaves in one turn of the loop for one peer leaves as one message: a JSON-RPC batch. */

import type { RedisLink } from "../redis/link";

/** Messages in one batch: enough to make the cost of each vanish, and still no long wait for the first. */
export const MAX_BATCH = 500;

export class Outbox<Tag = undefined> {
  private gathered = new Map<string, { payloads: string[]; tags: Tag[] }>();
  private planned = false;

  constructor(
    private readonly link: RedisLink,
    private readonly onUnheard: ((reply: any, payload: string, tag: Tag) => void) | null = null,
    private readonly keep = false,
  ) {}

  /** Queues a message; `tag` comes back when nobody got it. */
  put(channel: string, payload: string, tag: Tag): void {
    let gathered = this.gathered.get(channel);
    if (gathered === undefined) {
      gathered = { payloads: [], tags: [] };
      this.gathered.set(channel, gathered);
    }
    gathered.payloads.push(payload);
    gathered.tags.push(tag);
    if (!this.planned) {
      this.planned = true;
      setImmediate(() => this.flush());
    }
  }

  private flush(): void {
    this.planned = false;
    const everything = this.gathered;
    this.gathered = new Map();
    for (const [channel, { payloads, tags }] of everything) {
      for (let start = 0; start < payloads.length; start += MAX_BATCH) {
        this.publish(channel, payloads.slice(start, start + MAX_BATCH), tags.slice(start, start + MAX_BATCH));
      }
    }
    this.link.flush();
  }

  private publish(channel: string, payloads: string[], tags: Tag[]): void {
    const payload = payloads.length === 1 ? payloads[0] : `[${payloads.join(",")}]`;
    const tell = this.onUnheard;
    const onReply = (reply: any) => {
      if (tell === null || (typeof reply === "number" && reply > 0)) return;
      for (let index = 0; index < payloads.length; index += 1) tell(reply, payloads[index], tags[index]);
    };
    if (!this.link.publish(channel, payload, tell && onReply, this.keep)) onReply(null);
  }
}
