// The transformation: a callback becomes a message of version 1, or is marked so that a filter drops it. It throws only
// where it is set up wrongly: what strangers send must open no issue in the dashboard.

var MARK = "x-codeferry-lane"; // the lane's number, which its connection's filter looks for, or "none"
var WHY = "x-codeferry-refusal"; // why there is none

function setting(name) {
  var value = process.env[name];
  if (typeof value !== "string" || value === "") throw new Error(name + " is not set: run `codeferry hookdeck apply`");
  return value;
}

function outcome(request, now) {
  var query = request.query;
  if (typeof query !== "string") return refused("state_missing");
  var found = readQuery(query.charAt(0) === "?" ? query.slice(1) : query);
  if (found.refusal) return found;
  var mac = hmacSha256(utf8(setting("CODEFERRY_STATE_KEY")), found.body).slice(0, 16);
  if (!same(mac, found.mac)) return refused("state_forged");
  return judge(found, now, Number(setting("CODEFERRY_CODE_LIFETIME")), Number(setting("CODEFERRY_LANES")));
}

addHandler("transform", function (request) {
  var now = Date.now();
  var bot = setting("CODEFERRY_BOT");
  var relayKey = utf8(setting("CODEFERRY_RELAY_KEY"));
  var came = outcome(request, now);
  // Headers are made anew: those of the person's browser are nobody's business. The query is not repeated either.
  var headers = { "content-type": "application/json" };
  if (came.refusal) {
    headers[MARK] = "none";
    headers[WHY] = came.refusal;
    return { headers: headers, body: {}, query: "", path: "/" };
  }
  headers[MARK] = String(came.lane);
  var signed = "<@" + bot + ">\n" + lineOf(now, came.word, came.state);
  var content = signed + "m1 " + toBase64url(hmacSha256(relayKey, utf8(signed)));
  return {
    headers: headers,
    body: { content: content, allowed_mentions: { users: [bot] }, flags: 4 },
    query: "",
    path: "/",
  };
});
