"""A drafter of one's own: prompt lookup against the public verify API, with nothing but grpc and the contract.

It proposes what followed the last time the text's latest tokens occurred in it, and has the target judge that by the
method `coupled`: the target's draws are fixed by the seed, so the text is the one that the target would have written
alone, whatever is proposed. A good guess only makes it come sooner.

    python examples/drafter.py 127.0.0.1:7071 --tokens 1,17,23,9 --max-tokens 64 --seed 7
"""

from __future__ import annotations

import argparse
import hashlib
import queue
import secrets
import struct
from collections.abc import Iterator, Sequence

import grpc

from tandem.v1 import types_pb2, verify_pb2, verify_pb2_grpc

PROTOCOL_VERSION = 1


def digest_of(token_ids: Sequence[int]) -> bytes:
    """The running digest of a text: BLAKE2b, 16 bytes, of its ids as little-endian 32-bit integers."""
    return hashlib.blake2b(struct.pack(f"<{len(token_ids)}I", *token_ids), digest_size=16).digest()


def look_up(text: Sequence[int], length: int, longest: int = 3) -> list[int]:
    """What followed when the last few tokens occurred before, at most ``length`` tokens; else the last token again."""
    for size in range(min(longest, len(text) - 1), 0, -1):
        tail = list(text[-size:])
        for start in range(len(text) - size - 1, -1, -1):
            if list(text[start : start + size]) == tail:
                return list(text[start + size : start + size + length])
    return [text[-1]]


class Session:
    """One session on one Judge stream."""

    def __init__(self, channel: grpc.Channel, prompt: Sequence[int], decoding: types_pb2.Decoding) -> None:
        self.text = list(prompt)
        self._id = secrets.token_hex(8)
        self._fence = types_pb2.Fence(epoch=1, nonce=secrets.token_bytes(8))
        self._decoding = decoding
        self._outgoing: queue.SimpleQueue[verify_pb2.JudgeRequest | None] = queue.SimpleQueue()
        self._answers = verify_pb2_grpc.VerifyServiceStub(channel).Judge(self._requests())
        self.open()

    def _requests(self) -> Iterator[verify_pb2.JudgeRequest]:
        while (request := self._outgoing.get()) is not None:
            yield request

    def open(self) -> None:
        """Begins the session, or supplies its whole text again: opening is safe to repeat."""
        opening = verify_pb2.OpenSequence(
            session_id=self._id, fence=self._fence, decoding=self._decoding, token_ids=self.text
        )
        self._outgoing.put(verify_pb2.JudgeRequest(open=opening))

    def round(self, candidates: Sequence[int]) -> types_pb2.Outcome:
        """Has a chain of candidates judged and returns what it did to the text."""
        name = types_pb2.RoundName(
            session_id=self._id, fence=self._fence, position=len(self.text), digest=digest_of(self.text)
        )
        proposal = types_pb2.Proposal(
            digest=digest_of([len(self.text), *candidates]),  # differs where the proposal does
            token_ids=candidates,
            parents=range(-1, len(candidates) - 1),
            draft_joint_log_probs=[0.0] * len(candidates),  # `coupled` does not look at them
        )
        # Nobody commits here: what was read is kept, so it counts as committed.
        asked = verify_pb2.JudgeRound(name=name, proposal=proposal, committed_position=len(self.text))
        self._outgoing.put(verify_pb2.JudgeRequest(round=asked))
        for answer in self._answers:
            body = answer.WhichOneof("body")
            if body == "verdict" and answer.verdict.name == name:
                self.text += answer.verdict.outcome.token_ids
                if digest_of(self.text) != answer.verdict.outcome.next_digest:
                    raise RuntimeError("the verdict does not fit the text")
                return answer.verdict.outcome
            if body == "kv_miss":
                self.open()
                self._outgoing.put(verify_pb2.JudgeRequest(round=asked))
            if body == "refused":
                raise RuntimeError(f"refused with code {answer.refused.code}: {answer.refused.message}")
        raise RuntimeError("the replica ended the stream")

    def close(self) -> None:
        """Ends the session and the stream."""
        closing = verify_pb2.CloseSequence(session_id=self._id, fence=self._fence)
        self._outgoing.put(verify_pb2.JudgeRequest(close=closing))
        self._outgoing.put(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verify", help="address of a verify replica, host:port")
    parser.add_argument("--tokens", required=True, help="the prompt's token ids, with commas")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--draft-length", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    prompt = [int(token) for token in arguments.tokens.split(",")]

    with grpc.insecure_channel(arguments.verify) as channel:
        peer = verify_pb2_grpc.VerifyServiceStub(channel).Describe(types_pb2.DescribeRequest(), wait_for_ready=True)
        if peer.protocol_version != PROTOCOL_VERSION:
            raise SystemExit(f"the replica speaks protocol version {peer.protocol_version}, not {PROTOCOL_VERSION}")
        decoding = types_pb2.Decoding(
            sampling=types_pb2.Sampling(temperature=1.0, top_k=10, top_p=0.9, seed=arguments.seed),
            speculation=types_pb2.Speculation(
                method="coupled", draft_length=arguments.draft_length, beam_width=1, threshold=0.5
            ),
            max_position=min(len(prompt) + arguments.max_tokens, peer.max_positions),
            eos_token_ids=peer.eos_token_ids,
        )
        session = Session(channel, prompt, decoding)
        num_rounds = num_accepted = 0
        ended = False
        while not ended:
            outcome = session.round(look_up(session.text, arguments.draft_length))
            num_rounds, num_accepted = num_rounds + 1, num_accepted + outcome.num_accepted
            ended = len(session.text) >= decoding.max_position or bool(
                set(outcome.token_ids) & set(decoding.eos_token_ids)
            )
        session.close()

    # The last round may run past the end: the text stops after the first end token, or at the greatest length.
    text = session.text[: decoding.max_position]
    generated = text[len(prompt) :]
    end = next((index for index, token in enumerate(generated) if token in decoding.eos_token_ids), len(generated))
    print(",".join(str(token) for token in generated[: end + 1]))
    print(f"# {num_rounds} rounds, {num_accepted} proposed tokens accepted")


if __name__ == "__main__":
    main()
