"""What can be found wrong with a plan before minutes are spent on loading models."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from tandem.decoding.methods import method
from tandem.decoding.values import Speculation
from tandem.errors import InvalidArgument, ModelRefused
from tandem.models import shipped
from tandem.stack.plan import Models, Plan
from tandem.tokenization import tokenizer_digest


def check(plan: Plan) -> None:
    """Looks at the models' tokenizers, the ports, the decoding defaults and the ready file.

    Raises:
        ModelRefused: the tokenizers differ, or a model has none.
        InvalidArgument: a port is taken, a default cannot be served, or the ready file cannot be written.
    """
    if plan.ready_file is not None and not plan.ready_file.absolute().parent.is_dir():
        raise InvalidArgument(f"the ready file {plan.ready_file} cannot be written: its folder does not exist")
    _check_pair(plan.models)
    _check_defaults(plan.defaults)
    for index in range(plan.counts.orchestrators):
        for port in plan.doors.of(index):
            _check_port(plan.doors.host, port)


def _check_pair(models: Models) -> None:
    target, draft = models.target or str(shipped("target")), models.draft or str(shipped("draft"))
    if tokenizer_digest(target) != tokenizer_digest(draft):
        raise ModelRefused(
            f"target {target} and draft {draft} have different tokenizers, so that token ids do not mean the same; "
            "choose two models with one vocabulary"
        )


def _check_defaults(defaults: Mapping[str, str]) -> None:
    standard = Speculation()
    speculation = Speculation(
        method=defaults.get("method", standard.method),
        draft_length=int(defaults.get("draft-length", standard.draft_length)),
        beam_width=int(defaults.get("beam-width", standard.beam_width)),
        threshold=float(defaults.get("threshold", standard.threshold)),
    )
    method(speculation.method)


def _check_port(host: str, port: int) -> None:
    if port > 65535:
        raise InvalidArgument(f"port {port} is past 65535: several orchestrators take consecutive ports")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was left a moment ago is free
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InvalidArgument(
                f"cannot listen on {host}:{port}: {error.strerror}; the port is taken, or the interface is not this "
                "machine's. Choose another --port or --http-port, or 0 for free ones"
            ) from None
