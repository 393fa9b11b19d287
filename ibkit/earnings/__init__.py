"""Earnings and other corporate events, as Wall Street Horizon tells them through IB.

Not here yet: anything. Events will be stored as the dataset `events`.
"""
