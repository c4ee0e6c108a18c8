"""JSON-RPC to one chain endpoint: synchronous web3 in worker threads, so that trio stays in charge.

(AsyncWeb3 does not run under trio.) A question may be abandoned when its task is cancelled; a send never is,
as nobody would know whether it happened. Whatever goes wrong on the way is ``Unavailable`` and names the
endpoint.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import urlsplit

import requests
import trio
from requests.adapters import HTTPAdapter
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractLogicError, Web3Exception, Web3RPCError

from market.errors import InvalidRequest, Unavailable

T = TypeVar("T")
MAX_CONCURRENT = 8
"""Threads, and sockets, that one endpoint may occupy."""


class EvmRpc:
    """Runs blocking functions of a ``Web3`` in threads, and turns their failures into ours."""

    def __init__(self, url: str, web3: Web3) -> None:
        self.endpoint = _without_secrets(url)
        self._web3 = web3
        self._limiter = trio.CapacityLimiter(MAX_CONCURRENT)

    async def ask(self, question: Callable[[Web3], T]) -> T:
        """Run a reading function. Abandoned at once when the task is cancelled.

        Raises:
            Unavailable: ``chain_unreachable`` (no answer) or ``chain_refused`` (an error as the answer).
            ContractLogicError: the contract that was called reverted.
        """
        return await self._run(question, abandon=True)

    async def tell(self, send: Callable[[Web3], T]) -> T:
        """Run a sending function to its end, even when the task is cancelled meanwhile. Raises as
        :meth:`ask`."""
        return await self._run(send, abandon=False)

    async def _run(self, work: Callable[[Web3], T], *, abandon: bool) -> T:
        try:
            # (The type stubs that libp2p brings are of a trio that named this argument otherwise.)
            return await trio.to_thread.run_sync(  # type: ignore[call-arg]
                work, self._web3, abandon_on_cancel=abandon, limiter=self._limiter
            )
        except ContractLogicError:
            raise
        except Web3RPCError as error:
            raise Unavailable(
                f"the chain at {self.endpoint} refused a request: {_reason(error)}", code="chain_refused"
            ) from error
        except (requests.RequestException, Web3Exception, ValueError, LookupError, TypeError, AttributeError) as error:
            # The last four are how web3 trips over an answer that is no JSON-RPC, such as a proxy's error page.
            raise Unavailable(
                f"the chain at {self.endpoint} does not answer ({type(error).__name__})",
                code="chain_unreachable",
                fix="check that the node of the chain runs and that its address is right",
            ) from error


@asynccontextmanager
async def open_evm_rpc(url: str, *, timeout_s: float = 5.0) -> AsyncIterator[EvmRpc]:
    """Connections to one endpoint, closed at the end. Each request has ``timeout_s``; nothing is retried
    here.

    Raises:
        InvalidRequest: not an http or https address.
    """
    host = urlsplit(url).hostname
    if urlsplit(url).scheme not in ("http", "https") or not host:
        raise InvalidRequest(f"'{url}' is not an http address of a chain", code="chain_url")
    session = requests.Session()
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=MAX_CONCURRENT)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    # A proxy from the environment cannot reach our own loopback.
    session.trust_env = not _is_loopback(host)
    provider = HTTPProvider(
        url,
        request_kwargs={"timeout": timeout_s},
        session=session,
        # web3's own retries turn one time-out into six; our callers back off by themselves.
        exception_retry_configuration=None,
        cache_allowed_requests=True,
    )
    web3 = Web3(provider)
    # Asks the chain id again before every call; ours is checked once, when the chain is opened.
    web3.middleware_onion.remove("validation")
    try:
        yield EvmRpc(url, web3)
    finally:
        session.close()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_secrets(url: str) -> str:
    # Hosted endpoints carry their key in the path, the query or the user part; errors must not repeat it.
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def _reason(error: Web3RPCError) -> str:
    answer = error.rpc_response["error"] if error.rpc_response else ""
    text = answer if isinstance(answer, str) else answer["message"]
    return "".join(c if c.isprintable() else " " for c in text)[:200] or "no reason given"
