"""Run curated notebooks, and share what they show as one HTML file that opens offline.

`run.run` runs one, `html.export` writes the file; `ibkit.run` is the way to both.
"""
