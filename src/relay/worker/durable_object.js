// The one Durable Object: it alone knows the waiting lines and the send times. The platform holds back every answer and
// every post until the writes before it are durable.

const MAINTAIN_EVERY = 60_000; // milliseconds
const ANSWER_CAP = 262_144; // characters of an answer that are read
const KEYS_AT_ONCE = 128; // the storage's limit for one call
const LONGEST_WAIT = 3_600_000; // longer waits are cut to this
const UNNAMED_WAIT = 5_000; // for a 429 without one
const EDGE_WAIT = 60_000; // for a 429 of Discord's edge without one

export class Ferry {
  constructor(ctx, env) {
    this.storage = ctx.storage;
    this.housekeepingAt = 0;
    this.alarmAt = null;
    this.plan = null;
    try {
      this.settings = settingsOf(env);
    } catch (error) {
      // Waiting lines stay until a deployment corrects the settings.
      console.error(error.message);
      return;
    }
    ctx.blockConcurrencyWhile(async () => {
      const [lines, known, sentAt] = await Promise.all(
        ["line:", "known:", "sent:"].map(async (prefix) => {
          const kept = await this.storage.list({ prefix });
          return new Map([...kept].map(([key, value]) => [key.slice(prefix.length), value]));
        }),
      );
      this.alarmAt = await this.storage.getAlarm();
      const shut = (await this.storage.get("shut")) ?? {};
      this.shutKept = JSON.stringify(shut);
      this.plan = new Plan(this.settings, { lines: lines.values(), known, sentAt, shut }, Date.now());
    });
  }

  // Only the Worker can call it: a Durable Object has no public address.
  async fetch(request) {
    if (!this.plan) return new Response("failed", { status: 503 });
    const came = await request.json();
    const isCode = !came.word.startsWith("!");
    const digest = await crypto.subtle.digest("SHA-256", Uint8Array.from(utf8(isCode ? came.word : `${came.word} ${came.state}`)));
    const hash = toBase64url(new Uint8Array(digest).subarray(0, 16));
    const { verdict, line, known } = this.plan.admit(came, hash, Date.now());
    if (line) {
      this.storage.put({ [`line:${hash}`]: line, [`known:${hash}`]: known });
      console.log(`a callback is safe: lane ${line.lane}, ${isCode ? "code" : "denial"} ${hash.slice(0, 8)}`);
    } else if (verdict === "busy") {
      console.warn("a person was sent away: more codes wait than can be posted in their life");
    }
    this.act();
    return new Response(verdict);
  }

  async alarm() {
    this.alarmAt = null;
    if (this.plan) this.act();
    else this.storage.setAlarm(Date.now() + MAINTAIN_EVERY);
  }

  // Does everything that is due now, and sets the alarm for the rest.
  act() {
    const now = Date.now();
    const { died, dropped } = this.plan.passTime(now);
    if (died.length > 0) {
      console.warn(`codes died before they could be posted, the service is told: ${died.length}`);
      for (const line of died) this.storage.put(`line:${line.hash}`, line);
    }
    if (dropped.length > 0) {
      console.warn(`lines that nobody waits for any more were dropped: ${dropped.length}`);
      this.remove(dropped);
    }
    for (let posting = this.plan.nextPost(now); posting; posting = this.plan.nextPost(now)) {
      this.storage.put(`sent:${posting.lane.channel}`, posting.lane.budget.sentAt(now));
      this.post(posting);
    }
    for (let lane = this.plan.nextLook(now); lane; lane = this.plan.nextLook(now)) this.look(lane);
    const shut = this.plan.shut(now);
    if (JSON.stringify(shut ?? {}) !== this.shutKept) {
      this.shutKept = JSON.stringify(shut ?? {});
      if (shut) this.storage.put("shut", shut);
      else this.delete(["shut"]);
    }
    if (now >= this.housekeepingAt) {
      this.housekeepingAt = now + MAINTAIN_EVERY;
      this.delete(this.plan.forget(now).map((hash) => `known:${hash}`));
    }
    this.arm(now);
  }

  arm(now) {
    const at = [this.plan.nextAt(now)];
    // If this instance ends during the post, the alarm starts the next one.
    if (this.plan.lanes.some((lane) => lane.busy)) at.push(now + 2 * ANSWERED_WITHIN);
    at.push(Math.max(this.plan.forgetAt, this.housekeepingAt));
    const next = Math.ceil(Math.max(now + 1, Math.min(...at)));
    if (next === Infinity || (this.alarmAt !== null && this.alarmAt <= next)) return;
    this.alarmAt = next;
    this.storage.setAlarm(next);
  }

  remove(lines) {
    this.delete(lines.map((line) => `line:${line.hash}`));
  }

  delete(keys) {
    for (let i = 0; i < keys.length; i += KEYS_AT_ONCE) this.storage.delete(keys.slice(i, i + KEYS_AT_ONCE));
  }

  async post(posting) {
    const { number, lane, lines, text } = posting;
    const answer = await this.send(lane, text).catch((error) => ({ is: "unclear", why: error.name }));
    const { posted, givenUp } = this.plan.answered(posting, answer, Date.now());
    this.remove(posted);
    this.remove(givenUp);
    if (posted.length > 0) console.log(`posted: lane ${number}, ${lines.length} lines`);
    else console.warn(`not posted: lane ${number}, ${lines.length} lines, ${answer.is}: ${answer.why}`);
    if (answer.is === "gone") {
      console.error(
        `lane ${number}: webhook ${lane.webhook} does not work (deleted, or another token?): its codes go through other ` +
          "lanes; make it work again, or correct CODEFERRY_LANES and CODEFERRY_WEBHOOK_TOKENS",
      );
    }
    this.act();
  }

  async send(lane, text) {
    const mac = await hmacSha256(this.settings.relayKey, utf8(text));
    // Mentions only the bot; no link previews (1 << 2, SUPPRESS_EMBEDS).
    const body = { content: `${text}m1 ${toBase64url(mac)}`, allowed_mentions: { users: [this.settings.bot] }, flags: 4 };
    return verdictOf(await this.call(lane, "POST", "?wait=true", JSON.stringify(body)));
  }

  call(lane, method, query, body) {
    const token = this.settings.tokens.get(lane.webhook);
    return fetch(`${this.settings.api}/webhooks/${lane.webhook}/${token}${query}`, {
      method,
      body,
      headers: { "content-type": "application/json", "user-agent": USER_AGENT },
      redirect: "manual",
      signal: AbortSignal.timeout(ANSWERED_WITHIN),
    });
  }

  async look(lane) {
    const answer = await this.call(lane, "GET", "").catch(() => null);
    const isThere = answer?.status === 200;
    this.plan.looked(lane, isThere, Date.now());
    if (isThere) console.log(`webhook ${lane.webhook} works again`);
    this.act();
    await answer?.body?.cancel().catch(() => {});
  }
}

// The first bytes of an answer, parsed if they are JSON.
async function readAnswer(response) {
  let text = "";
  try {
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    while (reader && text.length <= ANSWER_CAP) {
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
    }
    await reader?.cancel();
    return JSON.parse(text);
  } catch (error) {
    return null;
  }
}

// The meaning of an answer to a post: whether it was posted, and what must wait for how many milliseconds.
async function verdictOf(response) {
  const { status, headers } = response;
  const why = `status ${status}`;
  const body = await readAnswer(response);
  if (status === 429) return { is: "deferred", why, ...limitOf(headers, body) };
  const spent = headers.get("x-ratelimit-remaining") === "0" ? seconds(headers.get("x-ratelimit-reset-after")) : null;
  const closes = spent === null ? {} : { closes: "channel", wait: Math.min(spent, LONGEST_WAIT) };
  if (response.ok) {
    const isPosted = typeof body?.id === "string";
    return { is: isPosted ? "posted" : "unclear", why: isPosted ? why : "no message id", ...closes };
  }
  if (status >= 400 && status < 500 && status !== 408 && body) {
    const isGone = status === 401 || status === 403 || status === 404;
    return { is: isGone ? "gone" : "refused", why: `${why}, code ${Number(body.code) || 0}`, ...closes };
  }
  return { is: "unclear", why, ...closes };
}

// Converts a text in seconds to milliseconds, or null.
function seconds(text) {
  const value = text === null || text === undefined || String(text).trim() === "" ? NaN : Number(text);
  return value >= 0 ? value * 1_000 : null;
}

// The scope of a 429. Without `Via`, or with an HTML page, it comes from Discord's edge, which limits the address; with
// rate-limit headers it comes from the API in any case.
function limitOf(headers, body) {
  const header = seconds(headers.get("retry-after"));
  const counted = ["remaining", "limit", "reset-after", "scope", "bucket"].some((name) => headers.has(`x-ratelimit-${name}`));
  const isPage = (headers.get("content-type") ?? "").trim().toLowerCase().startsWith("text/html");
  const named = seconds(body?.retry_after);
  if (isPage || (!headers.has("via") && !counted)) {
    return { closes: "everything", wait: Math.min(header ?? named ?? EDGE_WAIT, LONGEST_WAIT) };
  }
  let wait = header ?? named ?? seconds(headers.get("x-ratelimit-reset-after")) ?? UNNAMED_WAIT;
  if (header !== null && named !== null) {
    // The header has whole seconds, rounded up. If one is about a thousand times the other, it was in milliseconds.
    const [least, most] = [Math.min(named, header), Math.max(named, header)];
    const isRounded = header >= named && header - named <= 1_000;
    wait = isRounded ? named : most > 500 * least ? least : most;
  }
  if (wait > LONGEST_WAIT) wait = Math.min(wait / 1_000, LONGEST_WAIT);
  const isGlobal = body?.global === true || headers.get("x-ratelimit-scope") === "global" || headers.has("x-ratelimit-global");
  return { closes: isGlobal ? "everything" : "channel", wait };
}
