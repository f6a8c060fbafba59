"""The store's atomic steps, as Lua that runs inside Redis (6.2 or later) and on its stand-in.

Every script gets the session's seven keys and touches no others; all carry the session id as their hash tag, so a
cluster keeps them together. Numbers arrive as text. Only the standard library of Lua is used. Each answer is a list
that begins with a word; ``session_store`` turns it into a value.

The keys: 1 record (hash), 2 tokens, 3 log-probabilities, 4 rounds (strings that only grow), 5 KV references (hash),
6 joules of the rounds, 7 most probable tokens in the place of each token (strings that only grow).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the digest by which Redis knows it."""

    source: str
    sha: str


def _script(*parts: str) -> Script:
    source = "\n".join(parts)
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


# No key may live without an expiry: whatever a script wrote, it renews the expiry of all.
_EXPIRE = """
local function renew(ttl)
  for i = 1, #KEYS do redis.call('EXPIRE', KEYS[i], ttl) end
end
"""

# Whether work in the name of (epoch, nonce) is refused: an older epoch, or an equal one of another owner.
_FENCE = """
local function refused(held_epoch, held_nonce, epoch, nonce)
  return epoch < held_epoch or (epoch == held_epoch and nonce ~= held_nonce)
end
"""

# ARGV: ttl, schema, epoch, nonce, position, digest, setup, tokens, then role and KV reference by turns.
CREATE = _script(
    _EXPIRE,
    """
if redis.call('EXISTS', KEYS[1]) == 1 then return {'exists'} end
redis.call('HSET', KEYS[1], 'schema', ARGV[2], 'epoch', ARGV[3], 'nonce', ARGV[4], 'position', ARGV[5],
  'digest', ARGV[6], 'setup', ARGV[7], 'ended', '', 'stop', '')
redis.call('SET', KEYS[2], ARGV[8])
for i = 9, #ARGV, 2 do redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1]) end
renew(ARGV[1])
return {'ok'}
""",
)

# ARGV: ttl, expected epoch, expected nonce, epoch, nonce, then role and KV reference by turns.
RAISE_EPOCH = _script(
    _EXPIRE,
    """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'ended')
if not held[1] then return {'missing'} end
if held[3] ~= '' then return {'ended', held[3], held[1]} end
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then return {'stale', held[1]} end
redis.call('HSET', KEYS[1], 'epoch', ARGV[4], 'nonce', ARGV[5])
for i = 6, #ARGV, 2 do redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1]) end
renew(ARGV[1])
return {'ok'}
""",
)

# The commit. ARGV: ttl, epoch, nonce, position, digest, next position, next digest, tokens (le32 each),
# log-probabilities (le64 each), round (24 bytes), ended, stop, ttl once ended, joules of the round (16 bytes or none),
# most probable tokens in the place of each token (none where not asked for).
# A round is le32 position, 16 bytes of digest, accepted, drafted, passes, 0; rounds stand in order of position.
COMMIT = _script(
    _EXPIRE,
    _FENCE,
    """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'position', 'digest', 'ended')
if not held[1] then return {'gap', '0'} end
local epoch, from, position = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(held[3])
if refused(tonumber(held[1]), held[2], epoch, ARGV[3]) then return {'stale', held[1]} end
if from < position then
  local function begins(index)
    local a, b, c, d = string.byte(redis.call('GETRANGE', KEYS[4], index * 24, index * 24 + 3), 1, 4)
    return a + b * 256 + c * 65536 + d * 16777216
  end
  local count = redis.call('STRLEN', KEYS[4]) / 24
  local low, high = 0, count
  while low < high do
    local middle = math.floor((low + high) / 2)
    if begins(middle) < from then low = middle + 1 else high = middle end
  end
  if low < count and begins(low) == from
      and redis.call('GETRANGE', KEYS[4], low * 24 + 4, low * 24 + 19) == ARGV[5] then
    local upto = position
    if low + 1 < count then upto = begins(low + 1) end
    return {'duplicate', held[3], redis.call('GETRANGE', KEYS[2], from * 4, upto * 4 - 1)}
  end
  return {'gap', held[3]}
end
if from > position or ARGV[5] ~= held[4] then return {'gap', held[3]} end
if held[5] ~= '' then return {'stale', held[1]} end
redis.call('APPEND', KEYS[2], ARGV[8])
redis.call('APPEND', KEYS[3], ARGV[9])
redis.call('APPEND', KEYS[4], ARGV[10])
if ARGV[14] ~= '' then redis.call('APPEND', KEYS[6], ARGV[14]) end
if ARGV[15] ~= '' then redis.call('APPEND', KEYS[7], ARGV[15]) end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'nonce', ARGV[3], 'position', ARGV[6], 'digest', ARGV[7],
  'ended', ARGV[11], 'stop', ARGV[12])
if ARGV[11] == '' then renew(ARGV[1]) else renew(ARGV[13]) end
return {'ok', ARGV[6]}
""",
)

# Ends a session from outside, whoever owns it: its owner finds out by STALE. ARGV: ttl, nonce, reason, stop string.
END = _script(
    _EXPIRE,
    """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'ended')
if not held[1] then return {'missing'} end
if held[2] ~= '' then return {'ended', held[2], held[1]} end
redis.call('HSET', KEYS[1], 'epoch', string.format('%d', tonumber(held[1]) + 1), 'nonce', ARGV[2], 'ended', ARGV[3],
  'stop', ARGV[4])
renew(ARGV[1])
return {'ok'}
""",
)

# Shortens (or renews) a session's life while the owner is still the owner. ARGV: ttl, epoch, nonce.
KEEP = _script(
    _EXPIRE,
    """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'nonce')
if not held[1] then return {'missing'} end
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then return {'stale', held[1]} end
renew(ARGV[1])
return {'ok'}
""",
)

# Writes back what Redis lost: only over nothing, or over a beginning of the same text.
# ARGV: ttl, schema, epoch, nonce, position, digest, setup, tokens, log-probabilities, rounds, joules, most probable
# tokens.
RESTORE = _script(
    _EXPIRE,
    _FENCE,
    """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'ended')
if held[1] then
  if refused(tonumber(held[1]), held[2], tonumber(ARGV[3]), ARGV[4]) then return {'stale', held[1]} end
  if held[3] ~= '' then return {'ended', held[3], held[1]} end
  local text = redis.call('GET', KEYS[2]) or ''
  if string.sub(ARGV[8], 1, #text) ~= text then return {'conflict'} end
end
redis.call('HSET', KEYS[1], 'schema', ARGV[2], 'epoch', ARGV[3], 'nonce', ARGV[4], 'position', ARGV[5],
  'digest', ARGV[6], 'setup', ARGV[7], 'ended', '', 'stop', '')
redis.call('SET', KEYS[2], ARGV[8])
redis.call('SET', KEYS[3], ARGV[9])
redis.call('SET', KEYS[4], ARGV[10])
if ARGV[11] ~= '' then redis.call('SET', KEYS[6], ARGV[11]) else redis.call('DEL', KEYS[6]) end
if ARGV[12] ~= '' then redis.call('SET', KEYS[7], ARGV[12]) else redis.call('DEL', KEYS[7]) end
renew(ARGV[1])
return {'ok'}
""",
)

# All of a session in one reading. No ARGV.
READ = _script(
    """
local held = redis.call('HMGET', KEYS[1], 'schema', 'epoch', 'nonce', 'position', 'digest', 'setup', 'ended', 'stop',
  'deleted')
if not held[1] then return {'missing'} end
if held[9] then return {'deleted'} end
local hints = redis.call('HGETALL', KEYS[5])
return {'ok', held[1], held[2], held[3], held[4], held[5], held[6], held[7], held[8],
  redis.call('GET', KEYS[2]) or '', redis.call('GET', KEYS[3]) or '', redis.call('GET', KEYS[4]) or '',
  redis.call('GET', KEYS[6]) or '', redis.call('GET', KEYS[7]) or '', unpack(hints)}
"""
)

# Forgets a session's text, all that decided it, and where it ran. What stays for a while is a headstone, ended and
# under a raised epoch: without it, whoever still holds the text in memory would take the store for one that lost it,
# and write it back. ARGV: ttl, schema, nonce.
DELETE = _script(
    _EXPIRE,
    """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'deleted')
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
if not held[1] or held[2] then return {'missing'} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'schema', ARGV[2], 'epoch', string.format('%d', tonumber(held[1]) + 1), 'nonce', ARGV[3],
  'position', '0', 'digest', '', 'setup', '', 'ended', 'cancelled', 'stop', '', 'deleted', '1')
renew(ARGV[1])
return {'ok'}
""",
)

ALL = (CREATE, RAISE_EPOCH, COMMIT, END, KEEP, RESTORE, READ, DELETE)
