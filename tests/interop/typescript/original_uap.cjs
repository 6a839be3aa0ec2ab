// An enricher in the style of the original platform, in one of several roles: the old classes, the channels in its settings, its own status.
const { AppConfig, Logger, METHOD_IAMALIVE, METHOD_STATUS, Meter, RedisFactory, RPCAdapterRedis, RPCAgnostic, SERVICE_DIRECTOR } = require(process.env.ROCKME);

const config = new AppConfig();
const log = new Logger(config.log);
const meter = new Meter(config.meter);
const { name, service_group: group } = config.rpc;
const options = { channels: [name], redisFactory: new RedisFactory({ log, meter, ...config.redis }), log, meter, ...config.rpc };
const rpc = new RPCAgnostic(options);
rpc.setup(new RPCAdapterRedis(options));
rpc.register("enrich", async ({ ua }) => (group === "uapc" ? { browser_family: ua.split("/")[0], pid: process.pid } : { browser_name: ua.split("/")[0], pid: process.pid }));
const register = [{ method: "enrich", role: "enricher", options: { keys: ["in.gen.track"], props: { ua: "td.ua" } } }];
const started = Date.now();
rpc.register(METHOD_STATUS, () => ({ name, app_state: "running", app_started: started, app_uptime: Date.now() - started, register }));
setInterval(() => rpc.notify(SERVICE_DIRECTOR, METHOD_IAMALIVE, { name }), 9000);
