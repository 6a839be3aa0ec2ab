// Standard Webhooks' library for Node signs a request. It fails unless the response is a success.
"use strict";
const { Webhook } = require("standardwebhooks");

const [url, secret] = process.argv.slice(2);
const body = JSON.stringify({ type: "Order Completed", timestamp: new Date(Date.now() - 60_000).toISOString(), data: { total: 12.5 } });
const now = new Date();

(async () => {
  const headers = { "webhook-id": "msg_1", "webhook-timestamp": String(Math.floor(now / 1000)), "webhook-signature": new Webhook(secret).sign("msg_1", now, body) };
  const response = await fetch(`${url}/webhooks/shop`, { method: "POST", headers, body });
  if (!response.ok) console.error(await response.text());
  process.exit(response.ok ? 0 : 1);
})();
