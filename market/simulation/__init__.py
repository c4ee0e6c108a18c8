"""A market in one process: made-up machines and jobs, the real auction, and an account of how it went.

Nothing here trades. It answers questions that a live network answers too late: how often the first provider asked says
yes when many ask at once, what counting with rivals gains, who is served, and how far from the best possible that is.
Everything drawn at random comes from the caller, so a seed names a run.
"""
