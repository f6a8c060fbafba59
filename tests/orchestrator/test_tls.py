"""Three real services that show one another certificates, and clients that know whom they talk to."""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from prometheus_client import CollectorRegistry

from draft_service.drafter import Limits as DraftLimits
from draft_service.service import DraftService
from orchestrator.replicas import VerifyLink
from orchestrator.settings import OrchestratorSettings
from tandem import AsyncClient, Client
from tandem.client.attempts import Patience
from tandem.errors import InvalidArgument, Unavailable
from tandem.pem_files import PemFiles
from tandem.tokenization import Tokenizer
from tandem.v1 import generation_pb2 as pb
from tests.orchestrator.conftest import Served, Stage
from tests.support.certificates import NAMES, Certificates
from tests.support.model_services import DRAFT, TARGET, hosted, running
from tests.support.waiting import until
from verify_service.service import VerifyService
from verify_service.sessions import Limits as VerifyLimits
from verify_service.settings import VerifySettings

PROMPT = (1, 2, 3)
AT_ONCE = Patience(0.0, 0.0)
"""Nothing is tried twice, so that nothing that failed goes unseen."""
ROLES = ("verify", "draft", "orchestrator")
OPTIONS: dict[str, Any] = {"max_tokens": 24, "seed": 3, "ignore_eos": True, "temperature": 1.0}


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


class Secured:
    """One of each role; nothing between them is plaintext."""

    def __init__(self, served: Served, identities: dict[str, Certificates], public: Certificates) -> None:
        self.served = served
        self.address = served.address
        self.url = dict(served.service.ready_fields())["http"]
        self.identities = identities
        self.public = public

    def client(self, **options: Any) -> AsyncClient:
        return AsyncClient(self.address, AT_ONCE, tls_ca=self.public.ca, **options)

    def get(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=self.public.ca)
        with urllib.request.urlopen(self.url + path, timeout=10, context=context) as answer:
            content: bytes = answer.read()
            return content


@pytest.fixture
async def start(
    stage: Stage, tokenizer: Tokenizer, tmp_path: Path, ca: trustme.CA
) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as ending:

        async def starting(name: str = "", **settings: Any) -> Secured:
            """``name``: the one that all certificates carry, in place of addresses."""
            own = {role: Certificates(tmp_path / role, ca, (name,) if name else NAMES, name) for role in ROLES}
            public = Certificates(tmp_path / "public", ca)
            addresses = {}
            for role in ("verify", "draft"):
                registry, tls = CollectorRegistry(), own[role].files()
                service: Any
                if role == "verify":
                    service = VerifyService(lambda: hosted(TARGET), tokenizer.digest, VerifyLimits(), registry)
                else:
                    service = DraftService(lambda: hosted(DRAFT), tokenizer.digest, DraftLimits(), registry, tls)
                addresses[role] = (await ending.enter_async_context(running(service, registry, tls))).address
            served = await stage.orchestrator(
                [addresses["verify"]],
                [addresses["draft"]],
                public_tls_cert=public.cert,
                public_tls_key=public.key,
                **(own["orchestrator"].flags() | settings),
            )
            return Secured(served, own, public)

        yield starting


async def test_replicas_that_are_called_by_ip_are_known_by_one_name(start: Any, tokenizer: Tokenizer) -> None:
    secured = await start("replica.tandem")
    async with secured.client() as client:
        drafted = await client.generate(PROMPT, method="coupled", **OPTIONS)
    assert drafted.usage.num_draft_tokens > 0
    own = secured.identities["orchestrator"]
    [known] = secured.served.service._placement.verify_links
    for name in ("", "orchestrator.tandem"):
        link = VerifyLink(known.address, tokenizer, lambda: None, PemFiles(own.ca, own.cert, own.key, name))
        link.start()
        expected = f"--tls-name {name}".strip()
        await until(partial(reason_has, link, expected))
        await link.close()


def reason_has(link: VerifyLink, expected: str) -> bool:
    return expected in link.reason


async def test_every_hop_is_secured_and_serves(start: Any) -> None:
    secured = await start()
    async with secured.client() as client:
        drafted = await client.generate(PROMPT, method="coupled", **OPTIONS)
        alone = await client.generate(PROMPT, method="autoregressive", **OPTIONS)
        score = await client.score(PROMPT)
    assert len(drafted.token_ids) == len(alone.token_ids) == 24
    assert len(score.log_probs) == len(PROMPT) - 1
    assert drafted.usage.num_draft_tokens > 0
    assert secured.url.startswith("https://")
    assert await asyncio.to_thread(secured.get, "/healthz") == b"alive\n"
    in_threads = await asyncio.to_thread(_describe, secured)
    assert in_threads == "orchestrator"


def _describe(secured: Secured) -> str:
    with Client(secured.address, tls_ca=secured.public.ca) as client:
        return client.describe().role


async def test_certificates_change_under_load_without_a_failed_request(start: Any, ca: trustme.CA) -> None:
    """From one CA to another: new certificates, then one of a new CA, while old and new connections are served."""
    secured = await start()
    everybody = [*secured.identities.values(), secured.public]
    stop = asyncio.Event()
    answered = {"kept": 0, "new": 0, "http": 0}
    text = None

    async def load(kind: str) -> None:
        nonlocal text
        kept = secured.client()
        while not stop.is_set():
            if kind == "http":
                assert await asyncio.to_thread(secured.get, "/readyz") == b"ready\n"
            elif kind == "kept":
                made = await kept.generate(PROMPT, method="coupled", **OPTIONS)
                text = text or made.token_ids
                assert made.token_ids == text
            else:
                async with secured.client() as fresh:
                    await fresh.generate(PROMPT, method="coupled", **OPTIONS)
            answered[kind] += 1
        await kept.close()

    async def progress() -> None:
        before = dict(answered)
        async with asyncio.timeout(20):
            while any(answered[kind] < before[kind] + 2 for kind in answered):
                for task in tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(load(kind)) for kind in answered]
    try:
        await progress()
        other = trustme.CA()
        for identity in everybody:
            identity.issue(ca)
            await progress()
        for identity in everybody:  # first all trust both, then all show the new, then none trusts the old
            identity.trust(ca, other)
        await progress()
        for identity in everybody:
            identity.issue(other)
            await progress()
        for identity in everybody:
            identity.trust(other)
        await progress()
    finally:
        stop.set()
        await asyncio.gather(*tasks)
    recoveries = [sample for family in secured.served.registry.collect() for sample in family.samples]
    assert not [sample for sample in recoveries if sample.name == "tandem:recoveries_total" and sample.value]
    shown = await asyncio.to_thread(ssl.get_server_certificate, _host_and_port(secured.url), ca_certs=secured.public.ca)
    assert shown in secured.public.cert.read_text()
    await asyncio.to_thread(_refuse_old_ca, secured, ca)


def _host_and_port(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("https://").partition(":")
    return host, int(port)


def _refuse_old_ca(secured: Secured, ca: trustme.CA) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    ca.configure_trust(context)
    with pytest.raises(ssl.SSLCertVerificationError), socket.create_connection(_host_and_port(secured.url)) as plain:
        context.wrap_socket(plain)


async def test_connections_made_after_a_change_use_the_new_certificates(
    start: Any, stage: Stage, tokenizer: Tokenizer, ca: trustme.CA
) -> None:
    """Replicas that are reached anew: no channel of before is left."""
    secured = await start()
    other = trustme.CA()
    for identity in [*secured.identities.values(), secured.public]:
        identity.trust(other)
        identity.issue(other)
    registry = CollectorRegistry()
    service = VerifyService(lambda: hosted(TARGET), tokenizer.digest, VerifyLimits(), registry)
    async with running(service, registry, secured.identities["verify"].files()) as replica:
        later = await stage.orchestrator([replica.address], **secured.identities["orchestrator"].flags())
        assert len((await later.text(token_ids=pb.TokenIds(ids=PROMPT), ignore_eos=True)).token_ids) == 20


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ("nobody", "if it expects TLS, so must this side"),
        ("stranger", "may not accept this side's certificate"),
        ("mistrusting", "not of a CA that this side's --tls-ca names"),
        ("plaintext peer", "it does not speak TLS, and this side does"),
        ("misnamed", "is for another name"),
    ],
)
async def test_a_peer_that_is_not_trusted_is_refused_and_told_why(
    tokenizer: Tokenizer, tmp_path: Path, ca: trustme.CA, who: str, said: str
) -> None:
    other = trustme.CA()
    names = ("elsewhere.example",) if who == "misnamed" else NAMES
    server = Certificates(tmp_path / "server", ca, names)
    caller = Certificates(tmp_path / "caller", ca)
    if who == "stranger":
        caller.issue(other)
    elif who == "mistrusting":
        caller.trust(other)
    registry = CollectorRegistry()
    service = VerifyService(lambda: hosted(TARGET), tokenizer.digest, VerifyLimits(), registry)
    async with running(service, registry, None if who == "plaintext peer" else server.files()) as replica:
        link = VerifyLink(replica.address, tokenizer, lambda: None, None if who == "nobody" else caller.files())
        link.start()
        async with asyncio.timeout(10):
            while link.state == "connecting":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert link.state == "down"
        assert said in link.reason
        await link.close()


async def test_a_client_says_what_is_wrong_with_the_connection(start: Any, tmp_path: Path) -> None:
    secured = await start()
    stranger = Certificates(tmp_path / "stranger", trustme.CA())
    async with AsyncClient(secured.address, Patience(0.5)) as client:
        with pytest.raises(Unavailable, match="if it expects TLS, so must this side: see --tls-ca"):
            await client.describe()
    async with AsyncClient(secured.address, Patience(0.5), tls_ca=stranger.ca) as client:
        with pytest.raises(Unavailable, match="its certificate is not valid, or not of a CA"):
            await client.generate(PROMPT)
    with pytest.raises(InvalidArgument, match="has no certificate of a CA"):
        Client(secured.address, tls_ca=secured.public.key)


async def test_files_that_do_not_fit_leave_the_former_in_use(tmp_path: Path, ca: trustme.CA) -> None:
    own = Certificates(tmp_path / "own", ca)
    files = own.files()
    before = files.current()
    own.key.write_bytes(ca.issue_cert("127.0.0.1").private_key_pem.bytes())
    assert files.current() is before
    own.cert.unlink()
    assert files.current() is before
    own.issue(ca)
    assert files.current().chain == own.cert.read_bytes() != before.chain
    own.ca.write_text("nothing")
    assert files.current().ca == before.ca


def test_an_identity_is_whole_or_none(tmp_path: Path, ca: trustme.CA) -> None:
    own = Certificates(tmp_path / "own", ca)
    for name in ("cert", "key", "ca"):
        with pytest.raises(InvalidArgument, match="go together"):
            VerifySettings.load([f"--tls-{name}={getattr(own, name)}"], {})
    with pytest.raises(InvalidArgument, match="go together"):
        OrchestratorSettings.load(["--verify=a:1", f"--public-tls-cert={own.cert}"], {})
    whole = {f"TANDEM_TLS_{name.upper()}": str(getattr(own, name)) for name in ("cert", "key", "ca")}
    assert VerifySettings.load([], whole).open_tls() is not None
    with pytest.raises(InvalidArgument, match="not a certificate and its unencrypted key"):
        VerifySettings.load([], whole | {"TANDEM_TLS_KEY": str(own.cert)}).open_tls()
