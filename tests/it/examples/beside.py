"""Runs the bot of examples/discord.py against another Discord than the real one, which discord.py has no option for."""

import os
import runpy
import sys

import yarl
from discord import gateway, http

http.Route.BASE = os.environ["DISCORD_API"]
gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(os.environ["DISCORD_GATEWAY"])
gateway.DiscordWebSocket.from_client.__func__.__kwdefaults__["compress"] = False
runpy.run_path(sys.argv[1], run_name="__main__")
