/* Sends page views and events to the server that this script came from. Use: rstat4('configure', {projectId: 1}),
   rstat4('page'), rstat4('event', 'signup', {plan: 'free'}), rstat4('identify', {userId: '42'}). */
(function (w, d) {
  "use strict";
  var NAME = "rstat4", KEY = "rstat4_uid", VERSION = "0.1.0";
  var before = w[NAME], queue = (before && before.q) || [];
  var script = d.currentScript;
  var config = { urlMark: "band", projectId: 0, server: script && script.src ? script.src.replace(/\/lib\.js.*$/, "") : "" };
  var user = {};
  var shared = { ts: Date.now() };

  function remembered() { try { return w.localStorage.getItem(KEY) || ""; } catch (e) { return ""; } }
  function remember(uid) { try { w.localStorage.setItem(KEY, uid); } catch (e) { /* private mode */ } }

  function uid() {
    var known = remembered() || config.initialUid || "";
    if (known && known !== remembered()) { remember(known); }
    return known;
  }

  function endpoint() { return config.server + "/" + config.urlMark + "/t4k.json?"; }

  function event(name, data) {
    var body = {
      service: "track",
      name: name,
      data: data || {},
      projectId: config.projectId,
      page: { title: d.title, ref: d.referrer, url: d.location.href },
      user: Object.assign({ ts: Date.now(), tzo: new Date().getTimezoneOffset() * -60000 }, user),
      screen: { w: w.screen && w.screen.width, h: w.screen && w.screen.height },
      browser: { w: w.innerWidth, h: w.innerHeight },
      lib: { id: "band-tracker", sv: VERSION, age: Date.now() - shared.ts }
    };
    var id = uid();
    if (id) { body.uid = id; }
    if (w.navigator.globalPrivacyControl) { body.gpc = true; }
    return body;
  }

  function send(body) {
    var text = JSON.stringify(body), url = endpoint();
    // A text/plain beacon needs no preflight and survives the page being left.
    if (w.navigator.sendBeacon && w.navigator.sendBeacon(url, text)) { return; }
    if (w.fetch) {
      w.fetch(url, { method: "POST", body: text, keepalive: true, credentials: "include", mode: "no-cors" })["catch"](function () {});
      return;
    }
    var xhr = new XMLHttpRequest();
    xhr.open("POST", url, true);
    xhr.withCredentials = true;
    xhr.send(text);
  }

  var commands = {
    configure: function (options) { Object.assign(config, options || {}); },
    identify: function (facts) { Object.assign(user, facts || {}); },
    page: function (data) { send(event("page", data)); },
    event: function (name, data) { if (name) { send(event(String(name), data)); } }
  };

  function run(command) {
    var known = commands[command];
    var rest = Array.prototype.slice.call(arguments, 1);
    if (known) { known.apply(null, rest); } else if (typeof command === "string") { send(event(command, rest[0])); }
  }

  w[NAME] = run;
  // What was configured counts for everything that was called before this script arrived.
  var calls = Array.prototype.slice.call(queue);
  calls.filter(function (call) { return call[0] === "configure"; }).forEach(function (call) { run.apply(null, call); });
  calls.filter(function (call) { return call[0] !== "configure"; }).forEach(function (call) { run.apply(null, call); });
})(window, document);
