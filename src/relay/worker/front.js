// The front: verifies a callback, hands it to the Durable Object, and answers with a page once the code is durable.

// Longer than any write should take; after that the user may try again.
const SAFE_WITHIN = 8_000; // milliseconds

// The settings, or an error that names the wrong one without its value.
function settingsOf(env) {
  const text = (name) => {
    const value = env[name];
    if (typeof value !== "string" || value === "") throw new Error(`${name} is not set`);
    return value;
  };
  const key = (name) => {
    const value = text(name);
    if (/^[\s"'`]|[\s"'`]$/.test(value)) throw new Error(`${name} has white space or a quote at an end`);
    return value;
  };
  const number = (name, least) => {
    const value = Number(text(name));
    if (!Number.isInteger(value) || value < least) throw new Error(`${name} is not a whole number from ${least} on`);
    return value;
  };
  const tokens = new Map();
  for (const pair of text("CODEFERRY_WEBHOOK_TOKENS").split(",")) {
    const at = pair.indexOf(":");
    if (at > 0) tokens.set(pair.slice(0, at).trim(), pair.slice(at + 1).trim());
  }
  let lanes;
  try {
    lanes = JSON.parse(text("CODEFERRY_LANES"));
  } catch (error) {
    throw new Error("CODEFERRY_LANES is not JSON");
  }
  if (!Array.isArray(lanes) || lanes.length === 0) throw new Error("CODEFERRY_LANES is not a list of lanes");
  lanes.forEach((lane, number) => {
    if (!/^\d{1,20}$/.test(lane?.webhook_id)) throw new Error(`CODEFERRY_LANES: lane ${number} has no webhook_id`);
    if (!tokens.get(lane.webhook_id)) throw new Error(`CODEFERRY_WEBHOOK_TOKENS has no token for webhook ${lane.webhook_id}`);
    if (!(lane.pack >= 1 && lane.pack <= 18)) throw new Error(`CODEFERRY_LANES: lane ${number} has no pack of 1 to 18`);
  });
  const perMinute = number("CODEFERRY_PER_MINUTE", 0);
  const burst = number("CODEFERRY_BURST", 1);
  if (perMinute > 0 && burst >= perMinute) throw new Error("CODEFERRY_BURST is not below CODEFERRY_PER_MINUTE");
  return {
    relayKey: key("CODEFERRY_RELAY_KEY"),
    // The second one is set while keys are changed.
    stateKeys: [key("CODEFERRY_STATE_KEY"), ...(env.CODEFERRY_STATE_KEY_2 ? [key("CODEFERRY_STATE_KEY_2")] : [])],
    bot: text("CODEFERRY_BOT"),
    api: text("CODEFERRY_API_BASE").replace(/\/+$/, ""),
    lifetime: number("CODEFERRY_CODE_LIFETIME", 1),
    limit: perMinute > 0 ? { perMinute, burst } : null,
    lanes,
    tokens,
  };
}

async function hmacSha256(key, bytes) {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const imported = await crypto.subtle.importKey("raw", Uint8Array.from(utf8(key)), algorithm, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, Uint8Array.from(bytes)));
}

// Parses a query; verifies the state's MAC first.
async function readCallback(query, now, settings) {
  const found = readQuery(query);
  if (found.refusal) return found;
  let isSigned = false;
  for (const key of settings.stateKeys) {
    const mac = await hmacSha256(key, found.body);
    isSigned ||= same(mac.subarray(0, 16), found.mac);
  }
  if (!isSigned) return refused("state_forged");
  return judge(found, now, settings.lifetime, settings.lanes.length);
}

// The languages of an `Accept-Language` header (RFC 9110 section 12.5.4), in lower case, by descending weight.
function wantedLanguages(header) {
  return header
    .split(",")
    .slice(0, 16)
    .map((part) => {
      const [language, ...words] = part.split(";").map((word) => word.trim());
      const weight = words.find((word) => word.startsWith("q="));
      return { language: language.toLowerCase(), weight: weight === undefined ? 1 : Number(weight.slice(2)) };
    })
    .filter(({ language, weight }) => language !== "" && language !== "*" && weight > 0 && weight <= 1)
    .sort((a, b) => b.weight - a.weight)
    .map(({ language }) => language);
}

// A page's variant: its language and its document. "" is the fallback.
function variantOf(page, header) {
  const variants = PAGES[page];
  for (const wanted of wantedLanguages(header)) {
    for (const language of [wanted, wanted.split("-")[0]]) {
      if (Object.hasOwn(variants, language)) return variants[language];
    }
  }
  return variants[""];
}

function pageOf(request, status, page, error) {
  const [language, document] = variantOf(page, request.headers.get("accept-language") ?? "");
  const nonce = toBase64url(crypto.getRandomValues(new Uint8Array(16)));
  const html = document.replaceAll(NONCE, nonce).replaceAll(ERROR, error ?? "").replaceAll(ICON, PICTURE);
  const headers = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy":
      `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; img-src data:; base-uri 'none'; ` +
      "form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "content-language": language,
    vary: "Accept-Language",
  };
  if (status === 429 || status === 503) headers["retry-after"] = "60";
  return new Response(request.method === "HEAD" ? null : html, { status, headers });
}

function refusalPage(request, refusal) {
  if (refusal === "state_expired") return pageOf(request, 410, "expired");
  return pageOf(request, refusal === "too_long" ? 414 : 400, "invalid");
}

// Asks the Durable Object, which answers "safe" (durable), "busy" or "too_many".
async function take(env, came) {
  const ferry = env.FERRY.get(env.FERRY.idFromName("ferry"));
  try {
    const answer = await ferry.fetch("https://ferry/take", {
      method: "POST",
      body: JSON.stringify(came),
      signal: AbortSignal.timeout(SAFE_WITHIN),
    });
    return answer.ok ? await answer.text() : "failed";
  } catch (error) {
    console.error(`the Durable Object does not answer: ${error.name}`);
    return "failed";
  }
}

async function callback(request, query, env) {
  let settings;
  try {
    settings = settingsOf(env);
  } catch (error) {
    console.error(error.message);
    return pageOf(request, 503, "busy");
  }
  const came = await readCallback(query, Date.now(), settings);
  if (came.refusal) {
    console.debug(`a callback is refused: ${came.refusal}`);
    return refusalPage(request, came.refusal);
  }
  const error = came.word.startsWith("!") ? came.word.slice(1) : undefined;
  const page = error === undefined ? "success" : Object.hasOwn(PAGES, `denied ${error}`) ? `denied ${error}` : "denied";
  // A HEAD request (Android sends one before the page) is not a visit.
  const taken = request.method === "HEAD" ? "safe" : await take(env, came);
  if (taken === "safe") return pageOf(request, 200, page, error);
  return taken === "too_many" ? pageOf(request, 429, "limited") : pageOf(request, 503, "busy");
}

// Reports what is wrong with the settings. It makes no calls, so that nobody can use it for load.
function health(env) {
  const answer = (status, body) => Response.json(body, { status, headers: { "cache-control": "no-store" } });
  try {
    return answer(200, { ok: true, version: VERSION, lanes: settingsOf(env).lanes.length });
  } catch (error) {
    return answer(503, { ok: false, version: VERSION, error: error.message });
  }
}

export default {
  async fetch(request, env) {
    const [address, ...rest] = request.url.split("?");
    const path = address.replace(/^[a-z]+:\/\/[^/]*/i, "");
    if (!["/", "/callback", "/healthz"].includes(path)) return new Response(null, { status: 404 });
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response(null, { status: 405, headers: { allow: "GET, HEAD" } });
    }
    if (path === "/") return rest.join("") === "" ? pageOf(request, 200, "home") : new Response(null, { status: 404 });
    return path === "/healthz" ? health(env) : callback(request, rest.join("?"), env);
  },
};
