// A listener on the TypeScript framework that counts batches of 500, for benchmarks/studies/listeners.py.
process.env.LOG_LEVEL = "error";
const { expose, start } = require("../../service_src/rock_me_ts");

expose.listener({ batch: 500, linger: 0.01 }, (events) => {
  if (!events.length) throw new Error("an empty batch");
});
start({ name: "counts", listen: "127.0.0.1:0", redis_dsn: `redis://127.0.0.1:${process.argv[2]}` });
