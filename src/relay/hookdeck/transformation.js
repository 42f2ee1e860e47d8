// The transformation: turns a callback into a message of version 1, or marks it so that a filter drops it. It throws only
// if it is misconfigured: junk requests must not open issues in the dashboard.

var MARK = "x-codeferry-lane"; // the lane's number, which its connection's filter matches, or "none"
var WHY = "x-codeferry-refusal"; // why it was dropped

function setting(name) {
  var value = process.env[name];
  if (typeof value !== "string" || value === "") throw new Error(name + " is not set: run `codeferry hookdeck apply`");
  return value;
}

function isSigned(found, key) {
  return same(hmacSha256(utf8(key), found.body).slice(0, 16), found.mac);
}

function outcome(request, now) {
  var query = request.query;
  if (typeof query !== "string") return refused("state_missing");
  var found = readQuery(query.charAt(0) === "?" ? query.slice(1) : query);
  if (found.refusal) return found;
  var second = process.env.CODEFERRY_STATE_KEY_2; // set while keys are changed
  if (!isSigned(found, setting("CODEFERRY_STATE_KEY")) && !(second && isSigned(found, second))) return refused("state_forged");
  return judge(found, now, Number(setting("CODEFERRY_CODE_LIFETIME")), Number(setting("CODEFERRY_LANES")));
}

addHandler("transform", function (request) {
  var now = Date.now();
  var bot = setting("CODEFERRY_BOT");
  var relayKey = utf8(setting("CODEFERRY_RELAY_KEY"));
  var came = outcome(request, now);
  // Replaces the headers: those of the user's browser must not be passed on. Neither must the query.
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
