"""The playground: a page that shows joint decoding at work, and what it asks of this server."""
