/** Names and figures that peers on the wire rely on, ours and those of the original platform. */

export const SERVICE_DIRECTOR = "director";
export const SERVICE_KERNEL = "kernel";
export const SERVICE_TRACK = "track";
export const SERVICE_FRONT = "front";
export const BROADCAST = "broadcast";
export const ENRICH = "enrich";
export const METHOD_IAMALIVE = "__iamalive";
export const METHOD_STATUS = "__status";
export const METHOD_METRICS = "__metrics";
export const METHOD_BATCH = "__batch";
/** Methods that serve only calls which the director has granted, where it gives services BAND_GRANTS. */
export const DIRECTOR_METHODS: ReadonlySet<unknown> = new Set(["dead_letters", "delete_dead_letters", "query_events", "replay_dead_letters", "replay_events"]);
export const STATUS_RUNNING = "running";
export const STATUS_STARTING = "starting";
export const STATUS_STOPPING = "stopping";

export const ROLE_HANDLER = "handler";
export const ROLE_ENRICHER = "enricher";
export const ROLE_LISTENER = "listener";
export const METHOD = "method";

/** Milliseconds that a call waits for its answer unless told otherwise. */
export const RPC_TIMEOUT = 2000;

/** Default for the bytes of a listener's batch: with 100 kB in each event, 200 of them would fill a small container. */
export const BATCH_BYTES = 4_000_000;

export const EVENTS_STREAM = "events";
export const deadLettersOf = (service: string): string => `dead:${service}`;
export const takenBy = (group: string): string => `events:taken:${group}`;
/** Hash of the entries that wait for another delivery: id → when it is due (milliseconds since 1970), attempts made. */
export const retriesOf = (group: string): string => `events:retries:${group}`;
/** Hash of what a listener remembers: `began`, the id behind which its group began. */
export const listenerOf = (group: string): string => `events:listener:${group}`;
