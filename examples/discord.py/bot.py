"""A bot with one slash command, /signin: it asks codeferry for a link, shows it to the user alone, receives the signed
result, and tells the user how the sign-in ended. docs/integrate.md explains each step.

    pip install discord.py
    BOT_TOKEN=… CODEFERRY_CALLBACK_SECRET=whsec_… CONTROL_SOCKET=data/control.sock python bot.py

codeferry.toml: [[delivery]] with name = "callback", kind = "http", url = "http://127.0.0.1:3000/codeferry".
"""

import base64
import hashlib
import hmac
import os
import time
from pathlib import Path

import aiohttp
import discord
from aiohttp import web

SOCKET = os.environ.get("CONTROL_SOCKET", "data/control.sock")
SEEN = Path(os.environ.get("SEEN", "seen.txt"))
KEY = base64.b64decode(os.environ["CODEFERRY_CALLBACK_SECRET"].removeprefix("whsec_"))

client = discord.Client(intents=discord.Intents.none())
tree = discord.app_commands.CommandTree(client)


async def link(user_id: int) -> tuple[int, dict]:
    """1. Asks for a link. Ids are strings in every body."""
    timeout = aiohttp.ClientTimeout(total=2)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(SOCKET), timeout=timeout) as session:
        async with session.post("http://codeferry/v1/links", json={"user_id": str(user_id)}) as answer:
            return answer.status, await answer.json()


@tree.command(name="signin", description="Sign in with Discord")
async def sign_in(use: discord.Interaction) -> None:
    """2. Hands the link out, where nobody else sees it."""
    try:
        status, made = await link(use.user.id)
    except (OSError, TimeoutError, aiohttp.ClientError) as error:
        status, made = 503, {"error": str(error)}
    if status == 200:
        text = f"Sign in: {made['url']}"
    else:
        print("no link:", made["error"])
        text = f"Please try again in {made['retry_after']} s." if "retry_after" in made else "Please try again later."
    await use.response.send_message(text, ephemeral=True)


def is_signed(headers, body: bytes) -> bool:
    """3. A result counts only with codeferry's signature, and not older than five minutes."""
    id_, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not id_ or not at.isdecimal() or abs(time.time() - int(at)) > 300:
        return False
    wanted = hmac.new(KEY, f"{id_}.{at}.".encode() + body, hashlib.sha256).digest()
    wanted = "v1," + base64.b64encode(wanted).decode()
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(one.encode(), wanted.encode()) for one in given)


# A result may come twice, also after a restart: its id is kept.
seen = set(SEEN.read_text().split()) if SEEN.exists() else set()


async def receive(call: web.Request) -> web.Response:
    body = await call.read()
    if not is_signed(call.headers, body):
        return web.Response(status=401)
    result = await call.json()
    if result["id"] not in seen:
        seen.add(result["id"])
        await tell(result)
        with SEEN.open("a") as file:
            file.write(result["id"] + "\n")
    return web.Response(status=204)


async def tell(result: dict) -> None:
    """4. Answers the user."""
    ended = result["type"].removeprefix("authorization.")
    text = f"The sign-in ended: {ended}. Try /signin again."
    if ended == "completed":
        text = f"Welcome, {result['user']['username']}."
    try:
        channel = await client.create_dm(discord.Object(int(result["state"]["user_id"])))
        await channel.send(text)
    except discord.HTTPException as error:
        # A user who takes no direct messages is no reason to send the result again.
        print("not told:", error)


@client.event
async def setup_hook() -> None:
    # This replaces all commands of the application: with `[commands] connect` of codeferry, add /signin by hand instead.
    await tree.sync()


@client.event
async def on_ready() -> None:
    if hasattr(client, "site"):
        return
    app = web.Application()
    app.router.add_post("/codeferry", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    client.site = web.TCPSite(runner, "127.0.0.1", int(os.environ.get("PORT", "3000")))
    await client.site.start()
    print(f"ready on port {runner.addresses[0][1]}", flush=True)


client.run(os.environ["BOT_TOKEN"])
