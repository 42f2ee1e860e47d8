// Decides what to post, when, and through which webhook. No clock, network or storage. Times are in milliseconds.

// Discord counts 30 posts in any minute and five in two seconds; the margin allows for different clocks.
const WINDOW = 60_050;
const SHORT = 2_050;
const SHORT_POSTS = 5;

// The order of posting: codes, then denials, then notices.
const CODE = 0;
const DENIED = 1;
const TOLD = 2;

const EXPIRED = "!relay_expired"; // tells the service that a code expired here
const TELL_WITHIN = 600_000; // expiry notices may be sent this much later
const WAY = 15_000; // a link's callback that comes this long after the link's expiry waits behind others
const LEFT_TO_SERVICE = 10_000; // of a code's lifetime: to read the message and present the code
const MOST_WAITING = 10_000; // lines; those that are behind take half of it
const MOST_PER_LINK = 4; // different callbacks
const MESSAGE_LIMIT = 2_000; // characters
const MAC_LINE = 46; // "m1 " and 43 of base64url

const BACKOFF = [500, 1_000, 2_000, 4_000]; // after posts with an unclear result
const LOOK_EVERY = 15_000; // checks a refused webhook this often
const ANSWERED_WITHIN = 8_000; // timeout of a post

// One channel's rate limit: a refilling burst within a strict total a minute, as the *receiver* counts. A post under way
// counts as sent now; an answered one counts from its answer on.
class Budget {
  constructor(limit, sentAt, now) {
    this.limit = limit;
    this.closedUntil = 0;
    this.level = 0; // of the burst, used
    this.levelAt = 0;
    const times = sentAt.map((at) => Math.min(now, at)).filter((at) => at + WINDOW > now);
    this.posts = times.sort((a, b) => a - b).map((at) => ({ at, open: false }));
    if (limit) {
      for (const at of times) this.charge(at);
    }
  }

  get refill() {
    return (this.limit.perMinute - this.limit.burst) / 60_000;
  }

  levelNow(now) {
    return Math.max(0, this.level - Math.max(0, now - this.levelAt) * this.refill);
  }

  charge(now) {
    this.level = Math.min(this.limit.burst, this.levelNow(now) + 1);
    this.levelAt = Math.max(now, this.levelAt);
  }

  // When one more fits into a total; Infinity if an answer must arrive first.
  roomAt(total, window, now) {
    const open = this.posts.filter((post) => post.open).length;
    const ends = this.posts.filter((post) => !post.open && post.at + window > now).map((post) => post.at + window);
    ends.sort((a, b) => a - b);
    const over = open + ends.length - total;
    if (over < 0) return now;
    return over < ends.length ? ends[over] : Infinity;
  }

  // When the next post may leave.
  freeAt(now) {
    this.posts = this.posts.filter((post) => post.open || post.at + WINDOW > now);
    const free = [now, this.closedUntil, this.roomAt(SHORT_POSTS, SHORT, now)];
    if (this.limit) {
      const over = this.levelNow(now) - (this.limit.burst - 1);
      if (over > 1e-9) free.push(now + Math.ceil(over / this.refill));
      free.push(this.roomAt(this.limit.perMinute, WINDOW, now));
    }
    return Math.max(...free);
  }

  reserve(now) {
    const post = { at: now, open: true };
    this.posts.push(post);
    if (this.limit) this.charge(now);
    return post;
  }

  // The send times for the next instance. A post under way may arrive as late as its timeout.
  sentAt(now) {
    return this.posts.map((post) => (post.open ? now + ANSWERED_WITHIN : post.at));
  }

  close(until) {
    this.closedUntil = Math.max(this.closedUntil, until);
  }

  // Estimates how many posts can leave until `until`.
  slots(now, until) {
    const from = Math.max(now, this.closedUntil);
    if (from >= until) return 0;
    if (!this.limit) return Infinity;
    return Math.max(0, Math.floor(this.limit.burst - this.levelNow(now))) + Math.floor((until - from) * this.refill);
  }
}

// What waits behind goes last.
function before(a, b) {
  if (!a.behind !== !b.behind) return !a.behind;
  if (a.kind !== b.kind) return a.kind < b.kind;
  if (a.deadline !== b.deadline) return a.deadline < b.deadline;
  return a.hash < b.hash;
}

// When an unposted line needs attention: a code expires, anything else is dropped.
function actsAt(line) {
  return line.kind === CODE ? line.deadline : line.deadline + TELL_WITHIN;
}

function textOf(line) {
  return lineOf(line.cameAt, line.kind === TOLD ? EXPIRED : line.word, line.state);
}

class Plan {
  // `kept` comes from an earlier instance: lines, known callbacks as [hash, {until, nonce}], send times by channel, and
  // refusals that still hold.
  constructor(settings, kept, now) {
    this.settings = settings;
    this.lifetime = settings.lifetime * 1_000;
    this.budgets = new Map();
    this.lanes = settings.lanes.map((lane) => {
      const channel = lane.channel_id ?? lane.webhook_id;
      if (!this.budgets.has(channel)) {
        this.budgets.set(channel, new Budget(settings.limit, kept.sentAt.get(channel) ?? [], now));
      }
      const budget = this.budgets.get(channel);
      return { webhook: lane.webhook_id, pack: lane.pack, channel, budget, busy: false, heldUntil: 0, failures: 0, lookAt: null };
    });
    this.closedUntil = kept.shut.everything ?? 0; // a global rate limit, or one for this address
    for (const [channel, until] of Object.entries(kept.shut.channels ?? {})) this.budgets.get(channel)?.close(until);
    for (const lane of this.lanes) lane.lookAt = kept.shut.webhooks?.[lane.webhook] ?? null;
    this.waiting = []; // in order
    this.inHand = []; // lines in posts under way
    this.known = new Map();
    this.forgetAt = Infinity; // when the first of them can be forgotten
    this.links = new Map();
    for (const [hash, known] of kept.known) this.know(hash, known);
    for (const line of kept.lines) this.put(line);
  }

  know(hash, known) {
    this.known.set(hash, known);
    this.forgetAt = Math.min(this.forgetAt, known.until);
    this.links.set(known.nonce, (this.links.get(known.nonce) ?? 0) + 1);
  }

  put(line) {
    let [low, high] = [0, this.waiting.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (before(this.waiting[middle], line)) low = middle + 1;
      else high = middle;
    }
    this.waiting.splice(low, 0, line);
  }

  // How many codes are not posted yet: all, or without those that are behind.
  codes(withBehind) {
    const counts = (line) => line.kind === CODE && (withBehind || !line.behind);
    return [...this.waiting, ...this.inHand].filter(counts).length;
  }

  // Accepts a callback as a new line, or says why not: a repeat, or no capacity left. The service hands out as many links
  // as one callback of each can be carried; what else comes of a link is posted when nothing else waits.
  admit(came, hash, now) {
    if (this.known.has(hash)) return { verdict: "safe" };
    const earlier = this.links.get(came.nonce) ?? 0;
    if (earlier >= MOST_PER_LINK) return { verdict: "too_many" };
    const kind = came.word.startsWith("!") ? DENIED : CODE;
    const onTimeUntil = came.acceptedUntil - this.lifetime - CLOCK_TOLERANCE * 1_000 + WAY;
    const behind = earlier > 0 || now >= onTimeUntil || this.takesOthersRoom(came, now);
    const full = this.waiting.length + this.inHand.length >= (behind ? MOST_WAITING / 2 : MOST_WAITING);
    if (full || (kind === CODE && !this.hasRoom(behind, now))) return { verdict: "busy" };
    const known = { until: came.acceptedUntil, nonce: came.nonce };
    const line = {
      hash,
      kind,
      behind,
      lane: came.lane,
      cameAt: now,
      deadline: now + this.lifetime,
      word: came.word,
      state: came.state,
    };
    this.know(hash, known);
    this.put(line);
    return { verdict: "safe", line, known };
  }

  // Whether fewer lines like this one fit into a message than its lane packs.
  takesOthersRoom({ word, state, lane }, now) {
    const { pack } = this.lanes[lane] ?? this.lanes[0];
    const around = `<@${this.settings.bot}>\n`.length + MAC_LINE;
    return around + lineOf(now, word, state).length * pack > MESSAGE_LIMIT;
  }

  // Whether a code that arrives now can be posted in time, after those that go before it.
  hasRoom(behind, now) {
    const until = now + this.lifetime - Math.min(LEFT_TO_SERVICE, this.lifetime / 4);
    const counted = new Set();
    let room = 0;
    for (const lane of this.lanes) {
      if (lane.lookAt !== null || counted.has(lane.budget)) continue;
      counted.add(lane.budget);
      const from = Math.max(now, this.closedUntil, lane.heldUntil);
      room += lane.budget.slots(from, until) * lane.pack;
    }
    return this.codes(behind) < room;
  }

  freeAt(lane, now) {
    if (lane.busy || lane.lookAt !== null) return Infinity;
    return Math.max(lane.budget.freeAt(now), lane.heldUntil, this.closedUntil);
  }

  // The next message that may leave now: a lane's own lines, then those of lanes that cannot post.
  nextPost(now) {
    if (this.waiting.length === 0) return null;
    const free = this.lanes.map((lane) => this.freeAt(lane, now) <= now);
    for (const [number, lane] of this.lanes.entries()) {
      if (!free[number]) continue;
      const lines = this.linesFor((line) => line.lane === number || !free[line.lane], lane.pack);
      if (lines.length === 0) continue;
      this.waiting = this.waiting.filter((line) => !lines.includes(line));
      this.inHand.push(...lines);
      lane.busy = true;
      const text = `<@${this.settings.bot}>\n${lines.map(textOf).join("")}`;
      return { number, lane, lines, text, post: lane.budget.reserve(now) };
    }
    return null;
  }

  // The first lines that fit into one message. A line marked `alone` shares none.
  linesFor(mine, most) {
    const lines = [];
    let length = `<@${this.settings.bot}>\n`.length + MAC_LINE;
    for (const line of this.waiting) {
      if (!mine(line)) continue;
      if (line.alone && lines.length > 0) continue;
      length += textOf(line).length;
      if (lines.length > 0 && length > MESSAGE_LIMIT) break;
      lines.push(line);
      if (line.alone || lines.length === most) break;
    }
    return lines;
  }

  // Applies Discord's answer; returns the lines that are done.
  answered({ lane, lines, post }, answer, now) {
    this.inHand = this.inHand.filter((line) => !lines.includes(line));
    lane.busy = false;
    Object.assign(post, { at: now, open: false });
    if (answer.closes === "everything") this.closedUntil = Math.max(this.closedUntil, now + answer.wait);
    if (answer.closes === "channel") lane.budget.close(now + answer.wait);
    if (answer.is === "posted") {
      Object.assign(lane, { failures: 0, heldUntil: 0 });
      return { posted: lines, givenUp: [] };
    }
    if (answer.is === "refused" && lines.length === 1) return { posted: [], givenUp: lines };
    // Discord refused the text. Posting each line alone shows which one.
    if (answer.is === "refused") for (const line of lines) line.alone = true;
    if (answer.is === "gone") lane.lookAt = now + LOOK_EVERY;
    if (answer.is === "unclear") {
      // It may have arrived: the service recognises a code that it has seen.
      lane.heldUntil = now + BACKOFF[Math.min(lane.failures, BACKOFF.length - 1)];
      lane.failures += 1;
    }
    for (const line of lines) this.put(line);
    return { posted: [], givenUp: [] };
  }

  // A lane whose webhook is due for a check.
  nextLook(now) {
    if (this.closedUntil > now) return null;
    const lane = this.lanes.find((lane) => !lane.busy && lane.lookAt !== null && lane.lookAt <= now);
    if (lane) lane.busy = true;
    return lane ?? null;
  }

  looked(lane, isThere, now) {
    lane.busy = false;
    lane.lookAt = isThere ? null : now + LOOK_EVERY;
  }

  // Expired codes become notices; lines that are too old are dropped.
  passTime(now) {
    const due = this.waiting.filter((line) => actsAt(line) <= now);
    if (due.length === 0) return { died: [], dropped: [] };
    this.waiting = this.waiting.filter((line) => actsAt(line) > now);
    const died = [];
    const dropped = [];
    for (const line of due) {
      if (line.kind === CODE && line.deadline + TELL_WITHIN > now) {
        Object.assign(line, { kind: TOLD, alone: false });
        this.put(line);
        died.push(line);
      } else {
        dropped.push(line);
      }
    }
    return { died, dropped };
  }

  // Refusals that still hold, for the next instance; null if there are none.
  shut(now) {
    const shut = {};
    if (this.closedUntil > now) shut.everything = this.closedUntil;
    for (const [channel, { closedUntil }] of this.budgets) {
      if (closedUntil > now) (shut.channels ??= {})[channel] = closedUntil;
    }
    for (const { webhook, lookAt } of this.lanes) {
      if (lookAt !== null) (shut.webhooks ??= {})[webhook] = lookAt;
    }
    return Object.keys(shut).length > 0 ? shut : null;
  }

  // Callbacks that can be forgotten, because a repeat would be refused.
  forget(now) {
    if (this.forgetAt > now) return [];
    const over = [...this.known].filter(([, known]) => known.until <= now);
    for (const [hash, { nonce }] of over) {
      this.known.delete(hash);
      const left = this.links.get(nonce) - 1;
      if (left > 0) this.links.set(nonce, left);
      else this.links.delete(nonce);
    }
    this.forgetAt = [...this.known.values()].reduce((at, { until }) => Math.min(at, until), Infinity);
    return over.map(([hash]) => hash);
  }

  // When to wake up unless something arrives; Infinity for never.
  nextAt(now) {
    const at = this.lanes.filter((lane) => lane.lookAt !== null && !lane.busy).map((lane) => Math.max(lane.lookAt, this.closedUntil));
    if (this.waiting.length > 0) at.push(...this.lanes.map((lane) => this.freeAt(lane, now)));
    for (const line of this.waiting) at.push(actsAt(line));
    return at.reduce((a, b) => Math.min(a, b), Infinity);
  }
}
