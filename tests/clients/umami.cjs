// Umami's library for Node: every call once. It fails unless each response is a success.
"use strict";
const { Umami } = require("@umami/node");

const client = new Umami({ websiteId: "w-1", hostUrl: process.argv[2] });

(async () => {
  const responses = [
    await client.track({ hostname: "shop.example", url: "/?a=1", title: "Shop" }),
    await client.track("Order Completed", { total: 12.5 }),
    await client.identify({ plan: "pro" }),
  ];
  process.exit(responses.every((response) => response.ok) ? 0 : 1);
})();
