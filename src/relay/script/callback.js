// Accepts or refuses a callback by the same rules as `codeferry relay` and the service, in plain ECMAScript.
// Uses no Web API: decodeURIComponent is part of the language, and rejects a stray "%" and invalid UTF-8.

var LONGEST_QUERY = 4096; // bytes; Discord's is about 130
var CLOCK_TOLERANCE = 300; // seconds; the service checks the age by its own clock

function utf8(text) {
  var encoded = encodeURIComponent(text);
  var bytes = [];
  for (var i = 0; i < encoded.length; i++) {
    if (encoded.charAt(i) === "%") {
      bytes.push(parseInt(encoded.substr(i + 1, 2), 16));
      i += 2;
    } else {
      bytes.push(encoded.charCodeAt(i));
    }
  }
  return bytes;
}

var ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

function toBase64url(bytes) {
  var text = "";
  for (var i = 0; i < bytes.length; i += 3) {
    var left = bytes.length - i;
    var three = (bytes[i] << 16) | ((left > 1 ? bytes[i + 1] : 0) << 8) | (left > 2 ? bytes[i + 2] : 0);
    text += ALPHABET.charAt(three >> 18) + ALPHABET.charAt((three >> 12) & 63);
    if (left > 1) text += ALPHABET.charAt((three >> 6) & 63);
    if (left > 2) text += ALPHABET.charAt(three & 63);
  }
  return text;
}

// Decodes base64url; null if a character is invalid or a bit is left over.
function fromBase64url(text) {
  var bytes = [];
  var held = 0;
  var bits = 0;
  for (var i = 0; i < text.length; i++) {
    var six = ALPHABET.indexOf(text.charAt(i));
    if (six < 0) return null;
    held = ((held << 6) | six) & 0xfff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((held >> bits) & 0xff);
    }
  }
  var leftover = held & ((1 << bits) - 1);
  return bits >= 6 || leftover !== 0 ? null : bytes;
}

// Compares in constant time.
function same(a, b) {
  var differs = a.length ^ b.length;
  for (var i = 0; i < a.length && i < b.length; i++) differs |= a[i] ^ b[i];
  return differs === 0;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    return null;
  }
}

function refused(reason) {
  return { refusal: reason };
}

// Whether a text has more bytes of UTF-8. Each UTF-16 unit takes at most three.
function longerThan(text, most) {
  if (text.length > most) return true;
  if (text.length * 3 <= most) return false;
  var length = 0;
  for (var i = 0; i < text.length; i++) {
    var unit = text.charCodeAt(i);
    length += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 2 : 3;
  }
  return length > most;
}

// The three relevant parameters, before the state's MAC is verified.
function readQuery(query) {
  if (longerThan(query, LONGEST_QUERY)) return refused("too_long");
  var found = {};
  var pairs = query.split("&");
  for (var i = 0; i < pairs.length; i++) {
    var at = pairs[i].indexOf("=");
    var name = at < 0 ? pairs[i] : pairs[i].slice(0, at);
    var value = at < 0 ? "" : pairs[i].slice(at + 1);
    if (name !== "code" && name !== "error" && name !== "state") continue;
    if (found[name] !== undefined) return refused("doubled");
    found[name] = value;
  }
  if (!found.state) return refused("state_missing");
  var state = decoded(found.state);
  if (state === null) return refused("not_encoded");
  var parts = /^s1\.([\w-]{31})\.([\w-]{22})$/.exec(state);
  var body = parts && fromBase64url(parts[1]);
  var mac = parts && fromBase64url(parts[2]);
  if (!body || !mac) return refused("state_malformed");
  return { code: found.code, error: found.error, state: state, body: body, mac: mac };
}

// Reads a callback whose state has a valid MAC. `now` is in milliseconds, `lifetime` (of a code) in seconds.
function judge(found, now, lifetime, lanes) {
  var body = found.body;
  var expiry = body[8] * 0x1000000 + (body[9] << 16) + (body[10] << 8) + body[11];
  var acceptedUntil = (expiry + lifetime + CLOCK_TOLERANCE) * 1000;
  if (now >= acceptedUntil) return refused("state_expired");
  var lane = body[12];
  if (lane >= lanes) return refused("unknown_lane");
  if (!found.code && !found.error) return refused("nothing_in_it");
  if (found.code && found.error) return refused("code_and_error");
  var word;
  if (found.code) {
    word = decoded(found.code);
    if (word === null || !/^[A-Za-z0-9._~-]{16,512}$/.test(word)) return refused("not_a_code");
  } else {
    word = decoded(found.error);
    // Only a relay may send "relay_..." errors.
    if (word === null || !/^[a-z0-9_]{1,64}$/.test(word) || word.indexOf("relay_") === 0) return refused("not_an_error");
    word = "!" + word;
  }
  return { lane: lane, word: word, state: found.state, nonce: toBase64url(body.slice(15)), acceptedUntil: acceptedUntil };
}

// One line of a message of version 1. `time` is in milliseconds.
function lineOf(time, word, state) {
  return "v1 " + Math.floor(time / 1000) + " " + word + " " + state + "\n";
}
