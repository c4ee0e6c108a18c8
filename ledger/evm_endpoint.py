"""One JSON-RPC endpoint: synchronous web3 in worker threads, so that trio stays in charge.

(AsyncWeb3 does not run under trio.) Whatever goes wrong on the way is ``Unavailable`` and names the endpoint, without
the keys that its address may hold. Nothing is retried here.
"""

from __future__ import annotations

from collections.abc import Callable
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


class EvmEndpoint:
    """Runs blocking functions of a ``Web3`` in threads, and turns their failures into ours."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self.name = name_of(url)
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=MAX_CONCURRENT)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        # A proxy from the environment cannot reach our own loopback.
        self._session.trust_env = not _is_loopback(urlsplit(url).hostname or "")
        provider = HTTPProvider(
            url,
            request_kwargs={"timeout": timeout_s},
            session=self._session,
            # web3's own retries turn one time-out into six; our callers back off by themselves.
            exception_retry_configuration=None,
            # Nothing may be remembered: an endpoint's chain id is asked anew after each fault.
            cache_allowed_requests=False,
        )
        self._web3 = Web3(provider)
        # Asks the chain id again before every call; ours is checked when the endpoint is taken into use.
        self._web3.middleware_onion.remove("validation")
        self._limiter = trio.CapacityLimiter(MAX_CONCURRENT)

    async def run(self, work: Callable[[Web3], T], *, abandon: bool) -> T:
        """Run ``work`` in a thread.

        Args:
            abandon: leave the thread alone at once when the task is cancelled; else it is waited for.

        Raises:
            Unavailable: ``chain_unreachable`` (no answer) or ``chain_refused`` (an error as the answer).
            ContractLogicError: the contract that was called reverted.
        """
        try:
            # (The type stubs that libp2p brings are of a trio that named this argument otherwise.)
            return await trio.to_thread.run_sync(  # type: ignore[call-arg]
                work, self._web3, abandon_on_cancel=abandon, limiter=self._limiter
            )
        except ContractLogicError:
            raise
        except Web3RPCError as error:
            raise Unavailable(
                f"the chain at {self.name} refused a request: {_reason(error)}", code="chain_refused"
            ) from error
        except (requests.RequestException, Web3Exception, ValueError, LookupError, TypeError, AttributeError) as error:
            # The last four are how web3 trips over an answer that is no JSON-RPC, such as a proxy's error page.
            raise Unavailable(
                f"the chain at {self.name} does not answer ({type(error).__name__})",
                code="chain_unreachable",
                fix="check that the node of the chain runs and that its address is right",
            ) from error

    def close(self) -> None:
        """Give the sockets back."""
        self._session.close()


def check_url(url: str) -> None:
    """Refuse what is not an http or https address.

    Raises:
        InvalidRequest: ``chain_url``.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise InvalidRequest(f"'{url}' is not an http address of a chain", code="chain_url")


def name_of(url: str) -> str:
    """The address for people. Hosted endpoints carry their key in the path, the query or the user part; neither errors
    nor the status may repeat it."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Web3RPCError) -> str:
    answer = error.rpc_response["error"] if error.rpc_response else ""
    text = answer if isinstance(answer, str) else answer["message"]
    return "".join(c if c.isprintable() else " " for c in text)[:200] or "no reason given"
