/** All messages to one peer in one turn of the event loop are sent as one: a JSON-RPC batch. */

import type { RedisLink } from "../redis/link";

/** Messages in one batch: enough to make the cost of each vanish, and still no long wait for the first. */
export const MAX_BATCH = 500;
/** Characters after which a batch is sent: V8 allocates new pages for each text over 128 KiB. */
const MAX_CHARS = 64 * 1024;

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
      let start = 0;
      let chars = 0;
      for (let end = 1; end <= payloads.length; end += 1) {
        chars += payloads[end - 1].length;
        if (end < payloads.length && end - start < MAX_BATCH && chars < MAX_CHARS) continue;
        this.publish(channel, payloads.slice(start, end), tags.slice(start, end));
        start = end;
        chars = 0;
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
