"""The draft service: drafts proposals for leased sessions, has them judged, and reports each outcome."""
