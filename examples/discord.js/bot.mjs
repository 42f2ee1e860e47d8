// A bot with one slash command, /signin: it asks codeferry for a link, shows it to the user alone, receives the signed
// result, and tells the user how the sign-in ended. docs/integrate.md explains each step.
//
//   npm install discord.js
//   BOT_TOKEN=… CODEFERRY_CALLBACK_SECRET=whsec_… CONTROL_SOCKET=data/control.sock node bot.mjs
//
// codeferry.toml: [[delivery]] with name = "callback", kind = "http", url = "http://127.0.0.1:3000/codeferry".
import { createHmac, timingSafeEqual } from "node:crypto";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { Client, MessageFlags } from "discord.js";

const { BOT_TOKEN, CODEFERRY_CALLBACK_SECRET, CONTROL_SOCKET = "data/control.sock" } = process.env;
const { PORT = "3000", SEEN = "seen.txt", DISCORD_API = "https://discord.com/api" } = process.env;
const key = Buffer.from(CODEFERRY_CALLBACK_SECRET.replace(/^whsec_/, ""), "base64");

// 1. Ask for a link. Ids are strings: JavaScript rounds numbers of that size.
function link(userId) {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: CONTROL_SOCKET, path: "/v1/links", method: "POST", timeout: 2000 }, (answer) => {
      let text = "";
      answer.on("data", (part) => (text += part));
      answer.on("end", () => resolve({ status: answer.statusCode, ...JSON.parse(text) }));
    });
    asked.on("error", reject).on("timeout", () => asked.destroy(new Error("codeferry does not answer")));
    asked.end(JSON.stringify({ user_id: userId }));
  });
}

// 2. Hand it out, where nobody else sees it.
const client = new Client({ intents: [], rest: { api: DISCORD_API } });
client.on("interactionCreate", async (use) => {
  if (!use.isChatInputCommand() || use.commandName !== "signin") return;
  const made = await link(use.user.id).catch((error) => ({ status: 503, error: error.message }));
  const later = made.retry_after ? `Please try again in ${made.retry_after} s.` : "Please try again later.";
  if (made.status !== 200) console.error("no link:", made.error);
  await use.reply({ content: made.status === 200 ? `Sign in: ${made.url}` : later, flags: MessageFlags.Ephemeral });
});
client.on("error", (error) => console.error(error));
process.on("unhandledRejection", (error) => console.error(error));

// 3. Receive the result: only with codeferry's signature, and not older than five minutes.
function isSigned(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signatures = "" } = headers;
  if (!id || !(Math.abs(Date.now() / 1000 - Number(time)) < 300)) return false;
  const wanted = createHmac("sha256", key).update(`${id}.${time}.`).update(body).digest();
  return signatures.split(" ").some((one) => {
    const given = Buffer.from(one.replace(/^v1,/, ""), "base64");
    return one.startsWith("v1,") && given.length === wanted.length && timingSafeEqual(given, wanted);
  });
}

// A result may come twice, also after a restart: its id is kept.
const seen = new Set(existsSync(SEEN) ? readFileSync(SEEN, "utf8").split("\n") : []);

// 4. Answer the user.
async function tell(result) {
  const ended = result.type.replace("authorization.", "");
  const text = ended === "completed" ? `Welcome, ${result.user.username}.` : `The sign-in ended: ${ended}. Try /signin again.`;
  // A user who takes no direct messages is no reason to send the result again.
  await client.users.send(result.state.user_id, text).catch((error) => console.error("not told:", error.message));
}

const server = createServer((call, answer) => {
  const parts = [];
  call.on("data", (part) => parts.push(part));
  call.on("end", async () => {
    const body = Buffer.concat(parts);
    if (call.method !== "POST" || !isSigned(call.headers, body)) return answer.writeHead(401).end();
    const result = JSON.parse(body);
    if (!seen.has(result.id)) {
      seen.add(result.id);
      await tell(result);
      appendFileSync(SEEN, `${result.id}\n`);
    }
    answer.writeHead(204).end();
  });
});

client.once("clientReady", async () => {
  await client.application.commands.create({ name: "signin", description: "Sign in with Discord" });
  server.listen(Number(PORT), "127.0.0.1", () => console.log(`ready on port ${server.address().port}`));
});
await client.login(BOT_TOKEN);
