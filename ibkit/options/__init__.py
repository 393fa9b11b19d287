"""Option chains as tables: snapshots, greeks, implied volatility, surfaces.

Not here yet: anything. The room stands between `live` and `orders`; chains are looked up in
`ibkit.contracts`, and what is measured here will be stored as `option_chain` and `option_bars`.
"""
