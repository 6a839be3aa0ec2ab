// CloudEvents' library for Node: an event in each mode. It fails unless each response is a success.
"use strict";
const { CloudEvent, HTTP } = require("cloudevents");

const event = (id) => new CloudEvent({ id, source: "https://shop.example", type: "com.example.order", region: "eu", data: { total: 12.5 } });

(async () => {
  const messages = [HTTP.binary(event("1")), HTTP.structured(event("2"))];
  for (const { headers, body } of messages) {
    const response = await fetch(`${process.argv[2]}/cloudevents`, { method: "POST", headers, body });
    if (!response.ok) process.exit(1);
  }
})();
