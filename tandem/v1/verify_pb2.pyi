from tandem.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JudgeRequest(_message.Message):
    __slots__ = ("open", "extend", "round", "committed", "close")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    EXTEND_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    open: OpenSequence
    extend: ExtendSequence
    round: JudgeRound
    committed: _types_pb2.CommitWatermark
    close: CloseSequence
    def __init__(self, open: _Optional[_Union[OpenSequence, _Mapping]] = ..., extend: _Optional[_Union[ExtendSequence, _Mapping]] = ..., round: _Optional[_Union[JudgeRound, _Mapping]] = ..., committed: _Optional[_Union[_types_pb2.CommitWatermark, _Mapping]] = ..., close: _Optional[_Union[CloseSequence, _Mapping]] = ...) -> None: ...

class JudgeResponse(_message.Message):
    __slots__ = ("opened", "verdict", "kv_miss", "dropped", "refused")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    KV_MISS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    opened: SequenceOpened
    verdict: Verdict
    kv_miss: KvMiss
    dropped: RoundDropped
    refused: _types_pb2.Refusal
    def __init__(self, opened: _Optional[_Union[SequenceOpened, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ..., kv_miss: _Optional[_Union[KvMiss, _Mapping]] = ..., dropped: _Optional[_Union[RoundDropped, _Mapping]] = ..., refused: _Optional[_Union[_types_pb2.Refusal, _Mapping]] = ...) -> None: ...

class OpenSequence(_message.Message):
    __slots__ = ("session_id", "fence", "decoding", "token_ids", "timeout_seconds")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    fence: _types_pb2.Fence
    decoding: _types_pb2.Decoding
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    timeout_seconds: float
    def __init__(self, session_id: _Optional[str] = ..., fence: _Optional[_Union[_types_pb2.Fence, _Mapping]] = ..., decoding: _Optional[_Union[_types_pb2.Decoding, _Mapping]] = ..., token_ids: _Optional[_Iterable[int]] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class ExtendSequence(_message.Message):
    __slots__ = ("session_id", "fence", "from_position", "token_ids")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    FROM_POSITION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    fence: _types_pb2.Fence
    from_position: int
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, session_id: _Optional[str] = ..., fence: _Optional[_Union[_types_pb2.Fence, _Mapping]] = ..., from_position: _Optional[int] = ..., token_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class JudgeRound(_message.Message):
    __slots__ = ("name", "proposal", "sent_ahead", "committed_position", "timeout_seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    SENT_AHEAD_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_POSITION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: _types_pb2.RoundName
    proposal: _types_pb2.Proposal
    sent_ahead: bool
    committed_position: int
    timeout_seconds: float
    def __init__(self, name: _Optional[_Union[_types_pb2.RoundName, _Mapping]] = ..., proposal: _Optional[_Union[_types_pb2.Proposal, _Mapping]] = ..., sent_ahead: _Optional[bool] = ..., committed_position: _Optional[int] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class CloseSequence(_message.Message):
    __slots__ = ("session_id", "fence")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    fence: _types_pb2.Fence
    def __init__(self, session_id: _Optional[str] = ..., fence: _Optional[_Union[_types_pb2.Fence, _Mapping]] = ...) -> None: ...

class SequenceOpened(_message.Message):
    __slots__ = ("session_id", "cached_position")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CACHED_POSITION_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    cached_position: int
    def __init__(self, session_id: _Optional[str] = ..., cached_position: _Optional[int] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("name", "outcome", "repeated_answer", "superseded")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REPEATED_ANSWER_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    name: _types_pb2.RoundName
    outcome: _types_pb2.Outcome
    repeated_answer: bool
    superseded: bool
    def __init__(self, name: _Optional[_Union[_types_pb2.RoundName, _Mapping]] = ..., outcome: _Optional[_Union[_types_pb2.Outcome, _Mapping]] = ..., repeated_answer: _Optional[bool] = ..., superseded: _Optional[bool] = ...) -> None: ...

class KvMiss(_message.Message):
    __slots__ = ("name", "have_position", "have_digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HAVE_POSITION_FIELD_NUMBER: _ClassVar[int]
    HAVE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: _types_pb2.RoundName
    have_position: int
    have_digest: bytes
    def __init__(self, name: _Optional[_Union[_types_pb2.RoundName, _Mapping]] = ..., have_position: _Optional[int] = ..., have_digest: _Optional[bytes] = ...) -> None: ...

class RoundDropped(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: _types_pb2.RoundName
    def __init__(self, name: _Optional[_Union[_types_pb2.RoundName, _Mapping]] = ...) -> None: ...

class DecodeRequest(_message.Message):
    __slots__ = ("open", "committed", "close")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    open: OpenSequence
    committed: _types_pb2.CommitWatermark
    close: CloseSequence
    def __init__(self, open: _Optional[_Union[OpenSequence, _Mapping]] = ..., committed: _Optional[_Union[_types_pb2.CommitWatermark, _Mapping]] = ..., close: _Optional[_Union[CloseSequence, _Mapping]] = ...) -> None: ...

class DecodeResponse(_message.Message):
    __slots__ = ("decoded", "refused")
    DECODED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    decoded: DecodedRound
    refused: _types_pb2.Refusal
    def __init__(self, decoded: _Optional[_Union[DecodedRound, _Mapping]] = ..., refused: _Optional[_Union[_types_pb2.Refusal, _Mapping]] = ...) -> None: ...

class DecodedRound(_message.Message):
    __slots__ = ("name", "outcome")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    name: _types_pb2.RoundName
    outcome: _types_pb2.Outcome
    def __init__(self, name: _Optional[_Union[_types_pb2.RoundName, _Mapping]] = ..., outcome: _Optional[_Union[_types_pb2.Outcome, _Mapping]] = ...) -> None: ...

class VerifyServiceScoreRequest(_message.Message):
    __slots__ = ("token_ids", "num_top_log_probs")
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    NUM_TOP_LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    num_top_log_probs: int
    def __init__(self, token_ids: _Optional[_Iterable[int]] = ..., num_top_log_probs: _Optional[int] = ...) -> None: ...

class VerifyServiceScoreResponse(_message.Message):
    __slots__ = ("scores",)
    SCORES_FIELD_NUMBER: _ClassVar[int]
    scores: _types_pb2.TextScores
    def __init__(self, scores: _Optional[_Union[_types_pb2.TextScores, _Mapping]] = ...) -> None: ...
