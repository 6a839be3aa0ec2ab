/* Sends page views and events to the server that this script came from. Use: rstat4('configure', {projectId: 1}),
   rstat4('page'), rstat4('event', 'signup', {plan: 'free'}), rstat4('identify', {userId: '42'}),
   rstat4('consent', true or false), or rstat4('optin') and rstat4('optout'). docs/privacy.md says what consent does. */
(function (w, d) {
  "use strict";
  var NAME = "rstat4", KEY = "rstat4_uid", CHOICE = "rstat4_consent", VERSION = "0.2.0";
  var GRANTS = ["1", "true", "yes", "on", "given", "granted"];
  var before = w[NAME], queue = (before && before.q) || [];
  var script = d.currentScript;
  var config = { urlMark: "band", projectId: 0, server: script && script.src ? script.src.replace(/\/lib\.js.*$/, "") : "" };
  var user = {};
  var shared = { ts: Date.now() };
  var choice = kept(CHOICE);

  function kept(key) { try { return w.localStorage.getItem(key) || ""; } catch (e) { return ""; } }
  function keep(key, value) { try { w.localStorage.setItem(key, value); } catch (e) { /* private mode */ } }
  function drop(key) { try { w.localStorage.removeItem(key); } catch (e) { /* private mode */ } }

  function grants(word) { return GRANTS.indexOf(String(word).trim().toLowerCase()) >= 0; }

  // true: given; false: refused, or required and not given yet; undefined: nobody spoke of it. A refusal wins.
  function consent() {
    var told = config.consent, required = config.consentRequired || told === "required";
    var given = told === undefined || told === "required" ? undefined : grants(told);
    if (choice === "no" || given === false) { return false; }
    if (choice === "yes" || given) { return true; }
    return required ? false : undefined;
  }

  function choose(given) {
    choice = given ? "yes" : "no";
    keep(CHOICE, choice);
    if (config.consent !== "required") { config.consent = given; }
    if (given) { return; }
    drop(KEY);
    user = {};
    // The server's own cookie is out of a script's reach: this request, which is no event, ends it.
    if (w.fetch) {
      w.fetch(config.server + "/lib.js?consent=no", { credentials: "include", mode: "no-cors", keepalive: true })["catch"](function () {});
    }
  }

  function uid() {
    var known = kept(KEY) || config.initialUid || "";
    if (known && known !== kept(KEY)) { keep(KEY, known); }
    return known;
  }

  function endpoint() { return config.server + "/" + config.urlMark + "/t4k.json?"; }

  function event(name, data) {
    var allowed = consent();
    var body = {
      service: "track",
      name: name,
      data: data || {},
      projectId: config.projectId,
      page: { title: d.title, ref: d.referrer, url: d.location.href },
      user: Object.assign({ ts: Date.now(), tzo: new Date().getTimezoneOffset() * -60000 }, allowed === false ? {} : user),
      screen: { w: w.screen && w.screen.width, h: w.screen && w.screen.height },
      browser: { w: w.innerWidth, h: w.innerHeight },
      lib: { id: "band-tracker", sv: VERSION, age: Date.now() - shared.ts }
    };
    var id = allowed === false ? "" : uid();
    if (id) { body.uid = id; }
    if (allowed !== undefined) { body.consent = allowed; }
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
    event: function (name, data) { if (name) { send(event(String(name), data)); } },
    consent: function (given) { if (given === undefined) { warn("consent needs true or false"); } else { choose(grants(given)); } },
    optin: function () { choose(true); },
    optout: function () { choose(false); }
  };

  function warn(text) { if (w.console && w.console.warn) { w.console.warn(NAME + ": " + text); } }

  function run(command) {
    var rest = Array.prototype.slice.call(arguments, 1);
    if (Object.prototype.hasOwnProperty.call(commands, command)) { commands[command].apply(null, rest); return; }
    warn("there is no command \"" + command + "\", nothing was sent; commands are " + Object.keys(commands).join(", "));
  }

  w[NAME] = run;
  // What was configured counts for everything that was called before this script arrived.
  var calls = Array.prototype.slice.call(queue);
  calls.filter(function (call) { return call[0] === "configure"; }).forEach(function (call) { run.apply(null, call); });
  calls.filter(function (call) { return call[0] !== "configure"; }).forEach(function (call) { run.apply(null, call); });
})(window, document);
