"""Every topic, protocol id, size and time limit that two nodes must agree on, on one page.

Changing a line here is changing the protocol: raise the number in its name.
"""

from __future__ import annotations

# --- gossip: one message is a batch, a canonical MessagePack list of signed envelopes ------------------------------
TOPIC_OFFERS = "cfab/1/offers"
TOPIC_BIDS = "cfab/1/bids"
MAX_GOSSIP_BYTES = 64 * 1024
MAX_BATCH_RECORDS = 8
"""Records in one gossip message. Each costs a signature check before anything else can happen in the node."""

MAX_GOSSIP_RECORD = 16 * 1024
"""One signed record in gossip or in a book: everybody keeps it. With every field that we know at its longest, an offer
or a bid in ASCII is shorter; the rest is room for the fields of newer peers."""

# --- requests: one canonical MessagePack request, one response ------------------------------------------------------
PROTOCOL_PEERS = "/cfab/peers/1"
"""→ nothing · ← addresses of peers the introducer knows."""
PROTOCOL_BOOK = "/cfab/book/2"
"""→ hashes of the asker's book, or nothing, and after which name to go on · ← the offers and withdrawals it lacks, one
page (``book_digest``); how a late joiner catches up."""
PROTOCOL_BIDS = "/cfab/bids/1"
"""→ nothing · ← the live bids the answering node has heard, newest first."""
PROTOCOL_HISTORY = "/cfab/history/1"
"""→ which model, since when, how fine · ← bars of prices with the signed offers that prove them, newest first."""
PROTOCOL_QUOTE = "/cfab/quote/1"
"""→ signed bid, machine, offer id · ← a signed quote below the tag, or nothing."""
PROTOCOL_AWARD = "/cfab/award/1"
"""→ signed award, job spec, salt · ← signed lease or signed refusal."""
PROTOCOL_REPORT = "/cfab/report/1"
"""provider → requester: signed usage report · ← voucher or typed refusal."""
PROTOCOL_CLOSE = "/cfab/close/1"
"""requester → provider: proposed final cumulative · ← the provider's consent signature."""
PROTOCOL_CANCEL = "/cfab/cancel/1"
"""requester → provider: stop this lease · ← its stage."""
PROTOCOL_WATCH = "/cfab/watch/1"
"""provider → watchtower: an account and the newest vouchers to it · ← how many of them it holds now."""
PROTOCOL_ECHO = "/cfab/echo/1"
"""→ eight bytes · ← the same; how far a peer is."""

# --- streams ---------------------------------------------------------------------------------------------------------
PROTOCOL_INPUTS = "/cfab/inputs/1"
PROTOCOL_OUTPUTS = "/cfab/outputs/1"
PROTOCOL_LOGS = "/cfab/logs/1"

MAX_REQUEST = 512 * 1024
MAX_SPEC = MAX_REQUEST - 16 * 1024
"""A job spec travels in a request, beside its award."""
MAX_RESPONSE = 1024 * 1024
MAX_BOOK_REQUEST = 36 * 1024
MAX_TRANSFER = 8 * 1024**3
CHUNK = 256 * 1024

REQUEST_TIMEOUT_S = 10.0
AWARD_TIMEOUT_S = 5.0
STREAM_IDLE_TIMEOUT_S = 60.0

# --- rules of the market ---------------------------------------------------------------------------------------------
OFFER_TTL_MS = 60_000
OFFER_REFRESH_MS = 20_000
HONOUR_OLD_TAG_MS = 5_000
"""A price stays honoured this long after a newer version of the offer appeared (DESIGN §3.1)."""
MAX_CLOCK_SKEW_MS = 60_000
RIVAL_MS = 10_000
"""A bid older than this is nobody's rival any more: by then it was granted, or given up."""
GRANTED_SHOWN_MS = RIVAL_MS + 5_000
"""An offer names the bids it was granted to for so long, by clocks that run apart a little."""
MAX_AWARD_TRIES = 8
