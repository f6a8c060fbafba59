from tandem.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeaseRequest(_message.Message):
    __slots__ = ("grant", "committed", "release")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    grant: GrantLease
    committed: _types_pb2.CommitWatermark
    release: ReleaseLease
    def __init__(self, grant: _Optional[_Union[GrantLease, _Mapping]] = ..., committed: _Optional[_Union[_types_pb2.CommitWatermark, _Mapping]] = ..., release: _Optional[_Union[ReleaseLease, _Mapping]] = ...) -> None: ...

class LeaseResponse(_message.Message):
    __slots__ = ("outcome", "ended")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    outcome: RoundOutcome
    ended: LeaseEnded
    def __init__(self, outcome: _Optional[_Union[RoundOutcome, _Mapping]] = ..., ended: _Optional[_Union[LeaseEnded, _Mapping]] = ...) -> None: ...

class GrantLease(_message.Message):
    __slots__ = ("session_id", "fence", "decoding", "token_ids", "verify_address", "lease_seconds", "round_timeout_seconds", "timeout_seconds")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ROUND_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    fence: _types_pb2.Fence
    decoding: _types_pb2.Decoding
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    verify_address: str
    lease_seconds: float
    round_timeout_seconds: float
    timeout_seconds: float
    def __init__(self, session_id: _Optional[str] = ..., fence: _Optional[_Union[_types_pb2.Fence, _Mapping]] = ..., decoding: _Optional[_Union[_types_pb2.Decoding, _Mapping]] = ..., token_ids: _Optional[_Iterable[int]] = ..., verify_address: _Optional[str] = ..., lease_seconds: _Optional[float] = ..., round_timeout_seconds: _Optional[float] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class ReleaseLease(_message.Message):
    __slots__ = ("session_id", "fence")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    fence: _types_pb2.Fence
    def __init__(self, session_id: _Optional[str] = ..., fence: _Optional[_Union[_types_pb2.Fence, _Mapping]] = ...) -> None: ...

class RoundOutcome(_message.Message):
    __slots__ = ("name", "outcome")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    name: _types_pb2.RoundName
    outcome: _types_pb2.Outcome
    def __init__(self, name: _Optional[_Union[_types_pb2.RoundName, _Mapping]] = ..., outcome: _Optional[_Union[_types_pb2.Outcome, _Mapping]] = ...) -> None: ...

class LeaseEnded(_message.Message):
    __slots__ = ("refusal", "verify_failed")
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FAILED_FIELD_NUMBER: _ClassVar[int]
    refusal: _types_pb2.Refusal
    verify_failed: bool
    def __init__(self, refusal: _Optional[_Union[_types_pb2.Refusal, _Mapping]] = ..., verify_failed: _Optional[bool] = ...) -> None: ...
