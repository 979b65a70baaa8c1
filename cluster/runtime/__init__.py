"""The imperative shell of a node: asyncio, sockets, files, threads, signals; no protocol."""
