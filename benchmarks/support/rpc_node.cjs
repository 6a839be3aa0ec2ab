// The two ends of a call on the TypeScript framework, with the arguments and the figures of rpc_peers.py.
process.env.LOG_LEVEL = "error";
const { readFileSync } = require("node:fs");
const { setTimeout: sleep } = require("node:timers/promises");

const UA =
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
const PARAMS = { key: "in.gen.track.page", ip: "2.125.160.216", ua: UA };
const WARM_UP = 500;
const BATCH = 100;

const [role, system, port, window, seconds, ...pids] = process.argv.slice(2);
const { expose, rpc, start } = system === "node_original" ? original() : require("../../service_src/rock_me_ts");

/** Returns what this needs of the original's package, which is on no registry: a copy of one's own. */
function original() {
  const { Logger, Meter, RedisFactory, RPCAdapterRedis, RPCAgnostic } = require(process.env.ROCK_ME_TS);
  const log = new Logger({ pino: { level: "error" } });
  const meter = new Meter({});
  const name = role === "server" ? "echo" : "bench";
  const redisFactory = new RedisFactory({ log, meter, dsn: `redis://127.0.0.1:${port}` });
  const options = { name, channels: [name], redisFactory, log, meter };
  const agnostic = new RPCAgnostic(options);
  return {
    expose: (method, fn) => agnostic.register(method, fn),
    rpc: { call: (to, method, params) => agnostic.request(to, method, params, { timeout: 5000 }) },
    start: () => agnostic.setup(new RPCAdapterRedis(options)),
  };
}

const servers = {
  node: () => expose("echo", async (params) => params),
  node_batch: () => expose("echo", async (params) => params),
  node_original: () => expose("echo", async (params) => params),
  node_enricher: () =>
    expose.enricher({ keys: ["in.gen.track"], props: { ua: "td.ua" } }, ({ ua }) =>
      Object.fromEntries(ua.split(" ").filter((word) => word.includes("/")).map((word) => word.split("/"))),
    ),
};

const clients = {
  node: () => measure(() => rpc.call("echo", "echo", PARAMS), Number(window)),
  node_original: () => measure(() => rpc.call("echo", "echo", PARAMS), Number(window)),
  node_batch: async () => {
    const items = new Array(BATCH).fill(PARAMS);
    const call = async () => (await rpc.callMany("echo", "echo", items)).at(-1);
    const figures = await measure(call, Math.max(1, Math.floor(window / BATCH)));
    return { ...figures, calls: figures.calls * BATCH, per_s: figures.per_s * BATCH };
  },
};

async function measure(call, workers) {
  const countedFrom = performance.now() + WARM_UP;
  const until = countedFrom + seconds * 1000;
  const took = [];
  const work = async () => {
    for (let begun = performance.now(); begun < until; begun = performance.now()) {
      if ((await call()).ip !== PARAMS.ip) throw new Error("another answer");
      if (begun >= countedFrom) took.push(performance.now() - begun);
    }
  };
  const noted = sleep(WARM_UP).then(cpuOfSides);
  await Promise.all(Array.from({ length: workers }, work));
  const before = await noted;
  const [client, server, broker] = cpuOfSides().map((now, side) => (now - before[side]) / seconds);
  took.sort((a, b) => a - b);
  return {
    calls: took.length,
    per_s: took.length / seconds,
    p50_us: took[Math.floor(took.length / 2)] * 1000,
    p99_us: took[Math.floor(took.length * 0.99)] * 1000,
    client_cpu: client,
    server_cpu: server,
    broker_cpu: broker,
  };
}

/** CPU seconds of this process, the server and the broker so far. */
function cpuOfSides() {
  const { user, system: kernel } = process.cpuUsage();
  const others = pids.map((pid) => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").pop().split(" "));
  return [(user + kernel) / 1e6, ...others.map((fields) => (Number(fields[11]) + Number(fields[12])) / 100)];
}

async function client() {
  while (!(await rpc.call("echo", "echo", PARAMS).catch(() => null))) await sleep(50);
  process.stdout.write(`${JSON.stringify(await clients[system]())}\n`);
  process.exit();
}

if (role === "server") servers[system]();
start({ name: role === "server" ? "echo" : "bench", listen: "127.0.0.1:0", redis_dsn: `redis://127.0.0.1:${port}` });
if (role === "client") client();
