"""The language and rules of trade: records, signatures, matching, leases, money.

Everything in this package is pure. It imports none of our other packages, opens no file or socket, reads no clock
and draws no random number: times and identifiers come in as arguments. That is what makes an award replayable.
"""
