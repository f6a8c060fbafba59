"""Clients of a running stack: one for threads, one for asyncio."""

from tandem.client.aio import AsyncClient, AsyncStream
from tandem.client.sync import Client, Stream
from tandem.generation import Options

__all__ = ["AsyncClient", "AsyncStream", "Client", "Options", "Stream"]
