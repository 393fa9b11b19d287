"""The simulated gateway: the TWS API socket without Interactive Brokers behind it.

For tests and demos, with unmodified clients. Everything it says is SIMULATED.
"""
