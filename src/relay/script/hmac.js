// SHA-256 (FIPS 180-4) and HMAC (RFC 2104) over arrays of bytes: the runtime has no `crypto`.

var ROUNDS = [];
var START = [];

// The first 32 bits of the fractional parts of the square and cube roots of the first primes (FIPS 180-4, 4.2.2, 5.3.3).
(function () {
  function fraction(root) {
    return ((root - Math.floor(root)) * 0x100000000) | 0;
  }
  for (var n = 2; ROUNDS.length < 64; n++) {
    var prime = true;
    for (var d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
    if (!prime) continue;
    if (START.length < 8) START.push(fraction(Math.sqrt(n)));
    ROUNDS.push(fraction(Math.cbrt(n)));
  }
})();

function rotated(word, by) {
  return (word >>> by) | (word << (32 - by));
}

function sha256(message) {
  var bytes = message.slice();
  bytes.push(0x80);
  while (bytes.length % 64 !== 56) bytes.push(0);
  var high = Math.floor(message.length / 0x20000000);
  var low = (message.length << 3) >>> 0;
  bytes.push(high >>> 24, (high >>> 16) & 255, (high >>> 8) & 255, high & 255);
  bytes.push(low >>> 24, (low >>> 16) & 255, (low >>> 8) & 255, low & 255);
  var hash = START.slice();
  for (var at = 0; at < bytes.length; at += 64) {
    var w = [];
    for (var t = 0; t < 64; t++) {
      if (t < 16) {
        var i = at + 4 * t;
        w.push((bytes[i] << 24) | (bytes[i + 1] << 16) | (bytes[i + 2] << 8) | bytes[i + 3]);
      } else {
        var s0 = rotated(w[t - 15], 7) ^ rotated(w[t - 15], 18) ^ (w[t - 15] >>> 3);
        var s1 = rotated(w[t - 2], 17) ^ rotated(w[t - 2], 19) ^ (w[t - 2] >>> 10);
        w.push((w[t - 16] + s0 + w[t - 7] + s1) | 0);
      }
    }
    var a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4], f = hash[5], g = hash[6], h = hash[7];
    for (t = 0; t < 64; t++) {
      var big1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
      var t1 = (h + big1 + ((e & f) ^ (~e & g)) + ROUNDS[t] + w[t]) | 0;
      var big0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
      var t2 = (big0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
    }
    var add = [a, b, c, d, e, f, g, h];
    for (t = 0; t < 8; t++) hash[t] = (hash[t] + add[t]) | 0;
  }
  var out = [];
  for (t = 0; t < 8; t++) out.push(hash[t] >>> 24, (hash[t] >>> 16) & 255, (hash[t] >>> 8) & 255, hash[t] & 255);
  return out;
}

function hmacSha256(key, message) {
  var block = key.length > 64 ? sha256(key) : key.slice();
  while (block.length < 64) block.push(0);
  var inner = block.map(function (byte) { return byte ^ 0x36; }).concat(message);
  var outer = block.map(function (byte) { return byte ^ 0x5c; }).concat(sha256(inner));
  return sha256(outer);
}
