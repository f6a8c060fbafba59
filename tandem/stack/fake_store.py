"""``python -m tandem.stack.fake_store PORT``: a stand-in for Redis, where no redis-server can run."""

from __future__ import annotations

import sys

from fakeredis import TcpFakeServer


def main() -> None:
    """Serves until terminated."""
    server = TcpFakeServer(("127.0.0.1", int(sys.argv[1])))
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
