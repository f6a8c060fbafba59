from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Lifecycle(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIFECYCLE_UNSPECIFIED: _ClassVar[Lifecycle]
    LIFECYCLE_STARTING: _ClassVar[Lifecycle]
    LIFECYCLE_READY: _ClassVar[Lifecycle]
    LIFECYCLE_DRAINING: _ClassVar[Lifecycle]
LIFECYCLE_UNSPECIFIED: Lifecycle
LIFECYCLE_STARTING: Lifecycle
LIFECYCLE_READY: Lifecycle
LIFECYCLE_DRAINING: Lifecycle

class Fence(_message.Message):
    __slots__ = ("epoch", "nonce")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    nonce: bytes
    def __init__(self, epoch: _Optional[int] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class RoundName(_message.Message):
    __slots__ = ("session_id", "fence", "position", "digest")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    fence: Fence
    position: int
    digest: bytes
    def __init__(self, session_id: _Optional[str] = ..., fence: _Optional[_Union[Fence, _Mapping]] = ..., position: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("temperature", "top_k", "top_p", "min_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "constraint")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MIN_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    LOGIT_BIAS_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINT_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int
    presence_penalty: float
    frequency_penalty: float
    logit_bias: _containers.RepeatedCompositeFieldContainer[LogitBias]
    constraint: Constraint
    def __init__(self, temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., min_p: _Optional[float] = ..., seed: _Optional[int] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., logit_bias: _Optional[_Iterable[_Union[LogitBias, _Mapping]]] = ..., constraint: _Optional[_Union[Constraint, _Mapping]] = ...) -> None: ...

class Constraint(_message.Message):
    __slots__ = ("json_schema", "grammar", "regex")
    JSON_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    GRAMMAR_FIELD_NUMBER: _ClassVar[int]
    REGEX_FIELD_NUMBER: _ClassVar[int]
    json_schema: str
    grammar: str
    regex: str
    def __init__(self, json_schema: _Optional[str] = ..., grammar: _Optional[str] = ..., regex: _Optional[str] = ...) -> None: ...

class LogitBias(_message.Message):
    __slots__ = ("token_id", "bias")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    token_id: int
    bias: float
    def __init__(self, token_id: _Optional[int] = ..., bias: _Optional[float] = ...) -> None: ...

class Speculation(_message.Message):
    __slots__ = ("method", "draft_length", "beam_width", "threshold")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    DRAFT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    BEAM_WIDTH_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    method: str
    draft_length: int
    beam_width: int
    threshold: float
    def __init__(self, method: _Optional[str] = ..., draft_length: _Optional[int] = ..., beam_width: _Optional[int] = ..., threshold: _Optional[float] = ...) -> None: ...

class Decoding(_message.Message):
    __slots__ = ("sampling", "speculation", "max_position", "eos_token_ids", "ignore_eos", "trace", "num_top_log_probs", "cache_salt", "prompt_length")
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    SPECULATION_FIELD_NUMBER: _ClassVar[int]
    MAX_POSITION_FIELD_NUMBER: _ClassVar[int]
    EOS_TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    IGNORE_EOS_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    NUM_TOP_LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    CACHE_SALT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    sampling: Sampling
    speculation: Speculation
    max_position: int
    eos_token_ids: _containers.RepeatedScalarFieldContainer[int]
    ignore_eos: bool
    trace: bool
    num_top_log_probs: int
    cache_salt: bytes
    prompt_length: int
    def __init__(self, sampling: _Optional[_Union[Sampling, _Mapping]] = ..., speculation: _Optional[_Union[Speculation, _Mapping]] = ..., max_position: _Optional[int] = ..., eos_token_ids: _Optional[_Iterable[int]] = ..., ignore_eos: _Optional[bool] = ..., trace: _Optional[bool] = ..., num_top_log_probs: _Optional[int] = ..., cache_salt: _Optional[bytes] = ..., prompt_length: _Optional[int] = ...) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("digest", "token_ids", "parents", "draft_joint_log_probs", "distributions", "draft_seconds", "draft_joules")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    DRAFT_JOINT_LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    DRAFT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DRAFT_JOULES_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    parents: _containers.RepeatedScalarFieldContainer[int]
    draft_joint_log_probs: _containers.RepeatedScalarFieldContainer[float]
    distributions: _containers.RepeatedCompositeFieldContainer[DraftDistribution]
    draft_seconds: float
    draft_joules: float
    def __init__(self, digest: _Optional[bytes] = ..., token_ids: _Optional[_Iterable[int]] = ..., parents: _Optional[_Iterable[int]] = ..., draft_joint_log_probs: _Optional[_Iterable[float]] = ..., distributions: _Optional[_Iterable[_Union[DraftDistribution, _Mapping]]] = ..., draft_seconds: _Optional[float] = ..., draft_joules: _Optional[float] = ...) -> None: ...

class DraftDistribution(_message.Message):
    __slots__ = ("node", "token_ids", "log_probs")
    NODE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    node: int
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    log_probs: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, node: _Optional[int] = ..., token_ids: _Optional[_Iterable[int]] = ..., log_probs: _Optional[_Iterable[float]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("token_ids", "num_accepted", "num_drafted", "log_probs", "next_digest", "trace", "timings", "proposal_digest", "num_target_passes", "draft_joules", "verify_joules", "top_log_probs")
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    NUM_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    NUM_DRAFTED_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    PROPOSAL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NUM_TARGET_PASSES_FIELD_NUMBER: _ClassVar[int]
    DRAFT_JOULES_FIELD_NUMBER: _ClassVar[int]
    VERIFY_JOULES_FIELD_NUMBER: _ClassVar[int]
    TOP_LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    num_accepted: int
    num_drafted: int
    log_probs: _containers.RepeatedScalarFieldContainer[float]
    next_digest: bytes
    trace: RoundTrace
    timings: StageTimings
    proposal_digest: bytes
    num_target_passes: int
    draft_joules: float
    verify_joules: float
    top_log_probs: _containers.RepeatedCompositeFieldContainer[TopLogProbs]
    def __init__(self, token_ids: _Optional[_Iterable[int]] = ..., num_accepted: _Optional[int] = ..., num_drafted: _Optional[int] = ..., log_probs: _Optional[_Iterable[float]] = ..., next_digest: _Optional[bytes] = ..., trace: _Optional[_Union[RoundTrace, _Mapping]] = ..., timings: _Optional[_Union[StageTimings, _Mapping]] = ..., proposal_digest: _Optional[bytes] = ..., num_target_passes: _Optional[int] = ..., draft_joules: _Optional[float] = ..., verify_joules: _Optional[float] = ..., top_log_probs: _Optional[_Iterable[_Union[TopLogProbs, _Mapping]]] = ...) -> None: ...

class TopLogProbs(_message.Message):
    __slots__ = ("token_ids", "log_probs")
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    log_probs: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, token_ids: _Optional[_Iterable[int]] = ..., log_probs: _Optional[_Iterable[float]] = ...) -> None: ...

class TextScores(_message.Message):
    __slots__ = ("log_probs", "ranks", "top_log_probs")
    LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    TOP_LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    log_probs: _containers.RepeatedScalarFieldContainer[float]
    ranks: _containers.RepeatedScalarFieldContainer[int]
    top_log_probs: _containers.RepeatedCompositeFieldContainer[TopLogProbs]
    def __init__(self, log_probs: _Optional[_Iterable[float]] = ..., ranks: _Optional[_Iterable[int]] = ..., top_log_probs: _Optional[_Iterable[_Union[TopLogProbs, _Mapping]]] = ...) -> None: ...

class RoundTrace(_message.Message):
    __slots__ = ("token_ids", "parents", "draft_joint_log_probs", "target_joint_log_probs")
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    DRAFT_JOINT_LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    TARGET_JOINT_LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    parents: _containers.RepeatedScalarFieldContainer[int]
    draft_joint_log_probs: _containers.RepeatedScalarFieldContainer[float]
    target_joint_log_probs: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, token_ids: _Optional[_Iterable[int]] = ..., parents: _Optional[_Iterable[int]] = ..., draft_joint_log_probs: _Optional[_Iterable[float]] = ..., target_joint_log_probs: _Optional[_Iterable[float]] = ...) -> None: ...

class StageTimings(_message.Message):
    __slots__ = ("draft_seconds", "queue_seconds", "forward_seconds", "judge_seconds", "verify_round_trip_seconds", "commit_seconds", "serialise_seconds", "emit_seconds")
    DRAFT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FORWARD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    JUDGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_ROUND_TRIP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SERIALISE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EMIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    draft_seconds: float
    queue_seconds: float
    forward_seconds: float
    judge_seconds: float
    verify_round_trip_seconds: float
    commit_seconds: float
    serialise_seconds: float
    emit_seconds: float
    def __init__(self, draft_seconds: _Optional[float] = ..., queue_seconds: _Optional[float] = ..., forward_seconds: _Optional[float] = ..., judge_seconds: _Optional[float] = ..., verify_round_trip_seconds: _Optional[float] = ..., commit_seconds: _Optional[float] = ..., serialise_seconds: _Optional[float] = ..., emit_seconds: _Optional[float] = ...) -> None: ...

class CommitWatermark(_message.Message):
    __slots__ = ("session_id", "fence", "position")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    fence: Fence
    position: int
    def __init__(self, session_id: _Optional[str] = ..., fence: _Optional[_Union[Fence, _Mapping]] = ..., position: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("session_id", "code", "message", "highest_epoch", "retry_after_seconds")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    code: int
    message: str
    highest_epoch: int
    retry_after_seconds: float
    def __init__(self, session_id: _Optional[str] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., highest_epoch: _Optional[int] = ..., retry_after_seconds: _Optional[float] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("role", "instance_id", "protocol_version", "drawing_version", "lifecycle", "model", "weights_digest", "tokenizer_digest", "vocab_size", "max_positions", "methods", "eos_token_ids", "dtype", "num_sessions", "num_kv_slots")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    DRAWING_VERSION_FIELD_NUMBER: _ClassVar[int]
    LIFECYCLE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    VOCAB_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_POSITIONS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    EOS_TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    NUM_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NUM_KV_SLOTS_FIELD_NUMBER: _ClassVar[int]
    role: str
    instance_id: str
    protocol_version: int
    drawing_version: int
    lifecycle: Lifecycle
    model: str
    weights_digest: str
    tokenizer_digest: str
    vocab_size: int
    max_positions: int
    methods: _containers.RepeatedScalarFieldContainer[str]
    eos_token_ids: _containers.RepeatedScalarFieldContainer[int]
    dtype: str
    num_sessions: int
    num_kv_slots: int
    def __init__(self, role: _Optional[str] = ..., instance_id: _Optional[str] = ..., protocol_version: _Optional[int] = ..., drawing_version: _Optional[int] = ..., lifecycle: _Optional[_Union[Lifecycle, str]] = ..., model: _Optional[str] = ..., weights_digest: _Optional[str] = ..., tokenizer_digest: _Optional[str] = ..., vocab_size: _Optional[int] = ..., max_positions: _Optional[int] = ..., methods: _Optional[_Iterable[str]] = ..., eos_token_ids: _Optional[_Iterable[int]] = ..., dtype: _Optional[str] = ..., num_sessions: _Optional[int] = ..., num_kv_slots: _Optional[int] = ...) -> None: ...
