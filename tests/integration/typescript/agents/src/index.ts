import {
  AgnosticRPCOptions, AppConfig, Logger, METHOD_IAMALIVE, METHOD_STATUS, Meter, RedisFactory, RPCAdapterRedis,
  RPCAgnostic, SERVICE_DIRECTOR,
} from '@rockstat/rock-me-ts';

const browser: (ua: string) => string = require('../build/Release/agents');

const config = new AppConfig();
const log = new Logger(config.log);
const meter = new Meter(config.meter);
const redisFactory = new RedisFactory({ log, meter, ...config.redis });
const options: AgnosticRPCOptions = { channels: [config.rpc.name, 'enrich'], redisFactory, log, meter, ...config.rpc };
const rpc = new RPCAgnostic(options);
const started = Date.now();

rpc.setup(new RPCAdapterRedis(options));
rpc.register('enrich', async ({ ua }: { ua?: string }) => ({ browser: browser(ua || '') }));
rpc.register(METHOD_STATUS, async () => ({
  name: config.rpc.name, app_state: 'running', app_started: started, app_uptime: Date.now() - started,
  register: [{ method: 'enrich', role: 'enricher', options: { keys: ['in.gen.track'], props: { ua: 'td.ua' } } }],
}));
setInterval(() => rpc.notify(SERVICE_DIRECTOR, METHOD_IAMALIVE, { name: config.rpc.name }), 5000);
