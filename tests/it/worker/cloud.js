// What of Cloudflare's runtime the Worker uses, in an engine that has only the language: virtual time, a Durable Object
// with its storage and alarm, and a Discord that counts as strictly as the real one. Times are in milliseconds.

var clock = 0;
Date.now = () => clock;

const events = [];
let order = 0;
let onTheirWay = 0; // calls that wait for their answer

function at(time, act) {
  events.push({ time: Math.max(time, clock), order: order++, act });
}

// Does the next thing that happens by some moment; "" once nothing does.
function step(until) {
  if (events.length === 0) return "";
  let next = 0;
  for (let i = 1; i < events.length; i++) {
    const [a, b] = [events[i], events[next]];
    if (a.time < b.time || (a.time === b.time && a.order < b.order)) next = i;
  }
  if (events[next].time > until) return "";
  const [event] = events.splice(next, 1);
  // Ten seconds without a request, an alarm or an answer to wait for, and the instance is put to sleep for good.
  if (onTheirWay === 0 && event.time - clock >= 10_000) evict();
  clock = event.time;
  event.act();
  return "more";
}

const said = [];
const say = (level) => (text) => said.push([clock, level, text]);
globalThis.console = { debug: say("debug"), log: say("info"), warn: say("warn"), error: say("error") };

globalThis.Headers = class {
  constructor(all = {}) {
    this.all = new Map(Object.entries(all).map(([name, value]) => [name.toLowerCase(), String(value)]));
  }
  get(name) {
    return this.all.get(name.toLowerCase()) ?? null;
  }
  has(name) {
    return this.all.has(name.toLowerCase());
  }
};

globalThis.Response = class {
  constructor(text, { status = 200, headers = {} } = {}) {
    Object.assign(this, { content: text ?? "", status, headers: new Headers(headers), ok: status >= 200 && status < 300 });
  }
  static json(value, init) {
    return new Response(JSON.stringify(value), init);
  }
  async text() {
    return this.content;
  }
  get body() {
    const parts = [this.content];
    const fails = async () => Promise.reject(new Error("the connection broke"));
    if (this.broken) return { pipeThrough: () => ({ getReader: () => ({ read: fails, cancel: fails }) }), cancel: fails };
    const body = {
      pipeThrough: () => body,
      getReader: () => body,
      read: async () => (parts.length > 0 ? { done: false, value: parts.pop() } : { done: true }),
      cancel: async () => {},
    };
    return body;
  }
};

globalThis.TextDecoderStream = class {};
globalThis.AbortSignal = { timeout: (after) => ({ after }) };

let chance = 1;
globalThis.crypto = {
  getRandomValues: (array) => array.map(() => (chance = (chance * 48271) % 2147483647) & 255),
  subtle: {
    importKey: async (format, bytes) => [...bytes],
    sign: async (algorithm, key, bytes) => Uint8Array.from(hmacSha256(key, [...bytes])).buffer,
    digest: async (algorithm, bytes) => Uint8Array.from(sha256([...bytes])).buffer,
  },
};

// The one Durable Object: what is kept outlives an instance, and nothing else does.
const kept = new Map();
let alarm = null;
let writes = 0;
let generation = 0;
let instance = null;

function storageOf(mine) {
  const alive = () => {
    if (mine !== generation) throw new Error("this instance is gone");
  };
  return {
    get: async (key) => {
      alive();
      return kept.has(key) ? JSON.parse(kept.get(key)) : undefined;
    },
    list: async ({ prefix }) => {
      alive();
      const found = [...kept].filter(([key]) => key.startsWith(prefix)).sort(([a], [b]) => (a < b ? -1 : 1));
      return new Map(found.map(([key, value]) => [key, JSON.parse(value)]));
    },
    put: async (key, value) => {
      alive();
      const pairs = typeof key === "string" ? [[key, value]] : Object.entries(key);
      if (pairs.length > 128) throw new Error("more than 128 pairs");
      for (const [name, one] of pairs) kept.set(name, JSON.stringify(one));
      writes += pairs.length;
    },
    delete: async (keys) => {
      alive();
      if (keys.length > 128) throw new Error("more than 128 keys");
      for (const key of keys) kept.delete(key);
      writes += keys.length;
    },
    getAlarm: async () => alarm,
    setAlarm: async (time) => {
      alive();
      if (!Number.isInteger(time)) throw new Error(`an alarm at ${time}`);
      alarm = time;
      writes += 1;
      at(time, async () => {
        if (alarm !== time) return;
        alarm = null;
        (await ferry()).alarm();
      });
    },
  };
}

async function ferry() {
  if (instance === null) {
    const ctx = { storage: storageOf(generation), blockConcurrencyWhile: (act) => (ctx.ready = act()) };
    const object = new worker.Ferry(ctx, env);
    instance = { object, ready: ctx.ready };
  }
  const mine = instance;
  await mine.ready;
  return mine.object;
}

// The instance ends: what it was waiting for never comes.
function evict() {
  generation += 1;
  instance = null;
  onTheirWay = 0;
}

const env = {
  FERRY: {
    idFromName: (name) => name,
    get: () => ({ fetch: async (url, init) => (await ferry()).fetch({ json: async () => JSON.parse(init.body) }) }),
  },
};

// Discord: what it saw, and how it answers. `answers` may be replaced; null is its own judgment.
const posts = [];
const looks = [];
let answers = () => null;
let latency = 150;

// Its limits, by the moment at which it sees a post: 30 in any minute and 5 in any two seconds of one channel.
function isTooMany(channel) {
  const seen = posts.filter((post) => post.channel === channel && post.status < 300).map((post) => post.at);
  const within = (span) => seen.filter((time) => time > clock - span).length;
  return within(60_000) >= 30 || within(2_000) >= 5;
}

globalThis.fetch = (url, init) => {
  const mine = generation;
  const [, webhook, token] = /^https:\/\/discord\.test\/api\/v10\/webhooks\/(\d+)\/([\w-]+)(\?wait=true)?$/.exec(url);
  const channel = channelOf(webhook);
  onTheirWay += 1;
  return new Promise((resolve, reject) => {
    const way = latency;
    at(clock + way / 2, () => {
      let answer = answers({ method: init.method, webhook, token, clock, body: init.body });
      if (init.method === "GET") {
        looks.push({ at: clock, webhook });
        answer ??= { status: 200, body: "{}" };
      } else {
        const limited = isTooMany(channel);
        const wait = { status: 429, headers: { via: "1.1 google", "retry-after": "1" }, body: '{"retry_after":1}' };
        answer ??= limited ? wait : { status: 200, body: `{"id":"${1_600_000_000_000_000_000n + BigInt(posts.length)}"}` };
        const { content, allowed_mentions, flags } = JSON.parse(init.body);
        posts.push({ at: clock, channel, webhook, content, mentions: allowed_mentions, flags, status: answer.status ?? 0, limited });
      }
      // An answer that does not come is given up after its time.
      const after = answer.status ? way / 2 : init.signal.after;
      at(clock + after, () => {
        if (mine !== generation) return;
        onTheirWay -= 1;
        if (answer.status) resolve(Object.assign(new Response(answer.body, answer), { broken: answer.broken }));
        else reject(Object.assign(new Error("no answer"), { name: "TimeoutError" }));
      });
    });
  });
};

const lanes = () => JSON.parse(env.CODEFERRY_LANES);
const channelOf = (webhook) => {
  const lane = lanes().find((lane) => lane.webhook_id === webhook);
  return lane.channel_id ?? webhook;
};

// Browsers: what each was answered.
const seen = {};

function visit(name, time, path, method, languages) {
  at(time, async () => {
    const headers = new Headers(languages === "" ? {} : { "accept-language": languages });
    const response = await worker.default.fetch({ url: `https://ferry.test${path}`, method, headers }, env);
    seen[name] = {
      at: clock,
      status: response.status,
      html: await response.text(),
      headers: Object.fromEntries(response.headers.all),
    };
  });
}
